//! The user's credentials: rules that say which go with which section.

mod rules;
mod secret;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use crate::problem::{Problem, Problems};
use crate::schema::{Schemas, Section};
use crate::yaml::{Loader, Outputs, Tags, Values};

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
pub struct Reading {
    /// The rules; none when something is wrong.
    pub data: Option<AuthData>,
    /// What is wrong, and what is doubtful.
    pub problems: Problems,
    /// The files that values come from, whether they could be read or not. What is read again may differ when they have
    /// changed.
    pub files: Vec<PathBuf>,
    /// What commands have printed.
    pub outputs: Outputs,
}

impl Reading {
    /// The rules and what is doubtful, or all that is wrong.
    pub fn usable(self) -> Result<(AuthData, Problems), Problems> {
        match self.data {
            Some(data) => Ok((data, self.problems)),
            None => Err(self.problems),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    section: Section,
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
    pub fn read(path: &Path, outputs: Outputs, schemas: &dyn Schemas) -> Reading {
        Self::load(path, Values::Real(outputs), schemas)
    }

    /// Checks a file like [`AuthData::read`], and runs nothing: some values are stand-ins.
    pub fn look(path: &Path, schemas: &dyn Schemas) -> Reading {
        Self::load(path, Values::StandIns, schemas)
    }

    fn load(path: &Path, values: Values, schemas: &dyn Schemas) -> Reading {
        let mut loader = Loader::new(Tags::Environment);
        loader.values = values;
        let root = loader.load(path);
        let mut problems = loader.problems;
        if root.is_some() {
            problems.merge(permissions(path));
        }
        let rules = root.map(|root| rules::check(&root, schemas, &mut loader.named, &mut problems)).unwrap_or_default();
        let outputs = match loader.values {
            Values::Real(outputs) => outputs,
            Values::StandIns => Outputs::default(),
        };
        Reading { data: (!problems.has_errors()).then_some(Self(rules)), problems, files: loader.named, outputs }
    }

    /// The credential for a section of a node definition; none when no rule matches.
    pub fn select(&self, section: Section, value: &Json) -> Result<Option<Credential>, AmbiguousCredentials> {
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
fn permissions(path: &Path) -> Problems {
    use std::os::unix::fs::PermissionsExt as _;
    let mut problems = Problems::default();
    let mode = std::fs::metadata(path).map(|data| data.permissions().mode()).unwrap_or_default();
    if mode & 0o077 != 0 {
        let message = format!("other users of this machine may read or change the credentials in {}", path.display());
        let problem = Problem::warning("credentials.permissions", message).in_file(path);
        problems.push(problem.help(format!("chmod 600 {}", path.display())));
    }
    problems
}

#[cfg(not(unix))]
fn permissions(_: &Path) -> Problems {
    Problems::default()
}
