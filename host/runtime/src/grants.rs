//! Grants of plugins: the operator's configuration, and the grants of one call that follow from it.
//!
//! A call may reach the endpoint of its own section or the address of its own node, if the plugin declares that need,
//! and what the operator granted to the plugin. With the need `announced`, and consent, it may also reach the hosts
//! that its endpoint names in its answers, without secrets. Nothing else.

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

/// Returns the reason why an endpoint, as users write it, is not valid; none if it is. Resolves no name.
pub fn endpoint_problem(endpoint: &str) -> Option<String> {
    endpoint::Endpoint::parse(endpoint).err().map(|fault| fault.message)
}

/// Returns the reason why a URL is not allowed in `webhooks`; none if it is. Resolves no name.
pub fn webhook_problem(url: &str) -> Option<String> {
    match endpoint::Endpoint::parse(url) {
        Ok(endpoint) if !url.starts_with("http://") && !url.starts_with("https://") || endpoint.host().is_none() => {
            Some("the URL of a webhook must begin with `https://` or `http://`".to_owned())
        }
        Ok(endpoint) if endpoint.zone() == NetworkZone::Guarded => {
            Some("webhooks are not sent to metadata, link-local and reserved addresses".to_owned())
        }
        Ok(_) => None,
        Err(fault) => Some(fault.message),
    }
}

/// Returns whether a URL names this machine, or a private, link-local or reserved address. Resolves no name.
pub fn is_internal(url: &str) -> bool {
    endpoint::Endpoint::parse(url).is_ok_and(|endpoint| endpoint.zone() != NetworkZone::Public)
}

/// The operator's configuration: grants of plugins beyond the endpoint of the section at hand.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Grants by the plugin's name, or by `KIND/NAME` if several kinds share a name.
    pub plugins: BTreeMap<String, PluginGrants>,
    /// Hosts that endpoints announced since the process started. Shared by clones.
    #[serde(skip)]
    announced: Arc<announced::AnnouncementRegistry>,
}

/// Grants of the operator for one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginGrants {
    /// Network targets that it may connect to.
    pub network: Vec<NetworkTarget>,
    /// Host interfaces that it may use.
    pub interfaces: BTreeSet<Interface>,
    /// SHA-256 of its bytes, in hexadecimal: other bytes under this name get nothing. None holds for any bytes.
    pub sha256: Option<String>,
}

impl PluginGrants {
    /// Returns whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.network.is_empty() && self.interfaces.is_empty()
    }

    /// Adds the grants of `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        self.network
            .extend(other.network.iter().filter(|target| !self.network.contains(target)).cloned().collect::<Vec<_>>());
        self.interfaces.extend(&other.interfaces);
    }

    /// Returns all grants as the configuration names them: targets, then interfaces.
    pub fn words(&self) -> Vec<String> {
        let interfaces = self.interfaces.iter().map(|interface| interface.name().to_owned());
        self.network.iter().map(ToString::to_string).chain(interfaces).collect()
    }
}

/// A host interface that is off unless granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interface {
    /// A single ICMP echo.
    Icmp,
    /// Processes on this machine.
    Process,
    /// Values of secrets.
    Reveal,
}

impl Interface {
    /// All interfaces.
    pub const ALL: [Self; 3] = [Self::Icmp, Self::Process, Self::Reveal];

    /// Returns the name in the configuration and in `needs`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Process => "process",
            Self::Reveal => "reveal",
        }
    }
}

/// Facts from which the grants of a call are computed.
#[derive(Debug, Clone, Copy, Default)]
pub struct GrantSubject<'a> {
    /// Name of the plugin, for messages.
    pub plugin: &'a str,
    /// Key of the configuration under which its grants are written, if that is not its name.
    pub config_key: Option<&'a str>,
    /// Kind, keyword and digest of the plugin: announced hosts are not shared with other plugins.
    pub plugin_identity: &'a str,
    /// Part of this program, and not replaced.
    pub bundled: bool,
    /// `needs.network` of its description.
    pub needs_network: &'a [String],
    /// `needs.interfaces` of its description.
    pub needs_interfaces: &'a [String],
    /// Grants of the operator for it.
    pub operator: Option<&'a PluginGrants>,
    /// Values of the `endpoint` fields of the section at hand, as the user wrote them.
    pub endpoints: &'a [String],
    /// Addresses of the node at hand.
    pub node_addresses: &'a [String],
}

impl GrantSubject<'_> {
    /// Returns whether its endpoint may announce further hosts: it declares that need, and is bundled or granted it.
    pub(crate) fn may_follow_announcements(&self) -> bool {
        let is_needed = self.needs_network.iter().any(|line| line == "announced");
        let is_granted = || self.operator.is_some_and(|operator| operator.network.contains(&NetworkTarget::ANNOUNCED));
        is_needed && (self.bundled || is_granted())
    }

    /// Returns whether it may run the commands of templates (`cmd`).
    fn may_run_commands(&self) -> bool {
        self.bundled || self.interfaces().contains(&Interface::Process)
    }

    /// Returns the host interfaces that it may use.
    pub(crate) fn interfaces(&self) -> BTreeSet<Interface> {
        let mut interfaces = self.operator.map(|operator| operator.interfaces.clone()).unwrap_or_default();
        if self.bundled {
            // Never `reveal`: the operator alone may lift the protection of secrets.
            let own = [Interface::Icmp, Interface::Process].into_iter();
            interfaces.extend(own.filter(|one| self.needs_interfaces.iter().any(|need| need == one.name())));
        }
        interfaces
    }
}

impl Grants {
    /// Creates a configuration from grants by the plugin's name.
    pub fn of(plugins: impl IntoIterator<Item = (String, PluginGrants)>) -> Self {
        Self { plugins: plugins.into_iter().collect(), ..Self::default() }
    }

    /// Returns the grants of one call.
    pub fn for_call(&self, subject: &GrantSubject<'_>) -> CallGrants {
        CallGrants::new(subject, &self.announced)
    }
}

#[cfg(test)]
mod tests;
