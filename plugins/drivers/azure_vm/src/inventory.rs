//! Inventory: all machines of ours in the group, and all that stands alone of what the driver makes.

use std::collections::BTreeSet;

use occopus_sdk::{Fault, Observed, Owned, Page, Phase, Reaction};
use serde::Deserialize;

use crate::Azure;
use crate::handle::Reference;
use crate::names;
use crate::network::NETWORKS;
use crate::observe::observed;
use crate::parts::{PARTS, Part};
use crate::tags::{self, INFRASTRUCTURE_TAG, INSTANCE_TAG, Tags};

/// Cursor of the page with what stands alone.
const LEFT: &str = "left";
/// Beginning of the cursor of a page of machines, before the path and the query.
const MACHINES_AT: &str = "machines ";

/// A network in a list.
#[derive(Debug, Deserialize)]
struct Network {
    #[serde(default)]
    name: String,
    #[serde(default)]
    tags: Option<Tags>,
    #[serde(default)]
    location: String,
    properties: NetworkProperties,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NetworkProperties {
    #[serde(default)]
    provisioning_state: Option<String>,
    #[serde(default)]
    subnets: Vec<Subnet>,
}

#[derive(Debug, Deserialize)]
struct Subnet {
    #[serde(default)]
    properties: SubnetProperties,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubnetProperties {
    #[serde(default)]
    ip_configurations: Vec<serde_json::Value>,
    #[serde(default)]
    service_association_links: Vec<serde_json::Value>,
}

impl Network {
    fn is_unused(&self) -> bool {
        let is_going =
            self.properties.provisioning_state.as_deref().is_some_and(|state| !state.eq_ignore_ascii_case("succeeded"));
        let is_free = |subnet: &Subnet| {
            subnet.properties.ip_configurations.is_empty() && subnet.properties.service_association_links.is_empty()
        };
        !is_going && self.properties.subnets.iter().all(is_free)
    }

    /// Returns true if it was made for machines. Those for container groups have the same tags, and names of their own.
    fn is_for_machines(&self) -> bool {
        let infrastructure = self.tags.as_ref().and_then(|tags| tags::get(tags, INFRASTRUCTURE_TAG));
        infrastructure.is_some_and(|id| self.name.eq_ignore_ascii_case(&names::network(id, &place(&self.location))))
    }
}

impl Azure<'_> {
    /// Lists a page.
    pub(crate) fn list_owned(&self, cursor: Option<&str>) -> Result<Page, Fault> {
        if cursor == Some(LEFT) {
            return Ok(Page { machines: self.list_left()?, cursor: None });
        }
        let link = cursor.and_then(|cursor| cursor.strip_prefix(MACHINES_AT)).filter(|link| link.starts_with('/'));
        let page = match self.page_of_machines(link) {
            // The service itself says that there is nothing.
            Err(fault) if fault.reaction == Reaction::NotFound && fault.code == "azure.ResourceGroupNotFound" => {
                return Ok(Page::default());
            }
            page => page?,
        };
        let next = page.next.map_or_else(|| LEFT.to_owned(), |next| format!("{MACHINES_AT}{next}"));
        let alive = page.items.iter().filter(|machine| !machine.is_being_deleted());
        let machines = alive.filter_map(|machine| {
            let handle = machine.reference(self.arm.subscription(), self.section).handle();
            Some(Owned {
                instance_id: machine.instance()?.to_owned(),
                infrastructure_id: machine.infrastructure()?,
                observed: observed(machine, handle),
            })
        });
        Ok(Page { machines: machines.collect(), cursor: Some(next) })
    }

    /// Lists what stands alone: parts without their machine, and networks and rules without any.
    fn list_left(&self) -> Result<Vec<Owned>, Fault> {
        let group = self.section.group();
        let mut found = Vec::new();
        for (kind, version) in PARTS {
            let parts: Vec<Part> = self.list_if_group_exists(&self.arm.in_group(group, kind, ""), version)?;
            for part in &parts {
                if let Some((infrastructure, instance)) = part.left_of() {
                    let what = format!("{kind} {} stands alone", part.name);
                    found.push(self.left(&infrastructure, &instance, &part.location, what));
                }
            }
        }
        let networks: Vec<Network> =
            self.list_if_group_exists(&self.arm.in_group(group, NETWORKS, ""), crate::NETWORK)?;
        for network in networks.iter().filter(|network| network.is_for_machines() && network.is_unused()) {
            found.extend(self.left_shared(network.tags.as_ref(), &network.location, "an empty network"));
        }
        for rules in self.list_rules(group, None)?.iter().filter(|rules| rules.is_unused()) {
            found.extend(self.left_shared(rules.tags.as_ref(), "", "a network security group that nothing uses"));
        }
        let mut seen = BTreeSet::new();
        found.retain(|owned| seen.insert(owned.instance_id.clone()));
        Ok(found)
    }

    fn left_shared(&self, tags: Option<&Tags>, location: &str, what: &str) -> Option<Owned> {
        let tag = |name: &str| tags.and_then(|tags| tags::get(tags, name));
        Some(self.left(tag(INFRASTRUCTURE_TAG)?, tag(INSTANCE_TAG)?, location, what.to_owned()))
    }

    /// Returns what is left of an instance, by the handle of its machine: `destroy` removes all of it.
    fn left(&self, infrastructure: &str, instance: &str, location: &str, what: String) -> Owned {
        let place = place(location);
        let reference = Reference {
            name: names::machine(instance),
            subscription: self.arm.subscription().to_owned(),
            group: self.section.group().to_owned(),
            location: if place.is_empty() { self.section.place() } else { place },
            infrastructure: infrastructure.to_owned(),
        };
        Owned {
            instance_id: instance.to_owned(),
            infrastructure_id: infrastructure.to_owned(),
            observed: Observed::new(reference.handle(), Phase::Failed).because(what),
        }
    }
}

/// Returns a location as it stands in names: `West Europe` is `westeurope`.
fn place(location: &str) -> String {
    location.chars().filter(|letter| !letter.is_whitespace()).collect::<String>().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn networks_of_container_groups_are_none_of_machines() {
        let is_for_machines = |name: &str| {
            let tags = json!({INFRASTRUCTURE_TAG: "i-1", INSTANCE_TAG: "x"});
            let network = json!({"name": name, "tags": tags, "location": "West Europe", "properties": {}});
            serde_json::from_value::<Network>(network).unwrap().is_for_machines()
        };
        assert!(is_for_machines("occopus-i-1-westeurope") && is_for_machines("Occopus-I-1-WestEurope"));
        for other in ["occopus-aci-i-1-westeurope", "occopus-i-1-northeurope", "mine"] {
            assert!(!is_for_machines(other), "{other}");
        }
    }
}
