//! The user's credentials: rules that say which go with which section.

mod rules;
mod secret;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value as Json};

use crate::problem::{Problem, Problems};
use crate::schema::{Schemas, Section};
use crate::yaml::{Loader, Tags};

pub use secret::Secret;

/// What a section's plugin authenticates with.
#[derive(Debug, Clone)]
pub struct Credential {
    /// By the keys that the user wrote.
    pub fields: BTreeMap<String, Secret>,
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
#[derive(Debug, Clone, Default)]
pub struct AuthData(Vec<Rule>);

#[derive(Debug, Clone)]
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

    /// Reads a file, and checks it against what the plugins say of their credentials. Gives warnings as well.
    pub fn read(path: &Path, schemas: &dyn Schemas) -> Result<(Self, Problems), Problems> {
        let mut loader = Loader::new(Tags::Environment);
        let root = loader.load(path);
        let mut problems = loader.problems;
        if root.is_some() {
            problems.merge(permissions(path));
        }
        let rules = root.map(|root| rules::check(&root, schemas, &mut problems)).unwrap_or_default();
        if problems.has_errors() { Err(problems) } else { Ok((Self(rules), problems)) }
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
