//! The file that configures the test of a plugin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

/// A description of a plugin's environment for the suite.
///
/// Replaced in the file's text: `{port}` and `{stranger_port}` by free ports of this machine, `${NAME}` by a variable
/// of the environment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fixture {
    /// A server to start; `None` if it runs already.
    pub server: Option<ServerProgram>,
    /// Valid section of a driver.
    pub resource: Option<Value>,
    /// Other servers (`HOST:PORT`) that the endpoint names in its answers. Faults are injected in front of them as
    /// well.
    pub services: Vec<String>,
    /// Another server of the same kind, healthy and without machines: its answers are not about the machines of the
    /// first.
    pub stranger: Option<Stranger>,
    /// Seconds for which the lists of this cloud may lack a new machine. 0 if they never do.
    pub lists_lag_seconds: u64,
    /// Section of a health checker for which the server is healthy.
    pub health_check: Option<Value>,
    /// Valid section of a contextualiser.
    pub contextualisation: Option<Value>,
    /// Valid section of a config manager.
    pub config_management: Option<Value>,
    /// Credentials, if the plugin takes any.
    pub auth_data: BTreeMap<String, String>,
    /// Credentials that the server refuses.
    pub wrong_auth_data: BTreeMap<String, String>,
    /// Sections that must be refused.
    pub refused: Vec<RefusedSection>,
    /// User data for a driver's machines, as a contextualiser would return it.
    pub user_data: Option<String>,
    /// Attributes for a driver, as a contextualiser would return them.
    pub attributes: Map<String, Value>,
    /// Number of a driver's machines that are observed together; each may be observed more than once in a call. Default
    /// 3.
    pub machines: usize,
    /// Seconds until a machine must run. Default 120.
    pub timeout_seconds: u64,
    /// Addresses of the node for a health checker. By default this machine's.
    pub addresses: Vec<String>,
    /// Cases for which a health checker must report the node as unhealthy.
    pub unhealthy: Vec<UnhealthyCase>,
    /// Set for a health checker for which any server that accepts connections is healthy.
    pub any_server_is_healthy: bool,
    /// Variables for templates.
    pub variables: Map<String, Value>,
    /// Expected answer of a contextualiser (`user_data`, `attributes`) or a config manager.
    pub expected: Option<Value>,
}

/// A program that runs the server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerProgram {
    /// The program with its arguments. It runs in the fixture's directory, and is ready when it accepts connections at
    /// `{port}`.
    pub command: Vec<String>,
}

/// A server of the same kind that is not the one under test.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stranger {
    /// Endpoint, as in the section.
    pub endpoint: String,
    /// A program to start; empty if the server runs already. It is ready when it accepts connections at
    /// `{stranger_port}`.
    #[serde(default)]
    pub command: Vec<String>,
}

/// Ports of the servers to start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) server: u16,
    pub(crate) stranger: u16,
}

/// A section that must be refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedSection {
    /// Changes to the valid section: a JSON merge patch (RFC 7396).
    pub change: Value,
    /// The reaction of the fault, as the contract spells it. By default `give-up`.
    #[serde(default)]
    pub reaction: Option<String>,
    /// JSON pointer into the section to which the fault must point.
    #[serde(default)]
    pub at: Option<String>,
}

/// A case in which the node is not healthy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnhealthyCase {
    /// Changes to the valid section: a JSON merge patch (RFC 7396).
    pub change: Option<Value>,
    /// Addresses instead of the fixture's.
    pub addresses: Option<Vec<String>>,
}

/// Error: a fixture can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    /// The file can't be read.
    #[error("the fixture {path} can't be read: {source}")]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The content is not valid.
    #[error("the fixture {path} is not usable: {message}")]
    Invalid {
        /// Path of the file.
        path: PathBuf,
        /// Cause, with the line.
        message: String,
    },
    /// The server does not start.
    #[error("the fixture {path} has no server: {message}")]
    NoServer {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        message: String,
    },
}

impl Fixture {
    /// Parses a fixture from a text, with these ports.
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

/// Replaces variables of the environment in a text. Comments are left as they are.
fn expand_variables(text: &str) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    for (index, line) in text.lines().enumerate() {
        let mut rest = line;
        let is_comment = rest.trim_start().starts_with('#');
        while let (false, Some((before, after))) = (is_comment, rest.split_once("${")) {
            let Some((name, after)) = after.split_once('}') else {
                return Err(format!("line {}: `${{` has no end", index + 1));
            };
            let value = std::env::var(name);
            let value =
                value.map_err(|_| format!("line {}: the environment variable `{name}` is not set", index + 1))?;
            expanded.extend([before, &value]);
            rest = after;
        }
        expanded.extend([rest, "\n"]);
    }
    Ok(expanded)
}

/// Returns `target` with a JSON merge patch (RFC 7396) applied.
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
