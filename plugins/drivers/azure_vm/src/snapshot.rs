//! One list of all machines for the calls of a moment, as far as creation and removal are concerned (`shared_list`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use occopus_azure_arm::{Call, ListPage, ResourceId};
use occopus_sdk::{Fault, Reaction};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::{Azure, COMPUTE, names};

/// Type of machines.
pub(crate) const MACHINES: &str = "Microsoft.Compute/virtualMachines";
/// Milliseconds between the beginnings of two lists.
const MIN_INTERVAL: u64 = 500;
/// Time for which it is remembered that these credentials do not see the whole subscription.
const NARROW_FOR: Duration = Duration::from_secs(300);

/// State of a machine, as far as creation and removal are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    #[serde(rename = "c")]
    Creating,
    #[serde(rename = "p")]
    Placed,
    #[serde(rename = "f")]
    Failed,
    #[serde(rename = "d")]
    Deleting,
}

/// Our machines of a moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Networks: group and name, in lower case.
    networks: Vec<String>,
    /// Instance, network (a number in `networks`), stage.
    machines: Vec<(String, Option<usize>, Stage)>,
}

impl Snapshot {
    fn of(machines: &[Machine]) -> Self {
        let mut snapshot = Self::default();
        for machine in machines {
            let Some(instance) = names::instance_of(machine.own_name()) else { continue };
            let network = network_of(machine).map(|network| snapshot.number_of(network));
            let stage = match machine.provisioning().as_str() {
                "deleting" => Stage::Deleting,
                "failed" if machine.power().is_none_or(|power| power != "running") => Stage::Failed,
                _ if machine.is_placed() => Stage::Placed,
                _ => Stage::Creating,
            };
            snapshot.machines.push((instance.to_ascii_lowercase(), network, stage));
        }
        snapshot
    }

    fn number_of(&mut self, network: String) -> usize {
        let known = self.networks.iter().position(|known| *known == network);
        known.unwrap_or_else(|| {
            self.networks.push(network);
            self.networks.len() - 1
        })
    }

    /// Returns the stage of the machine of this name; none if it is not there.
    pub(crate) fn stage(&self, name: &str) -> Option<Stage> {
        let instance = names::instance_of(name)?.to_ascii_lowercase();
        self.machines.iter().find(|(known, ..)| *known == instance).map(|(.., stage)| *stage)
    }

    /// Returns true if another machine is in this network. Of one whose network Azure does not show here, nothing follows: the
    /// network itself says who is in it.
    pub(crate) fn has_others(&self, network: &str, name: &str) -> bool {
        let instance = names::instance_of(name).unwrap_or_default().to_ascii_lowercase();
        let number = self.networks.iter().position(|known| known == network);
        self.machines.iter().any(|(known, own, _)| *known != instance && own.is_some() && *own == number)
    }

    /// Returns true if this instance has a machine that is not being deleted.
    pub(crate) fn is_alive(&self, instance: &str) -> bool {
        self.machines.iter().any(|(known, _, stage)| known.eq_ignore_ascii_case(instance) && *stage != Stage::Deleting)
    }
}

/// Returns the group and the name of the network of a machine, if the infrastructure is known.
fn network_of(machine: &Machine) -> Option<String> {
    let group = ResourceId::parse(&machine.id)?.group;
    let place: String = machine.location.chars().filter(|letter| !letter.is_whitespace()).collect();
    Some(network_key(group, &names::network(&machine.infrastructure()?, &place)))
}

/// Returns the text by which networks are told apart.
pub(crate) fn network_key(group: &str, network: &str) -> String {
    format!("{group}/{network}").to_ascii_lowercase()
}

/// Returns the time in milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Azure<'_> {
    /// Returns our machines at a moment that is not before this one: those of the subscription, or of the group where these
    /// credentials see no other.
    pub(crate) fn snapshot(&self, group: &str, not_before: u64) -> Result<Snapshot, Fault> {
        self.shared_list(&snapshot_name(group), not_before, MIN_INTERVAL, || {
            self.machines_with_states(group).map(|(machines, _)| Snapshot::of(&machines))
        })
    }

    /// Lists all machines of the subscription with their states, or those of the group where these credentials see no other.
    /// The second value is true for the whole subscription.
    pub(crate) fn list_with_states(&self, group: &str) -> Result<(Vec<Machine>, bool), Fault> {
        let at = now();
        let listed = self.machines_with_states(group)?;
        self.keep_list(&snapshot_name(group), at, &Snapshot::of(&listed.0));
        Ok(listed)
    }

    fn machines_with_states(&self, group: &str) -> Result<(Vec<Machine>, bool), Fault> {
        let key = format!("azure_vm narrow\n{}\n{}", self.arm.cloud().management, self.arm.subscription());
        let cache = self.arm.cache();
        if cache.get(&key).is_none_or(|mark| mark.is_empty()) {
            let all = Call::get(&self.arm.in_subscription(MACHINES), COMPUTE).query("statusOnly", "true");
            match self.arm.list(&all) {
                Err(fault) if fault.reaction == Reaction::Denied => cache.put(&key, b"narrow", NARROW_FOR),
                listed => return listed.map(|machines| (machines, true)),
            }
        }
        let list = Call::get(&self.arm.in_group(group, MACHINES, ""), COMPUTE).query("$expand", "instanceView");
        match self.arm.list(&list) {
            Err(fault) if fault.reaction == Reaction::NotFound && fault.code == "azure.ResourceGroupNotFound" => {
                Ok((Vec::new(), false))
            }
            listed => listed.map(|machines| (machines, false)),
        }
    }

    /// Lists a page of the machines in the group, without states.
    pub(crate) fn page_of_machines(&self, link: Option<&str>) -> Result<ListPage<Machine>, Fault> {
        let list = Call::get(&self.arm.in_group(self.section.group(), MACHINES, ""), COMPUTE);
        self.arm.page(&link.map_or(list, Call::follow))
    }
}

fn snapshot_name(group: &str) -> String {
    format!("machines {}", group.to_ascii_lowercase())
}
