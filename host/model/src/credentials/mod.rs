//! The user's credentials: rules that select them for sections of node definitions.

mod rules;
mod secret;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::schema::{Schemas, SectionKind};
use crate::yaml::{AllowedTags, CommandOutputs, CommandPolicy, Loader};

pub use secret::Secret;
pub use tls::Tls;

/// Credentials that a section's plugin authenticates with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Values by the keys that the user wrote.
    pub fields: BTreeMap<String, Secret>,
    /// Certificates for connections to the section's endpoint. No plugin gets them.
    pub tls: Tls,
    /// Location of the rule that selected it, as `FILE:LINE`.
    pub rule: String,
}

/// Error: more than one rule matches a section, and no choice is made between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("several rules for credentials match `{section}`: {}; add selectors until one is left", rules.join(", "))]
pub struct AmbiguousCredentials {
    /// Key of the section.
    pub section: &'static str,
    /// Locations of the rules, as `FILE:LINE`.
    pub rules: Vec<String>,
}

/// All rules of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuthData(Vec<Rule>);

/// Result of reading a file of credentials.
#[derive(Debug)]
pub struct CredentialsReading {
    /// The rules; `None` if there is an error.
    pub data: Option<AuthData>,
    /// Errors and warnings.
    pub diagnostics: Diagnostics,
    /// Files that values come from, whether they could be read or not. A second reading may differ if they have
    /// changed.
    pub files: Vec<PathBuf>,
    /// Outputs of the commands that were run.
    pub outputs: CommandOutputs,
}

impl CredentialsReading {
    /// Returns the rules and the warnings.
    ///
    /// # Errors
    /// Returns all diagnostics if one of them is an error.
    pub fn into_result(self) -> Result<(AuthData, Diagnostics), Diagnostics> {
        match self.data {
            Some(data) => Ok((data, self.diagnostics)),
            None => Err(self.diagnostics),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    section: SectionKind,
    /// Pairs that the section must have.
    selectors: Map<String, Json>,
    credential: Credential,
}

impl AuthData {
    /// Returns credentials without rules.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads a file, and checks it against the plugins' schemas of credentials. Runs the commands of values that
    /// `outputs` lacks; blocks until they end.
    pub fn read(path: &Path, outputs: CommandOutputs, schemas: &dyn Schemas) -> CredentialsReading {
        Self::load(path, CommandPolicy::Run(outputs), schemas)
    }

    /// Checks a file like [`AuthData::read`], but runs nothing: the values of commands are stand-ins.
    pub fn check(path: &Path, schemas: &dyn Schemas) -> CredentialsReading {
        Self::load(path, CommandPolicy::StandIns, schemas)
    }

    fn load(path: &Path, values: CommandPolicy, schemas: &dyn Schemas) -> CredentialsReading {
        let mut loader = Loader::new(AllowedTags::Environment);
        loader.commands = values;
        let root = loader.load(path);
        let mut diagnostics = loader.diagnostics;
        if root.is_some() {
            diagnostics.merge(permissions(path));
        }
        let rules = root
            .map(|root| rules::check(&root, schemas, &mut loader.referenced_files, &mut diagnostics))
            .unwrap_or_default();
        let outputs = match loader.commands {
            CommandPolicy::Run(outputs) => outputs,
            CommandPolicy::StandIns => CommandOutputs::default(),
        };
        CredentialsReading {
            data: (!diagnostics.has_errors()).then_some(Self(rules)),
            diagnostics,
            files: loader.referenced_files,
            outputs,
        }
    }

    /// Returns the credential for a section of a node definition; `None` if no rule matches.
    ///
    /// # Errors
    /// Fails if more than one rule matches.
    pub fn select(&self, section: SectionKind, value: &Json) -> Result<Option<Credential>, AmbiguousCredentials> {
        let matches = |rule: &&Rule| {
            rule.section == section && rule.selectors.iter().all(|(key, expected)| value.get(key) == Some(expected))
        };
        let found: Vec<_> = self.0.iter().filter(matches).collect();
        match found.as_slice() {
            [] => Ok(None),
            [rule] => Ok(Some(rule.credential.clone())),
            rules => Err(AmbiguousCredentials {
                section: section.key(),
                rules: rules.iter().map(|rule| rule.credential.rule.clone()).collect(),
            }),
        }
    }
}

#[cfg(unix)]
fn permissions(path: &Path) -> Diagnostics {
    use std::os::unix::fs::PermissionsExt as _;
    let mut diagnostics = Diagnostics::default();
    let mode = std::fs::metadata(path).map(|data| data.permissions().mode()).unwrap_or_default();
    if mode & 0o077 != 0 {
        let message = format!("other users of this machine may read or change the credentials in {}", path.display());
        let diagnostic = Diagnostic::warning("credentials.permissions", message).in_file(path);
        diagnostics.push(diagnostic.help(format!("chmod 600 {}", path.display())));
    }
    diagnostics
}

#[cfg(not(unix))]
fn permissions(_: &Path) -> Diagnostics {
    Diagnostics::default()
}
