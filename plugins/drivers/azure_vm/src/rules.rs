//! Rules of public machines (network security groups): made once for each set of ports, and removed with the network.

use std::time::Duration;

use occopus_azure_arm::{Call, is_busy, is_in_use};
use occopus_sdk::{Fault, NodeRequest, Reaction};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::create::EXISTS;
use crate::network::Made;
use crate::section::Section;
use crate::tags::{self, INFRASTRUCTURE_TAG, Tags};
use crate::{Azure, NETWORK, names};

/// Type of network security groups.
pub(crate) const RULES: &str = "Microsoft.Network/networkSecurityGroups";

/// Looks at rules that are being made or deleted, and the pause between two.
const MAX_CHANGING_LOOKS: usize = 20;
const CHANGING_PAUSE: Duration = Duration::from_millis(500);

/// A network security group.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Rules {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) tags: Option<Tags>,
    #[serde(default)]
    properties: RulesProperties,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RulesProperties {
    #[serde(default)]
    network_interfaces: Vec<Value>,
    #[serde(default)]
    provisioning_state: Option<String>,
}

impl Rules {
    /// Returns true if no card has these rules, and they are not being deleted.
    pub(crate) fn is_unused(&self) -> bool {
        self.properties.network_interfaces.is_empty() && !self.properties.is_in_state("deleting")
    }
}

impl RulesProperties {
    fn is_in_state(&self, state: &str) -> bool {
        self.provisioning_state.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(state))
    }

    fn is_changing(&self) -> bool {
        self.is_in_state("deleting") || self.is_in_state("updating")
    }
}

/// Returns the rules that let in these TCP ports, and ICMP, by which a health check pings a machine.
fn rules(ports: &[u16]) -> Value {
    let rule = |name: &str, priority: u16, protocol: &str, ports: Value| {
        let mut properties = json!({
            "protocol": protocol, "sourcePortRange": "*", "sourceAddressPrefix": "*", "destinationAddressPrefix": "*",
            "access": "Allow", "priority": priority, "direction": "Inbound",
        });
        let key = if ports.is_array() { "destinationPortRanges" } else { "destinationPortRange" };
        properties[key] = ports;
        json!({"name": name, "properties": properties})
    };
    let mut all = vec![rule("ping", 100, "Icmp", json!("*"))];
    if !ports.is_empty() {
        let listed: Vec<String> = ports.iter().map(u16::to_string).collect();
        all.push(rule("ports", 110, "Tcp", json!(listed)));
    }
    Value::from(all)
}

impl Azure<'_> {
    /// Returns the id of the rules of a public machine, which are made if they do not exist; none for one without a public
    /// address.
    pub(crate) fn rules(&self, request: &NodeRequest<Section>, made: &mut Made) -> Result<Option<String>, Fault> {
        if !self.section.wants_public_address() {
            return Ok(None);
        }
        let ports = self.section.public_ports();
        let name = names::rules(&request.infrastructure_id, &self.section.place(), &ports);
        let path = self.arm.in_group(self.section.group(), RULES, &name);
        let make = || {
            if self.has_own_rules(&path, &request.infrastructure_id)? {
                return Ok(path.clone());
            }
            let body = json!({
                "location": self.section.place(),
                "tags": tags::of_shared(request),
                "properties": {"securityRules": rules(&ports)},
            });
            let call = Call::put(&path, NETWORK, body).header("if-none-match", "*");
            let answer = match self.arm.send(&call) {
                Err(fault) if fault.code == "azure.ResourceGroupNotFound" => {
                    self.make_group(&request.infrastructure_id)?;
                    self.arm.send(&call)?
                }
                // Another call made them a moment ago.
                Err(fault) if EXISTS.contains(&fault.code.as_str()) => {
                    self.has_own_rules(&path, &request.infrastructure_id)?;
                    return Ok(path.clone());
                }
                answer => answer?,
            };
            made.any |= answer.status == 201;
            self.await_made(&path, &answer).map(|()| path.clone())
        };
        self.known(&name, make).map(Some)
    }

    /// Returns true if the rules are there already. They stay as they are: the user may have narrowed them.
    fn has_own_rules(&self, path: &str, infrastructure: &str) -> Result<bool, Fault> {
        for _ in 0..MAX_CHANGING_LOOKS {
            let Some(found) = self.arm.read_if_there::<Rules>(&Call::get(path, NETWORK))? else { return Ok(false) };
            let owner = found.tags.as_ref().and_then(|tags| tags::get(tags, INFRASTRUCTURE_TAG));
            if owner.is_some_and(|owner| owner != infrastructure) {
                let message = format!("the network security group {} exists, and is another's", found.name);
                return Err(Fault::conflict("azure.other-rules", message));
            }
            if !found.properties.is_changing() {
                return Ok(true);
            }
            if self.arm.call().cancelled() {
                break;
            }
            self.arm.call().wait(CHANGING_PAUSE);
        }
        Err(Fault::retry("azure.network-busy", "Azure is still changing the infrastructure's network security group"))
    }

    /// Lists the rules of an infrastructure; those of all if there is no name.
    pub(crate) fn list_rules(&self, group: &str, infrastructure: Option<&str>) -> Result<Vec<Rules>, Fault> {
        let mut found: Vec<Rules> = self.list_if_group_exists(&self.arm.in_group(group, RULES, ""), NETWORK)?;
        found.retain(|rules| {
            let owner = rules.tags.as_ref().and_then(|tags| tags::get(tags, INFRASTRUCTURE_TAG));
            owner.is_some() && infrastructure.is_none_or(|id| owner == Some(id))
        });
        Ok(found)
    }

    /// Removes the rules of an infrastructure that no machine has any more.
    pub(crate) fn remove_rules(&self, group: &str, infrastructure: &str) -> Result<(), Fault> {
        for rules in self.list_rules(group, Some(infrastructure))?.iter().filter(|rules| rules.is_unused()) {
            match self.remove_and_wait(&self.arm.in_group(group, RULES, &rules.name)) {
                Ok(()) => {}
                // A machine that is being made has them.
                Err(fault) if is_in_use(&fault) || is_busy(&fault) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Lists all of a type; nothing if the group does not exist.
    pub(crate) fn list_if_group_exists<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        version: &str,
    ) -> Result<Vec<T>, Fault> {
        match self.arm.list(&Call::get(path, version)) {
            Err(fault) if fault.reaction == Reaction::NotFound && fault.code == "azure.ResourceGroupNotFound" => {
                Ok(Vec::new())
            }
            listed => listed,
        }
    }
}
