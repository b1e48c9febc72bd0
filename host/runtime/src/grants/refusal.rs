//! Refusals of what a call was not granted, with the configuration that would allow it.

use occopus_engine::ports::{Fault, Reaction};

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

fn configuration_advice(configuration: &str) -> String {
    match configuration {
        "" => String::new(),
        lines => format!(". To allow it, add this to the configuration:\n{lines}"),
    }
}

pub(super) fn yaml_quoted(text: &str) -> String {
    let plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

impl From<GrantRefusal> for Fault {
    fn from(refusal: GrantRefusal) -> Self {
        Self::new(Reaction::GiveUp, "host.not-granted", refusal.to_string())
    }
}
