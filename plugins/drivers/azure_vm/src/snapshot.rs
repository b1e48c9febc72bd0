//! One list of all machines for the calls of a moment: those that create and destroy at the same time share it through the
//! host's cache, so that a hundred of them ask Azure no more often than one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use occopus_azure_arm::{Call, ListPage, ResourceId};
use occopus_sdk::Fault;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::{Azure, COMPUTE, names};

/// Type of machines.
pub(crate) const MACHINES: &str = "Microsoft.Compute/virtualMachines";
/// Time for which a list is kept.
const LIFETIME: Duration = Duration::from_secs(60);
/// Time after which a call that lists is taken for dead.
const LISTING_MAX: u64 = 10_000;
const LISTING_POLL: Duration = Duration::from_millis(100);
/// Milliseconds between the beginnings of two lists.
const MIN_INTERVAL: u64 = 500;

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
    /// Time at which the list was begun, in milliseconds since 1970.
    at: u64,
    /// Networks: group and name, in lower case.
    networks: Vec<String>,
    /// Instance, network (a number in `networks`), stage.
    machines: Vec<(String, Option<usize>, Stage)>,
}

impl Snapshot {
    fn of(at: u64, machines: &[Machine]) -> Self {
        let mut snapshot = Self { at, ..Self::default() };
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

    /// Returns true if another machine is in this network, or in one that Azure does not show.
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
    /// Returns our machines at a moment that is not before this one.
    pub(crate) fn snapshot(&self, not_before: u64) -> Result<Snapshot, Fault> {
        let (key, listing) = (self.snapshot_key("list"), self.snapshot_key("listing"));
        let cache = self.arm.cache();
        loop {
            let kept: Option<Snapshot> = cache.get(&key).and_then(|kept| serde_json::from_slice(&kept).ok());
            if let Some(kept) = kept.filter(|kept| kept.at >= not_before) {
                return Ok(kept);
            }
            let last = cache.get(&listing).and_then(|last| serde_json::from_slice::<(u64, bool)>(&last).ok());
            let (begun, is_under_way) = last.unwrap_or_default();
            let age = now().saturating_sub(begun);
            // One that is under way is waited for if it is late enough. Between two there is a pause, for many calls want one.
            let is_awaited = age < MIN_INTERVAL || is_under_way && begun >= not_before && age < LISTING_MAX;
            if !is_awaited || self.arm.call().cancelled() {
                break;
            }
            self.arm.call().wait(LISTING_POLL);
        }
        let mark = |is_under_way: bool, begun: u64| {
            cache.put(&listing, format!("[{begun},{is_under_way}]").as_bytes(), LIFETIME);
        };
        let begun = now();
        mark(true, begun);
        let listed = self.list_with_states();
        mark(false, begun);
        listed.map(|(snapshot, _)| snapshot)
    }

    /// Lists all machines of the subscription with their states.
    pub(crate) fn list_with_states(&self) -> Result<(Snapshot, Vec<Machine>), Fault> {
        let at = now();
        let call = Call::get(&self.arm.in_subscription(MACHINES), COMPUTE).query("statusOnly", "true");
        let machines: Vec<Machine> = self.arm.list(&call)?;
        let snapshot = Snapshot::of(at, &machines);
        if let Ok(kept) = serde_json::to_vec(&snapshot) {
            self.arm.cache().put(&self.snapshot_key("list"), &kept, LIFETIME);
        }
        Ok((snapshot, machines))
    }

    /// Lists a page of the machines in the group, without states.
    pub(crate) fn page_of_machines(&self, link: Option<&str>) -> Result<ListPage<Machine>, Fault> {
        let list = Call::get(&self.arm.in_group(self.section.group(), MACHINES, ""), COMPUTE);
        self.arm.page(&link.map_or(list, Call::follow))
    }

    fn snapshot_key(&self, what: &str) -> String {
        format!("azure_vm {what}\n{}\n{}", self.arm.cloud().management, self.arm.subscription())
    }
}
