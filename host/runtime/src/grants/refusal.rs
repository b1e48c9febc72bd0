//! A refusal says how to allow what it refuses.

use occopus_engine::ports::{Fault, Reaction};

use super::CallGrants;

/// The call asked for something that it was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin `{plugin}` asked for {request}: {reason}{}", configuration_advice(.configuration))]
pub struct GrantRefusal {
    /// Who asked.
    pub plugin: String,
    /// For what.
    pub request: String,
    /// Why not.
    pub reason: String,
    /// The configuration (YAML) that would allow it; empty when nothing would.
    pub configuration: String,
}

impl GrantRefusal {
    /// Of a network target. `target` is the line that would allow it.
    pub(super) fn network(of: &CallGrants, request: &str, reason: &str, target: &str) -> Self {
        Self::new(of, request, reason, "network", target)
    }

    /// Of a host interface.
    pub(super) fn interface(of: &CallGrants, name: &str) -> Self {
        Self::new(of, &format!("the host interface `{name}`"), "it is off unless granted", "interfaces", name)
    }

    /// Makes the refusal of what nothing allows.
    pub(super) fn permanent(of: &CallGrants, request: &str, reason: &str) -> Self {
        Self { configuration: String::new(), ..Self::new(of, request, reason, "network", "") }
    }

    fn new(of: &CallGrants, request: &str, reason: &str, key: &str, item: &str) -> Self {
        // A guest chose some of this text: nothing of it may break out of its line. JSON strings are YAML strings.
        let configuration = format!("plugins:\n  {}:\n    {key}: [{}]", yaml_quoted(&of.entry), yaml_quoted(item));
        let printable = |text: &str| text.replace(char::is_control, "?");
        Self { plugin: printable(&of.plugin), request: printable(request), reason: reason.to_owned(), configuration }
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
