//! The file that says how a plugin is to be tested.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

/// What the suite needs to know of a plugin's outside world.
///
/// In the file's text `{port}` and `{stranger_port}` stand for free ports of this machine, and `${NAME}` for a variable of the
/// environment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fixture {
    /// A server to start; without one, it is there already.
    pub server: Option<ServerProgram>,
    /// Of a driver: a section that works.
    pub resource: Option<Value>,
    /// Other servers (`HOST:PORT`) that the endpoint names in its answers. Faults are put before them as well.
    pub services: Vec<String>,
    /// Another server of the same kind, healthy and with nothing on it: what it says is not about the machines of the first.
    pub stranger: Option<Stranger>,
    /// For how long the lists of this cloud may lack what was just made. 0 when they never do.
    pub lists_lag_seconds: u64,
    /// Of a health checker: a section for which the server is healthy.
    pub health_check: Option<Value>,
    /// Of a contextualiser: a section that works.
    pub contextualisation: Option<Value>,
    /// Of a config manager: a section that works.
    pub config_management: Option<Value>,
    /// The credentials, if it takes any.
    pub auth_data: BTreeMap<String, String>,
    /// Credentials that the server refuses.
    pub wrong_auth_data: BTreeMap<String, String>,
    /// Sections that must be refused.
    pub refused: Vec<RefusedSection>,
    /// Of a driver: what a contextualiser would give for the first boot.
    pub user_data: Option<String>,
    /// Of a driver: what a contextualiser would give for the driver.
    pub attributes: Map<String, Value>,
    /// Of a driver: how many machines are made to be observed together. They may be asked for more than once.
    pub machines: usize,
    /// How long a machine may take until it runs.
    pub timeout_seconds: u64,
    /// Of a health checker: the addresses of the node. By default this machine's.
    pub addresses: Vec<String>,
    /// Of a health checker: when the answer is that the node is not healthy.
    pub unhealthy: Vec<UnhealthyCase>,
    /// Of a health checker: is whatever takes connections healthy for it?
    pub any_server_is_healthy: bool,
    /// Variables for templates.
    pub variables: Map<String, Value>,
    /// Of a contextualiser (`user_data`, `attributes`) and a config manager: the right answer.
    pub expected: Option<Value>,
}

/// A program that is the server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerProgram {
    /// With its arguments. It runs in the fixture's folder, and is ready when it takes connections at `{port}`.
    pub command: Vec<String>,
}

/// A server that is not the one that is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stranger {
    /// Where it is, as in the section.
    pub endpoint: String,
    /// A program to start, if it is not there already. It is ready when it takes connections at `{stranger_port}`.
    #[serde(default)]
    pub command: Vec<String>,
}

/// Ports of the servers that are started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) server: u16,
    pub(crate) stranger: u16,
}

/// A section that must be refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedSection {
    /// What is other than in the section that works: a JSON merge patch (RFC 7396).
    pub change: Value,
    /// The reaction of the fault, as the contract spells it. By default `give-up`.
    #[serde(default)]
    pub reaction: Option<String>,
    /// JSON pointer into the section to which the fault must point.
    #[serde(default)]
    pub at: Option<String>,
}

/// Something that is not healthy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnhealthyCase {
    /// What is other than in the section that works: a JSON merge patch (RFC 7396).
    pub change: Option<Value>,
    /// Addresses instead of the fixture's.
    pub addresses: Option<Vec<String>>,
}

/// Why a fixture can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    /// The file.
    #[error("the fixture {path} can't be read: {source}")]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in it.
    #[error("the fixture {path} is not usable: {message}")]
    Invalid {
        /// Its path.
        path: PathBuf,
        /// Why, with the line.
        message: String,
    },
    /// Its server.
    #[error("the fixture {path} has no server: {message}")]
    NoServer {
        /// Its path.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

impl Fixture {
    /// From a text, with these ports.
    pub(crate) fn parse(text: &str, ports: Ports, path: &Path) -> Result<Self, FixtureError> {
        let invalid = |message: String| FixtureError::Invalid { path: path.to_owned(), message };
        let text = text.replace("{port}", &ports.server.to_string());
        let text = text.replace("{stranger_port}", &ports.stranger.to_string());
        let text = expand_variables(&text).map_err(invalid)?;
        let fixture = serde_yaml_ng::from_str::<Option<Self>>(&text).map_err(|error| invalid(error.to_string()))?;
        let mut fixture = fixture.ok_or_else(|| invalid("it is empty".to_owned()))?;
        if fixture.machines == 0 {
            fixture.machines = 3;
        }
        if fixture.timeout_seconds == 0 {
            fixture.timeout_seconds = 120;
        }
        if fixture.addresses.is_empty() {
            fixture.addresses = vec!["127.0.0.1".to_owned()];
        }
        Ok(fixture)
    }
}

/// Puts variables of the environment into a text. Comments are left alone.
fn expand_variables(text: &str) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    for (index, line) in text.lines().enumerate() {
        let mut rest = line;
        let is_comment = rest.trim_start().starts_with('#');
        while let (false, Some((before, after))) = (is_comment, rest.split_once("${")) {
            let Some((name, after)) = after.split_once('}') else {
                return Err(format!("line {}: `${{` has no end", index + 1));
            };
            let value = std::env::var(name);
            let value = value.map_err(|_| format!("line {}: the environment has no variable `{name}`", index + 1))?;
            filled.extend([before, &value]);
            rest = after;
        }
        filled.extend([rest, "\n"]);
    }
    Ok(filled)
}

/// RFC 7396.
pub(crate) fn merge_patched(target: &Value, patch: &Value) -> Value {
    let Some(changes) = patch.as_object() else { return patch.clone() };
    let mut merged = target.as_object().cloned().unwrap_or_default();
    for (key, change) in changes {
        if change.is_null() {
            merged.remove(key);
        } else {
            let old = merged.get(key).unwrap_or(&Value::Null);
            let new = self::merge_patched(old, change);
            merged.insert(key.clone(), new);
        }
    }
    Value::Object(merged)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Fixture, String> {
        Fixture::parse(text, Ports { server: 4711, stranger: 4712 }, Path::new("fixture.yaml"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn ports_and_variables_are_filled_in() {
        let text = "# ${NOT_SET_ANYWHERE}\nresource: {type: x, endpoint: \"http://127.0.0.1:{port}\", home: \"${PATH}\"}\n\
                    stranger: {endpoint: \"http://127.0.0.1:{stranger_port}\"}\n";
        let fixture = parse(text).expect("valid");
        assert_eq!(fixture.stranger.expect("a stranger").endpoint, "http://127.0.0.1:4712");
        let resource = fixture.resource.expect("a section");
        assert_eq!(resource["endpoint"], "http://127.0.0.1:4711");
        assert_eq!(resource["home"], std::env::var("PATH").expect("a path"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let message = parse("resource: {}\nx: ${NOT_SET_ANYWHERE}\n").expect_err("no variable");
        assert!(message.contains("line 2") && message.contains("NOT_SET_ANYWHERE"), "{message}");
        let message = parse("resource: {}\nrefuse: []\n").expect_err("a wrong key");
        assert!(message.contains("refuse") && message.contains("line 2"), "{message}");
        assert!(parse("").is_err());
        assert!(parse("resource: ${").is_err());
    }

    #[test]
    fn a_patch_replaces_adds_and_removes() {
        let patched =
            merge_patched(&json!({"a": 1, "b": {"c": 2, "d": 3}}), &json!({"a": null, "b": {"c": [4]}, "e": 5}));
        assert_eq!(patched, json!({"b": {"c": [4], "d": 3}, "e": 5}));
        assert_eq!(merge_patched(&json!({"a": 1}), &json!(false)), json!(false));
    }
}
