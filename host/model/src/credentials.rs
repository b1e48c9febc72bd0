//! The user's credentials: rules with selectors. Exactly one must fit a section.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json::Value;
use zeroize::Zeroize;

use crate::check;
use crate::problem::{Problem, Problems};
use crate::schemas::{Schemas, Section};
use crate::yaml::{Item, Loader, Tags};

/// A value that must not be shown. Wiped from memory with it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value, for whoever uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The values of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// By name.
    pub fields: BTreeMap<String, Secret>,
    /// Where the rule stands: `FILE:LINE:COLUMN`.
    pub rule: String,
}

/// More than one rule fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("more than one rule of the credentials fits this section: {}. Give one of them another selector", .rules.join(" and "))]
pub struct AmbiguousCredentials {
    /// Where the rules stand.
    pub rules: Vec<String>,
}

/// All rules of a file.
#[derive(Debug, Clone, Default)]
pub struct AuthData {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    section: Section,
    selectors: Vec<(String, Value)>,
    credential: Credential,
}

impl AuthData {
    /// No rules.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads a file. Also gives warnings.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(path: &Path, schemas: &dyn Schemas) -> Result<(Self, Problems), Problems> {
        let mut loader = Loader::new(Tags::Environment);
        let root = loader.load(path);
        let mut problems = std::mem::take(&mut loader.problems);
        warn_if_open(path, &mut problems);
        let mut rules = Vec::new();
        if let Some(root) = &root {
            check::mapping(root, "the credentials", &["resource", "config_management"], &mut problems);
            for section in [Section::Resource, Section::ConfigManagement] {
                if let Some(list) = root.get(section.key()) {
                    read_rules(list, section, schemas, &mut rules, &mut problems);
                }
            }
        }
        if problems.has_errors() { Err(problems) } else { Ok((Self { rules }, problems)) }
    }

    /// The credential for a section: of the one rule whose selectors are all in it, with equal values.
    ///
    /// # Errors
    /// When more than one rule fits.
    pub fn select(&self, section: Section, settings: &Value) -> Result<Option<Credential>, AmbiguousCredentials> {
        let fits = |rule: &&Rule| {
            rule.section == section && rule.selectors.iter().all(|(key, value)| settings.get(key) == Some(value))
        };
        let mut fitting = self.rules.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (None, _) => Ok(None),
            (Some(rule), None) => Ok(Some(rule.credential.clone())),
            (Some(_), Some(_)) => {
                let rules = self.rules.iter().filter(fits).map(|rule| rule.credential.rule.clone()).collect();
                Err(AmbiguousCredentials { rules })
            }
        }
    }
}

#[cfg(unix)]
fn warn_if_open(path: &Path, problems: &mut Problems) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(data) = std::fs::metadata(path) else { return };
    if data.permissions().mode() & 0o077 != 0 {
        problems.push(
            Problem::warning(
                "credentials.open",
                format!("{} can be read by other users of this machine", path.display()),
            )
            .in_file(path)
            .help(format!("chmod 600 {}", path.display())),
        );
    }
}

#[cfg(not(unix))]
fn warn_if_open(_path: &Path, _problems: &mut Problems) {}

fn read_rules(list: &Item, section: Section, schemas: &dyn Schemas, rules: &mut Vec<Rule>, problems: &mut Problems) {
    let Some(items) = list.sequence() else {
        let message =
            format!("`{}` of the credentials must be a list of rules, and this is {}", section.key(), list.kind());
        problems.push(Problem::error("credentials.type", message).at(&list.at, "here"));
        return;
    };
    for item in items {
        let Some(entries) = item.mapping() else {
            problems.push(
                Problem::error("credentials.type", "a rule must be a mapping")
                    .at(&item.at, format!("this is {}", item.kind())),
            );
            continue;
        };
        let Some(data) = check::required(item, "a rule of the credentials", "auth_data", problems) else { continue };
        let Some(fields) = fields(data, problems) else { continue };
        let selectors: Vec<_> = entries
            .iter()
            .filter(|entry| entry.key != "auth_data")
            .map(|entry| (entry.key.clone(), entry.value.json()))
            .collect();
        let keyword = item.get("type").and_then(Item::str);
        if let Some(schema) = keyword.and_then(|keyword| schemas.credentials_schema(section, keyword)) {
            check_names(data, keyword.unwrap_or_default(), &schema, problems);
        }
        rules.push(Rule { section, selectors, credential: Credential { fields, rule: item.at.to_string() } });
    }
}

/// The names only: a value must not get into a message.
fn check_names(data: &Item, keyword: &str, schema: &Value, problems: &mut Problems) {
    let names = |key: &str| schema.get(key);
    let required = names("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for name in required.filter(|name| data.get(name).is_none()) {
        problems.push(
            Problem::error("credentials.missing-key", format!("`auth_data` for `type: {keyword}` needs `{name}`"))
                .at(&data.at, format!("no `{name}` here")),
        );
    }
    if names("additionalProperties") == Some(&Value::Bool(false)) {
        let known: Vec<&str> =
            names("properties").and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        for entry in data.mapping().into_iter().flatten().filter(|entry| !known.contains(&entry.key.as_str())) {
            problems.push(
                Problem::error(
                    "credentials.unknown-key",
                    format!("`auth_data` for `type: {keyword}` has no `{}`", entry.key),
                )
                .at(&entry.key_at, "unknown")
                .help(crate::problem::suggestion(&entry.key, known.iter().copied())),
            );
        }
    }
}

fn fields(data: &Item, problems: &mut Problems) -> Option<BTreeMap<String, Secret>> {
    let Some(entries) = data.mapping() else {
        let message = format!("`auth_data` must be a mapping, and this is {}", data.kind());
        problems.push(Problem::error("credentials.type", message).at(&data.at, "here"));
        return None;
    };
    let mut fields = BTreeMap::new();
    for entry in entries {
        let text = match entry.value.json() {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            _ => {
                let message =
                    format!("`{}` of `auth_data` must be a text, and this is {}", entry.key, entry.value.kind());
                // The place of the key: the value itself must not be shown.
                problems.push(Problem::error("credentials.type", message).at(&entry.key_at, "here"));
                continue;
            }
        };
        fields.insert(entry.key.clone(), Secret(text));
    }
    Some(fields)
}
