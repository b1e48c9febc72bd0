//! The user's credentials: rules that say which go with which section.

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

/// What a section's plugin authenticates with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// By the keys that the user wrote.
    pub fields: BTreeMap<String, Secret>,
    /// With which connections to the section's endpoint are made. No plugin gets it.
    pub tls: Tls,
    /// Where the rule is that chose it, as `FILE:LINE`.
    pub rule: String,
}

/// More than one rule matches: no choice is made between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("several rules for credentials match `{section}`: {}; add selectors until one is left", rules.join(", "))]
pub struct AmbiguousCredentials {
    /// The key of the section.
    pub section: &'static str,
    /// Where the rules are, as `FILE:LINE`.
    pub rules: Vec<String>,
}

/// All rules of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuthData(Vec<Rule>);

/// What came of reading a file of credentials.
#[derive(Debug)]
pub struct CredentialsReading {
    /// The rules; none when something is wrong.
    pub data: Option<AuthData>,
    /// What is wrong, and what is doubtful.
    pub diagnostics: Diagnostics,
    /// The files that values come from, whether they could be read or not. What is read again may differ when they have
    /// changed.
    pub files: Vec<PathBuf>,
    /// What commands have printed.
    pub outputs: CommandOutputs,
}

impl CredentialsReading {
    /// The rules and what is doubtful, or all that is wrong.
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
    /// What the section must have.
    selectors: Map<String, Json>,
    credential: Credential,
}

impl AuthData {
    /// No rules.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads a file, and checks it against what the plugins say of their credentials. Commands are run for values.
    pub fn read(path: &Path, outputs: CommandOutputs, schemas: &dyn Schemas) -> CredentialsReading {
        Self::load(path, CommandPolicy::Run(outputs), schemas)
    }

    /// Checks a file like [`AuthData::read`], and runs nothing: some values are stand-ins.
    pub fn check(path: &Path, schemas: &dyn Schemas) -> CredentialsReading {
        Self::load(path, CommandPolicy::StandIns, schemas)
    }

    fn load(path: &Path, values: CommandPolicy, schemas: &dyn Schemas) -> CredentialsReading {
        let mut loader = Loader::new(AllowedTags::Environment);
        loader.commands = values;
        let root = loader.load(path);
        let mut problems = loader.diagnostics;
        if root.is_some() {
            problems.merge(permissions(path));
        }
        let rules = root
            .map(|root| rules::check(&root, schemas, &mut loader.referenced_files, &mut problems))
            .unwrap_or_default();
        let outputs = match loader.commands {
            CommandPolicy::Run(outputs) => outputs,
            CommandPolicy::StandIns => CommandOutputs::default(),
        };
        CredentialsReading {
            data: (!problems.has_errors()).then_some(Self(rules)),
            diagnostics: problems,
            files: loader.referenced_files,
            outputs,
        }
    }

    /// The credential for a section of a node definition; none when no rule matches.
    pub fn select(&self, section: SectionKind, value: &Json) -> Result<Option<Credential>, AmbiguousCredentials> {
        let matches = |rule: &&Rule| {
            rule.section == section && rule.selectors.iter().all(|(key, wanted)| value.get(key) == Some(wanted))
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
    let mut problems = Diagnostics::default();
    let mode = std::fs::metadata(path).map(|data| data.permissions().mode()).unwrap_or_default();
    if mode & 0o077 != 0 {
        let message = format!("other users of this machine may read or change the credentials in {}", path.display());
        let problem = Diagnostic::warning("credentials.permissions", message).in_file(path);
        problems.push(problem.help(format!("chmod 600 {}", path.display())));
    }
    problems
}

#[cfg(not(unix))]
fn permissions(_: &Path) -> Diagnostics {
    Diagnostics::default()
}
