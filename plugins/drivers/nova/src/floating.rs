//! Floating IPs, through Neutron (<https://docs.openstack.org/api-ref/network/v2/#floating-ips-floatingips>).

use std::time::Duration;

use occopus_sdk::http::encoded;
use occopus_sdk::{Address, Fault, Observed, Phase, Reaction};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::catalogue::Service;
use crate::cloud::{Cloud, Effect, ServiceRequest};
use crate::handle::Reference;
use crate::section::given;
use crate::servers::has_next;

/// Maximum number of polls for a server's port, which it has a few seconds after its creation.
const MAX_PORT_POLLS: usize = 60;
const PORT_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Delay after which another caller that found the same address free has claimed it.
const CLAIM_CONFIRM_DELAY: Duration = Duration::from_secs(1);
/// Time that is left for the answer to the host.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize)]
struct FloatingIp {
    id: String,
    floating_ip_address: String,
    #[serde(default)]
    port_id: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    revision_number: Option<u64>,
    #[serde(default)]
    port_details: Option<PortDetails>,
}

#[derive(Debug, Deserialize)]
struct PortDetails {
    #[serde(default)]
    device_id: String,
}

#[derive(Deserialize)]
struct FloatingIps {
    floatingips: Vec<FloatingIp>,
    #[serde(default)]
    floatingips_links: Vec<Value>,
}

#[derive(Deserialize)]
struct OneFloatingIp {
    floatingip: FloatingIp,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Ports {
    ports: Vec<Named>,
}

#[derive(Deserialize)]
struct Networks {
    networks: Vec<Named>,
}

/// Returns the description of floating IPs that the driver allocated for a server. Others are the user's, and stay.
fn ownership_label(server: &str) -> String {
    format!("occopus.server={server}")
}

impl FloatingIp {
    fn is_ours(&self) -> bool {
        self.description.as_ref().is_some_and(|text| text.starts_with("occopus.server="))
    }

    fn address(&self) -> Address {
        Address { value: self.floating_ip_address.clone(), internal: false }
    }
}

impl Cloud<'_> {
    /// Assigns a floating IP to the server: one of the user's that is not in use, or a new one.
    pub(crate) fn assign_floating_ip(&self, server: &str) -> Result<Address, Fault> {
        let port = self.port_of(server)?;
        if let Some(there) = self.list_floating_ips(&[("port_id", &port)])?.first() {
            return Ok(there.address());
        }
        let network = self.external_network()?;
        for free in self.list_floating_ips(&[("floating_network_id", &network), ("status", "DOWN")])? {
            if free.port_id.is_none() && !free.is_ours() && self.claim_floating_ip(&free, &port)? {
                return Ok(free.address());
            }
        }
        let body = json!({"floatingip": {
            "floating_network_id": network, "port_id": port, "description": ownership_label(server),
        }});
        let call = ServiceRequest {
            effect: Effect::Possible,
            body: Some(&body),
            ..ServiceRequest::new(Service::Network, "POST", "/floatingips")
        };
        self.read::<OneFloatingIp>(&call).map(|made| made.floatingip.address())
    }

    /// Releases the floating IPs that were allocated for this server.
    pub(crate) fn release_floating_ip(&self, server: &str) -> Result<(), Fault> {
        for ours in self.list_floating_ips(&[("description", &ownership_label(server))])? {
            // A cloud without this filter lists all.
            if ours.description.as_deref() != Some(&ownership_label(server)) {
                continue;
            }
            // One that Neutron no longer knows is released, too.
            let _known = self.remove(Service::Network, &format!("/floatingips/{}", encoded(&ours.id)))?;
        }
        Ok(())
    }

    /// Adds floating IPs that Nova does not show yet and Neutron has.
    pub(crate) fn add_floating_addresses(&self, servers: &mut [Observed]) -> Result<(), Fault> {
        let lacks = |server: &Observed| {
            server.phase == Phase::Running && server.addresses.iter().all(|address| address.internal)
        };
        if !servers.iter().any(lacks) {
            return Ok(());
        }
        let known = self.list_floating_ips(&[])?;
        for server in servers.iter_mut().filter(|server| lacks(server)) {
            let id = Reference::of(&server.handle).id;
            let is_its = |ip: &&FloatingIp| ip.port_details.as_ref().is_some_and(|port| port.device_id == id);
            if let Some(ip) = known.iter().find(is_its) {
                server.addresses.insert(0, ip.address());
            }
        }
        Ok(())
    }

    /// Associates a free floating IP; false if another caller was quicker.
    fn claim_floating_ip(&self, free: &FloatingIp, port: &str) -> Result<bool, Fault> {
        let body = json!({"floatingip": {"port_id": port}});
        let path = format!("/floatingips/{}", encoded(&free.id));
        let expected: Vec<(&str, String)> =
            free.revision_number.map(|number| ("if-match", format!("revision_number={number}"))).into_iter().collect();
        let call = ServiceRequest {
            body: Some(&body),
            headers: &expected,
            ..ServiceRequest::new(Service::Network, "PUT", &path)
        };
        match self.send(&call) {
            Ok(_) if free.revision_number.is_none() => self.confirm_claim(free, port),
            Ok(_) => Ok(true),
            // Changed since it was listed (412), taken (409), or gone.
            Err(fault) if matches!(fault.reaction, Reaction::Conflict | Reaction::NotFound) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Returns true if the floating IP still has this port after a while. A Neutron without revision numbers gives it
    /// to the last caller.
    fn confirm_claim(&self, taken: &FloatingIp, port: &str) -> Result<bool, Fault> {
        self.scope.call().wait(CLAIM_CONFIRM_DELAY);
        match self.read::<OneFloatingIp>(&ServiceRequest::new(
            Service::Network,
            "GET",
            &format!("/floatingips/{}", encoded(&taken.id)),
        )) {
            Ok(shown) => Ok(shown.floatingip.port_id.as_deref() == Some(port)),
            Err(fault) if fault.reaction == Reaction::NotFound => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    fn list_floating_ips(&self, query: &[(&str, &str)]) -> Result<Vec<FloatingIp>, Fault> {
        let (mut all, mut marker): (Vec<FloatingIp>, Option<String>) = (Vec::new(), None);
        loop {
            let mut query = query.to_vec();
            query.extend(marker.as_deref().map(|marker| ("marker", marker)));
            let call = ServiceRequest { query: &query, ..ServiceRequest::new(Service::Network, "GET", "/floatingips") };
            let page: FloatingIps = self.read(&call)?;
            let next = page.floatingips.last().filter(|_| has_next(&page.floatingips_links)).map(|ip| ip.id.clone());
            all.extend(page.floatingips);
            if next.is_none() || next == marker {
                return Ok(all);
            }
            marker = next;
        }
    }

    fn port_of(&self, server: &str) -> Result<String, Fault> {
        let network = given(self.section.network_id.as_ref());
        let filters = [Some(("device_id", server)), network.map(|network| ("network_id", network))];
        let query: Vec<(&str, &str)> = filters.into_iter().flatten().collect();
        for _ in 0..MAX_PORT_POLLS {
            let ports: Ports =
                self.read(&ServiceRequest { query: &query, ..ServiceRequest::new(Service::Network, "GET", "/ports") })?;
            if let Some(port) = ports.ports.into_iter().next() {
                return Ok(port.id);
            }
            if self.scope.call().remaining() < ANSWER_MARGIN || self.scope.call().cancelled() {
                break;
            }
            self.scope.call().progress("waiting for the server's network", None);
            self.scope.call().wait(PORT_POLL_INTERVAL);
        }
        Err(Fault::retry("nova.no-port", format!("the server {server} has no port for a floating IP yet")))
    }

    fn external_network(&self) -> Result<String, Fault> {
        let pool = given(self.section.floating_ip_pool.as_ref());
        let query = [("router:external", "true"), ("fields", "id"), ("fields", "name")];
        let call = ServiceRequest { query: &query, ..ServiceRequest::new(Service::Network, "GET", "/networks") };
        let networks = self.read::<Networks>(&call)?.networks;
        let names: Vec<&str> = networks.iter().map(|network| network.name.as_str()).collect();
        let found = networks.iter().find(|network| pool.is_none_or(|pool| network.name == pool || network.id == pool));
        if let Some(network) = found {
            return Ok(network.id.clone());
        }
        let message = pool.map_or_else(
            || "the cloud has no external network to take a floating IP from".to_owned(),
            |pool| format!("the cloud has no external network `{pool}`"),
        );
        let known =
            if names.is_empty() { "there is none".to_owned() } else { format!("there are: {}", names.join(", ")) };
        Err(Fault::give_up("nova.no-floating-ip-pool", message).at("/floating_ip_pool", known))
    }
}
