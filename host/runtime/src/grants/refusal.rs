//! Refusals of what a call was not granted, with the configuration that would allow it.

use occopus_engine::ports::{Fault, Reaction};

use super::CallGrants;

/// Refusal of a request that is not granted to a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin `{plugin}` asked for {request}: {reason}{}", configuration_advice(.configuration))]
pub struct GrantRefusal {
    /// Name of the plugin.
    pub plugin: String,
    /// Object of the request, such as `example.com:80`.
    pub request: String,
    /// Reason for the refusal.
    pub reason: String,
    /// Configuration (YAML) that would allow it; empty if nothing would.
    pub configuration: String,
}

impl GrantRefusal {
    /// Creates the refusal of a network target. `target` is the line that would allow it.
    pub(super) fn network(grants: &CallGrants, request: &str, reason: &str, target: &str) -> Self {
        Self::new(grants, request, reason, "network", target)
    }

    /// Creates the refusal of a host interface.
    pub(super) fn interface(grants: &CallGrants, name: &str) -> Self {
        Self::new(grants, &format!("the host interface `{name}`"), "it is off unless granted", "interfaces", name)
    }

    /// Creates the refusal of a request that nothing would allow.
    pub(super) fn permanent(grants: &CallGrants, request: &str, reason: &str) -> Self {
        Self { configuration: String::new(), ..Self::new(grants, request, reason, "network", "") }
    }

    fn new(grants: &CallGrants, request: &str, reason: &str, key: &str, item: &str) -> Self {
        // A guest chose some of this text: nothing of it may break out of its line. JSON strings are YAML strings.
        let configuration =
            format!("plugins:\n  {}:\n    {key}: [{}]", yaml_quoted(&grants.config_key), yaml_quoted(item));
        let printable = |text: &str| text.replace(char::is_control, "?");
        Self {
            plugin: printable(&grants.plugin),
            request: printable(request),
            reason: reason.to_owned(),
            configuration,
        }
    }
}

fn configuration_advice(configuration: &str) -> String {
    match configuration {
        "" => String::new(),
        lines => format!(". To allow it, add this to the configuration:\n{lines}"),
    }
}

fn yaml_quoted(text: &str) -> String {
    let plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

impl From<GrantRefusal> for Fault {
    fn from(refusal: GrantRefusal) -> Self {
        Self::new(Reaction::GiveUp, "host.not-granted", refusal.to_string())
    }
}
