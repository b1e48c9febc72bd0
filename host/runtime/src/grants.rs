//! What a plugin may reach: the operator's configuration, and what follows from it for one call.
//!
//! A call may reach the endpoint of its own section or the address of its own node, when the plugin says that it needs
//! them, and what the operator granted to the plugin. A plugin that says so may also reach the hosts that its endpoint names
//! in its answers, without secrets. Nothing else.

mod address;
mod announced;
mod call;
mod endpoint;
mod node;
mod refusal;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use address::NetworkZone;
pub(crate) use announced::AnnouncedHosts;
pub use call::CallGrants;
pub use node::{InvalidAddress, NodeAddress};
pub use refusal::GrantRefusal;
pub use target::{InvalidNetworkTarget, NetworkTarget};

/// Why nobody can connect to an endpoint as users write them; none when somebody may. Nothing is resolved.
pub fn endpoint_problem(endpoint: &str) -> Option<String> {
    endpoint::Endpoint::parse(endpoint).err().map(|fault| fault.message)
}

/// Returns why an item of `webhooks` can't be told anything at this URL; none when it may. Nothing is resolved.
pub fn webhook_problem(url: &str) -> Option<String> {
    match endpoint::Endpoint::parse(url) {
        Ok(endpoint) if !url.starts_with("http://") && !url.starts_with("https://") || endpoint.host().is_none() => {
            Some("a webhook is told over `https://` or `http://`".to_owned())
        }
        Ok(endpoint) if endpoint.zone() == NetworkZone::Guarded => {
            Some("metadata, link-local and reserved addresses get no webhooks".to_owned())
        }
        Ok(_) => None,
        Err(fault) => Some(fault.message),
    }
}

/// Tells whether a URL names this machine or an address of a private network. Nothing is resolved.
pub fn is_internal(url: &str) -> bool {
    endpoint::Endpoint::parse(url).is_ok_and(|endpoint| endpoint.zone() != NetworkZone::Public)
}

/// The operator's configuration: what plugins get beyond the endpoint of the section at hand.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// By the plugin's name, or by `KIND/NAME` where several kinds have one name.
    pub plugins: BTreeMap<String, PluginGrants>,
    /// What endpoints named since the process began. Shared by clones.
    #[serde(skip)]
    announced: Arc<announced::AnnouncementRegistry>,
}

/// What the operator grants to one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginGrants {
    /// Where it may connect to.
    pub network: Vec<NetworkTarget>,
    /// The host interfaces that it may use.
    pub interfaces: BTreeSet<Interface>,
    /// SHA-256 of its bytes, in hexadecimal: another file of this name gets nothing. Any when there is none.
    pub sha256: Option<String>,
}

impl PluginGrants {
    /// Tells whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.network.is_empty() && self.interfaces.is_empty()
    }

    /// Grants this as well.
    pub(crate) fn add(&mut self, other: &Self) {
        self.network
            .extend(other.network.iter().filter(|target| !self.network.contains(target)).cloned().collect::<Vec<_>>());
        self.interfaces.extend(&other.interfaces);
    }

    /// Returns all of it in words: targets, then interfaces.
    pub fn words(&self) -> Vec<String> {
        let interfaces = self.interfaces.iter().map(|interface| interface.name().to_owned());
        self.network.iter().map(ToString::to_string).chain(interfaces).collect()
    }
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
pub struct GrantSubject<'a> {
    /// The plugin's name, for messages.
    pub plugin: &'a str,
    /// The key of the configuration whose lines are for it, where that is not its name.
    pub config_key: Option<&'a str>,
    /// Kind, keyword and digest: what is learnt for one plugin is not another's.
    pub plugin_identity: &'a str,
    /// It came with this program and was not replaced.
    pub bundled: bool,
    /// `needs.network` of its description.
    pub needs_network: &'a [String],
    /// `needs.interfaces` of its description.
    pub needs_interfaces: &'a [String],
    /// Grants of the operator for it.
    pub operator: Option<&'a PluginGrants>,
    /// The `endpoint` fields of the section at hand, as the user wrote them.
    pub endpoints: &'a [String],
    /// The addresses of the node at hand.
    pub node_addresses: &'a [String],
}

impl GrantSubject<'_> {
    /// Tells whether its endpoint may name further hosts: it asks for that, and somebody has agreed.
    pub(crate) fn may_follow_announcements(&self) -> bool {
        let asks = self.needs_network.iter().any(|line| line == "announced");
        let is_granted = || self.operator.is_some_and(|operator| operator.network.contains(&NetworkTarget::ANNOUNCED));
        asks && (self.bundled || is_granted())
    }

    /// Tells whether it may run commands that templates name.
    fn may_run_commands(&self) -> bool {
        self.bundled || self.interfaces().contains(&Interface::Process)
    }

    /// The host interfaces that it may use.
    pub(crate) fn interfaces(&self) -> BTreeSet<Interface> {
        let mut interfaces = self.operator.map(|operator| operator.interfaces.clone()).unwrap_or_default();
        if self.bundled {
            // Never `reveal`: the operator alone may take the secrets' protection away.
            let own = [Interface::Icmp, Interface::Process].into_iter();
            interfaces.extend(own.filter(|one| self.needs_interfaces.iter().any(|need| need == one.name())));
        }
        interfaces
    }
}

impl Grants {
    /// What the operator grants, by the plugin's name.
    pub fn of(plugins: impl IntoIterator<Item = (String, PluginGrants)>) -> Self {
        Self { plugins: plugins.into_iter().collect(), ..Self::default() }
    }

    /// What one call may reach.
    pub fn for_call(&self, subject: &GrantSubject<'_>) -> CallGrants {
        CallGrants::new(subject, &self.announced)
    }
}

#[cfg(test)]
mod tests;
