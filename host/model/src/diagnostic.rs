//! Errors and warnings about the user's files, each with its location, its cause and a hint how to fix it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{LabeledSpan, Severity, SourceCode};

use crate::file_diagnostic::{FileDiagnostic, FileSeverity};
use crate::yaml::{Source, Span};

/// An error or a warning about the user's files.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    severity: Severity,
    code: &'static str,
    message: String,
    location: Location,
    labels: Vec<(Span, String)>,
    help: Option<String>,
    /// Set when it follows from another one that is reported, and so is dropped.
    is_cascading: bool,
    /// Set when only the first of its message is reported, wherever the others are.
    is_reported_once: bool,
    /// Set when the files can be rendered, but not be built.
    is_obstacle: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Location {
    Unknown,
    File(PathBuf),
    At(Span),
}

impl Diagnostic {
    pub(crate) fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            location: Location::Unknown,
            labels: Vec::new(),
            help: None,
            is_cascading: false,
            is_reported_once: false,
            is_obstacle: false,
        }
    }

    pub(crate) fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Sets the primary location, with a label for it.
    pub(crate) fn at(mut self, span: &Span, label: impl Into<String>) -> Self {
        self.location = Location::At(span.clone());
        self.labels.insert(0, (span.clone(), label.into()));
        self
    }

    /// Sets the file, without a location in it.
    pub(crate) fn in_file(mut self, path: &Path) -> Self {
        self.location = Location::File(path.to_owned());
        self
    }

    /// Adds another location, with a label for it.
    pub(crate) fn related(mut self, span: &Span, label: impl Into<String>) -> Self {
        self.labels.push((span.clone(), label.into()));
        self
    }

    /// Drops it if `is_cascading`: it is about something that is broken anyway.
    pub(crate) fn cascading(mut self, is_cascading: bool) -> Self {
        self.is_cascading = is_cascading;
        self
    }

    /// Marks it to be reported once, however often it applies.
    pub(crate) fn reported_once(mut self) -> Self {
        self.is_reported_once = true;
        self
    }

    /// Marks it as an obstacle: an error only when something is to be built.
    pub(crate) fn obstacle(mut self) -> Self {
        self.is_obstacle = true;
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        let help = help.into();
        self.help = (!help.is_empty()).then_some(help);
        self
    }

    /// Returns true for an error, which keeps the files from being used; false for a warning.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Returns the stable code for programs, such as `yaml.duplicate-key`.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Returns the form for programs.
    pub fn to_file_diagnostic(&self) -> FileDiagnostic {
        let (file, span) = match &self.location {
            Location::Unknown => (None, None),
            Location::File(path) => (Some(path.display().to_string()), None),
            Location::At(span) => (Some(span.source.path.display().to_string()), Some(span)),
        };
        let (end_line, end_column) = span.map(Span::end).unzip();
        FileDiagnostic {
            severity: if self.is_error() { FileSeverity::Error } else { FileSeverity::Warning },
            code: self.code.to_owned(),
            message: self.message.clone(),
            node: None,
            file,
            line: span.map(|span| span.line),
            column: span.map(|span| span.column),
            end_line,
            end_column,
            help: self.help.clone(),
        }
    }

    /// Returns the file to show an excerpt of; `None` if its location is unknown or it is secret.
    fn source(&self) -> Option<&Arc<Source>> {
        match &self.location {
            Location::At(span) if !span.source.is_secret => Some(&span.source),
            _ => None,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        // Locations in other files can't be drawn; they are listed.
        let others: Vec<_> = self
            .labels
            .iter()
            .filter(|(span, _)| !self.source().is_some_and(|source| Arc::ptr_eq(source, &span.source)))
            .map(|(span, label)| format!("{label}: {span}"))
            .collect();
        let lines: Vec<_> = others.into_iter().chain(self.help.clone()).collect();
        (!lines.is_empty()).then(|| Box::new(lines.join("\n")) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source().map(|source| &**source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let source = self.source()?;
        let drawn = self.labels.iter().filter(|(span, _)| Arc::ptr_eq(source, &span.source));
        Some(Box::new(drawn.enumerate().map(|(at, (span, label))| match at {
            0 => LabeledSpan::new_primary_with_span(Some(label.clone()), span.bytes()),
            _ => LabeledSpan::new_with_span(Some(label.clone()), span.bytes()),
        })))
    }
}

/// Errors and warnings in the order in which they were found.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Returns true if no more are kept: a broken file can have any number, and nobody reads them all. Costly searches
    /// whose only result is a diagnostic are skipped then.
    pub(crate) fn is_full(&self) -> bool {
        const MAX_DIAGNOSTICS: usize = 200;
        self.0.len() >= MAX_DIAGNOSTICS
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if diagnostic.is_cascading || self.is_full() {
            return;
        }
        // An alias leads to the same place again.
        let is_known = |known: &Diagnostic| {
            known.message == diagnostic.message
                && (diagnostic.is_reported_once || known.location == diagnostic.location)
        };
        if !self.0.iter().any(is_known) {
            self.0.push(diagnostic);
        }
    }

    /// Adds others, without duplicates.
    pub fn merge(&mut self, others: Self) {
        for diagnostic in others.0 {
            self.push(diagnostic);
        }
    }

    /// Returns an iterator in the order in which they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Returns the number of errors and warnings.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there are neither errors nor warnings.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if at least one is an error and not an obstacle.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.is_error() && !diagnostic.is_obstacle)
    }

    /// Splits into obstacles and others.
    pub(crate) fn split(self) -> (Self, Self) {
        let (obstacles, others) = self.0.into_iter().partition(|diagnostic| diagnostic.is_obstacle);
        (Self(obstacles), Self(others))
    }

    /// Turns obstacles into warnings, for callers that build nothing.
    pub(crate) fn with_obstacles_as_warnings(mut self) -> Self {
        for diagnostic in self.0.iter_mut().filter(|diagnostic| diagnostic.is_obstacle) {
            diagnostic.severity = Severity::Warning;
        }
        self
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, diagnostic) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Returns the known word that an unknown one probably is a misspelling of.
pub(crate) fn closest_match<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&word.to_lowercase(), &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= (known.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Maximum number of words that are listed.
const MAX_LISTED_WORDS: usize = 50;

/// Returns "did you mean ...?", or the list of known words.
pub(crate) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(known) = closest_match(word, known.clone()) {
        return format!("did you mean `{known}`?");
    }
    let names: Vec<_> = known.clone().into_iter().take(MAX_LISTED_WORDS).map(|known| format!("`{known}`")).collect();
    let more = known.into_iter().skip(MAX_LISTED_WORDS).count();
    match (names.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!("known are {}", names.join(", ")),
        (false, _) => format!("known are {} and {more} more", names.join(", ")),
    }
}
