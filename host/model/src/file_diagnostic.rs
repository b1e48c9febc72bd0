//! The form of diagnostics for programs: in JSON output, and in the bodies of the REST API.

use serde::{Deserialize, Serialize};

/// An error or a warning about a file, or about a document that was posted. Lines and columns begin with 1; null where
/// unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDiagnostic {
    /// An error or a warning.
    #[serde(default)]
    pub severity: FileSeverity,
    /// A stable code for programs, such as `yaml.duplicate-key`.
    #[serde(default)]
    pub code: String,
    /// Message of one sentence.
    pub message: String,
    /// Name of the node, for one about a node that was rendered or deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Path of the file, or the name of the document.
    #[serde(default)]
    pub file: Option<String>,
    /// First line.
    #[serde(default)]
    pub line: Option<usize>,
    /// First column, in characters.
    #[serde(default)]
    pub column: Option<usize>,
    /// Last line.
    #[serde(default)]
    pub end_line: Option<usize>,
    /// Column after the last character.
    #[serde(default)]
    pub end_column: Option<usize>,
    /// Advice on how to fix it.
    #[serde(default)]
    pub help: Option<String>,
}

/// Severity of a [`FileDiagnostic`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileSeverity {
    /// The files can be used.
    Warning,
    /// The files cannot be used. A word of another version counts as this one.
    #[default]
    #[serde(other)]
    Error,
}

impl FileDiagnostic {
    /// Returns true for a warning.
    pub fn is_warning(&self) -> bool {
        self.severity == FileSeverity::Warning
    }

    /// Returns `FILE:LINE:COLUMN`, if all three are known.
    pub fn location(&self) -> Option<String> {
        Some(format!("{}:{}:{}", self.file.as_ref()?, self.line?, self.column?))
    }

    /// Sets the location to a point, or removes it.
    pub fn relocated(self, location: Option<(String, usize, usize)>) -> Self {
        let (file, line, column) = match location {
            Some((file, line, column)) => (Some(file), Some(line), Some(column)),
            None => (None, None, None),
        };
        Self { file, line, column, end_line: None, end_column: None, ..self }
    }
}
