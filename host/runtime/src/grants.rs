//! What a plugin may reach: the operator's configuration, and what follows from it for one call.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use occopus_engine::ports::Fault;
use serde::Deserialize;

/// The operator's configuration: what plugins get beyond the endpoint of the section at hand.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// By the plugin's name.
    pub plugins: BTreeMap<String, PluginGrants>,
}

/// What the operator grants to one plugin.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginGrants {
    /// `HOST:PORT`, `*.example.com:443`, `10.0.0.0/8:*`, `unix:///PATH`.
    pub network: Vec<String>,
    /// Host interfaces.
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

/// What one call may reach.
#[derive(Debug)]
pub struct CallGrants {}

/// The call asked for something that it was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{plugin}")]
pub struct Refusal {
    /// Who asked.
    pub plugin: String,
    /// For what.
    pub request: String,
    /// Why not.
    pub reason: String,
    /// The configuration (YAML) that would allow it.
    pub configuration: String,
}

impl Grants {
    /// What one call may reach.
    pub fn for_call(&self, subject: &Subject<'_>) -> CallGrants {
        let _ = subject;
        todo!()
    }
}

impl CallGrants {
    /// May this call talk to this host, by the name or the address that it wrote? To be asked before resolution.
    pub fn check_name(&self, host: &str, port: u16) -> Result<(), Refusal> {
        let _ = (host, port);
        todo!()
    }

    /// May it talk to this address? `name` is the host name that was resolved to it, none when the guest wrote the address.
    pub fn check_address(&self, address: IpAddr, port: u16, name: Option<&str>) -> Result<(), Refusal> {
        let _ = (address, port, name);
        todo!()
    }

    /// May it send an ICMP echo there?
    pub fn check_echo(&self, address: IpAddr) -> Result<(), Refusal> {
        let _ = address;
        todo!()
    }

    /// May it use this host interface?
    pub fn check_interface(&self, interface: Interface) -> Result<(), Refusal> {
        let _ = interface;
        todo!()
    }

    /// May secrets go to this host?
    pub fn check_secrets(&self, host: &str, port: u16) -> Result<(), Refusal> {
        let _ = (host, port);
        todo!()
    }

    /// Remembers that a granted name resolved to these addresses, so that the guest may connect to them by address.
    pub fn note_resolution(&self, name: &str, addresses: &[IpAddr]) {
        let _ = (name, addresses);
        todo!()
    }

    /// The URL under which the guest reaches an endpoint (`call.context.url-for`).
    pub fn url_for(&self, endpoint: &str) -> Result<String, Fault> {
        let _ = endpoint;
        todo!()
    }

    /// The unix socket behind a host name that [`url_for`](Self::url_for) made up.
    pub fn socket_of(&self, host: &str) -> Option<PathBuf> {
        let _ = host;
        todo!()
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let _ = refusal;
        todo!()
    }
}
