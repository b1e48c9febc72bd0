//! What a plugin may reach: the operator's configuration, and what follows from it for one call.
//!
//! A call may reach the endpoint of its own section or the address of its own node, when the plugin says that it needs
//! them, and what the operator granted to the plugin. A plugin that says so may also reach the hosts that its endpoint names
//! in its answers, without secrets. Nothing else.

mod address;
mod announced;
mod call;
mod endpoint;
mod refusal;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

pub(crate) use announced::Announced;
pub use call::CallGrants;
pub use refusal::Refusal;
pub use target::{InvalidTarget, Target};

/// Why nobody can connect to an endpoint as users write them; none when somebody may. Nothing is resolved.
pub fn endpoint_problem(endpoint: &str) -> Option<String> {
    endpoint::Endpoint::parse(endpoint).err().map(|fault| fault.message)
}

/// The operator's configuration: what plugins get beyond the endpoint of the section at hand.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// By the plugin's name.
    pub plugins: BTreeMap<String, PluginGrants>,
    /// What endpoints named since the process began. Shared by clones.
    #[serde(skip)]
    announced: Arc<announced::Announcements>,
}

/// What the operator grants to one plugin.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginGrants {
    /// Where it may connect to.
    pub network: Vec<Target>,
    /// The host interfaces that it may use.
    pub interfaces: BTreeSet<Interface>,
}

/// A host interface that is off unless granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interface {
    /// One ICMP echo.
    Icmp,
    /// Processes on this machine.
    Process,
    /// Values of secrets.
    Reveal,
}

impl Interface {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Icmp, Self::Process, Self::Reveal];

    /// The name in the configuration and in `needs`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Process => "process",
            Self::Reveal => "reveal",
        }
    }
}

/// What the grants of a call are computed from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// The plugin's name, as it describes itself.
    pub plugin: &'a str,
    /// It came with this program and was not replaced.
    pub bundled: bool,
    /// `needs.network` of its description.
    pub needs_network: &'a [String],
    /// `needs.interfaces` of its description.
    pub needs_interfaces: &'a [String],
    /// The `endpoint` fields of the section at hand, as the user wrote them.
    pub endpoints: &'a [String],
    /// The addresses of the node at hand.
    pub node_addresses: &'a [String],
}

impl Grants {
    /// What the operator grants, by the plugin's name.
    pub fn of(plugins: impl IntoIterator<Item = (String, PluginGrants)>) -> Self {
        Self { plugins: plugins.into_iter().collect(), ..Self::default() }
    }

    /// What one call may reach.
    pub fn for_call(&self, subject: &Subject<'_>) -> CallGrants {
        CallGrants::new(subject, self.plugins.get(subject.plugin), &self.announced)
    }

    /// What a call may reach that is to reach nothing but what the subject names.
    pub(crate) fn without_operator(&self, subject: &Subject<'_>) -> CallGrants {
        CallGrants::new(subject, None, &self.announced)
    }
}

#[cfg(test)]
mod tests;
