//! Parts of machines that stand alone: a disk, a card or an address whose machine does not exist. Azure removes them with
//! the machine; they are left when it could not, or when somebody removed the machine without them.

use std::time::Duration;

use occopus_azure_arm::{Call, is_in_use};
use occopus_sdk::{Fault, log};
use serde::Deserialize;
use serde_json::Value;

use crate::handle::Reference;
use crate::snapshot::now;
use crate::{Azure, DISKS, NETWORK, names};

/// Pause before a part is deleted again that Azure keeps for its machine.
const RESERVED_PAUSE: Duration = Duration::from_secs(2);
/// Pause before it is looked whether more stands alone.
const NEXT_LOOK_PAUSE: Duration = Duration::from_millis(300);
/// Time that is left for the answer to the host.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

/// Milliseconds between the beginnings of two lists.
const MIN_INTERVAL: u64 = 1000;
/// Type of public addresses.
const ADDRESSES: &str = "Microsoft.Network/publicIPAddresses";
/// Types of parts, each with the version of its interface, in the order in which they can be deleted.
pub(crate) const PARTS: [(&str, &str); 3] =
    [("Microsoft.Network/networkInterfaces", NETWORK), (ADDRESSES, NETWORK), ("Microsoft.Compute/disks", DISKS)];

/// A disk, a card or an address in a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Part {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) location: String,
    /// Machine of a disk.
    #[serde(default)]
    managed_by: Option<String>,
    #[serde(default)]
    properties: PartProperties,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartProperties {
    #[serde(default)]
    provisioning_state: Option<String>,
    /// Machine of a card.
    #[serde(default)]
    virtual_machine: Option<Value>,
    /// Card of an address.
    #[serde(default)]
    ip_configuration: Option<Value>,
}

impl Part {
    /// Returns the infrastructure and the instance of a part of ours that stands alone.
    pub(crate) fn left_of(&self) -> Option<(String, String)> {
        let PartProperties { provisioning_state, virtual_machine, ip_configuration } = &self.properties;
        let is_going = provisioning_state.as_deref().is_some_and(|state| state.eq_ignore_ascii_case("deleting"));
        let is_attached = self.managed_by.is_some() || virtual_machine.is_some() || ip_configuration.is_some();
        if is_going || is_attached { None } else { names::owner_of_part(&self.name) }
    }
}

impl Azure<'_> {
    /// Removes the parts of a machine that does not exist, and waits while Azure keeps one for it, which it does for minutes
    /// after one that failed.
    ///
    /// # Errors
    /// `retry` if Azure keeps one beyond the time of this call.
    pub(crate) fn remove_parts(&self, machine: &Reference) -> Result<(), Fault> {
        loop {
            let call = self.arm.call();
            let may_wait = !call.cancelled() && call.remaining() > ANSWER_MARGIN + RESERVED_PAUSE;
            match self.remove_parts_once(machine) {
                Err(fault) if is_in_use(&fault) && may_wait => {
                    call.progress("waiting until Azure lets go of the parts of the machine", None);
                    call.wait(RESERVED_PAUSE);
                }
                Err(fault) => return Err(fault),
                Ok(0) => return Ok(()),
                // An address stands alone when its card is gone.
                Ok(_) if may_wait => call.wait(NEXT_LOOK_PAUSE),
                Ok(_) => return Err(Fault::retry("azure.parts", "Azure is still deleting parts of the machine")),
            }
        }
    }

    /// Removes the parts of a machine that does not exist, as far as Azure lets go of them. Returns their number.
    pub(crate) fn remove_parts_once(&self, machine: &Reference) -> Result<usize, Fault> {
        let Some(instance) = names::instance_of(&machine.name) else { return Ok(0) };
        let is_its = |(_, name): &(usize, String)| {
            names::owner_of_part(name).is_some_and(|(_, own)| own.eq_ignore_ascii_case(instance))
        };
        let left: Vec<(usize, String)> = self.parts_left(&machine.group)?.into_iter().filter(is_its).collect();
        let mut kept = None;
        for (number, name) in &left {
            let Some((kind, version)) = PARTS.get(*number) else { continue };
            log::warn(format!("the machine {} is gone, and left {name}: it is deleted", machine.name));
            let path = self.arm.in_group(&machine.group, kind, name);
            match self.arm.remove(&Call::delete(&path, version)) {
                // The disk goes all the same.
                Err(fault) if is_in_use(&fault) => {
                    kept = Some(fault.detail(format!("{name} is to be deleted once Azure lets go of it")));
                }
                removed => drop(removed?),
            }
        }
        kept.map_or(Ok(left.len()), Err)
    }

    /// Returns the parts of ours in a group that stand alone at this moment: their types, as numbers in [`PARTS`], and names.
    fn parts_left(&self, group: &str) -> Result<Vec<(usize, String)>, Fault> {
        let with_addresses = self.section.wants_public_address();
        let name = format!("parts {with_addresses} {}", group.to_ascii_lowercase());
        self.shared_list(&name, now(), MIN_INTERVAL, || {
            let mut left = Vec::new();
            for (number, (kind, version)) in PARTS.into_iter().enumerate() {
                if kind == ADDRESSES && !with_addresses {
                    continue;
                }
                let parts: Vec<Part> = self.list_if_group_exists(&self.arm.in_group(group, kind, ""), version)?;
                let alone = parts.into_iter().filter(|part| part.left_of().is_some());
                left.extend(alone.map(|part| (number, part.name)));
            }
            Ok(left)
        })
    }
}
