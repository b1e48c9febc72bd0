//! Parts of machines that stand alone: a disk, a card or an address whose machine does not exist. Azure removes them with
//! the machine; they are left when it could not, or when somebody removed the machine without them.

use occopus_azure_arm::{Call, is_in_use};
use occopus_sdk::{Fault, log};
use serde::Deserialize;
use serde_json::Value;

use crate::handle::Reference;
use crate::{Azure, DISKS, NETWORK, names};

/// Types of parts, each with the version of its interface, in the order in which they can be deleted.
pub(crate) const PARTS: [(&str, &str); 3] = [
    ("Microsoft.Network/networkInterfaces", NETWORK),
    ("Microsoft.Network/publicIPAddresses", NETWORK),
    ("Microsoft.Compute/disks", DISKS),
];

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
    /// Removes the parts of a machine that does not exist.
    ///
    /// # Errors
    /// `retry` while Azure keeps one for the machine, which it does for minutes after one that failed.
    pub(crate) fn remove_parts(&self, machine: &Reference) -> Result<(), Fault> {
        let Some(instance) = names::instance_of(&machine.name) else { return Ok(()) };
        for (kind, version) in PARTS {
            let parts: Vec<Part> = self.list_if_group_exists(&self.arm.in_group(&machine.group, kind, ""), version)?;
            let left =
                parts.iter().filter(|part| part.left_of().is_some_and(|(_, own)| own.eq_ignore_ascii_case(instance)));
            for part in left {
                log::warn(format!("the machine {} is gone, and left {}: it is deleted", machine.name, part.name));
                let path = self.arm.in_group(&machine.group, kind, &part.name);
                self.arm.remove(&Call::delete(&path, version)).map_err(|fault| match is_in_use(&fault) {
                    true => fault.detail(format!("{} is to be deleted once Azure lets go of it", part.name)),
                    false => fault,
                })?;
            }
        }
        Ok(())
    }
}
