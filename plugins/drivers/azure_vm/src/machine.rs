//! Virtual machines as Azure shows them.

use occopus_azure_arm::ResourceId;
use serde::Deserialize;

use crate::handle::Reference;
use crate::names;
use crate::section::Section;
use crate::tags::{self, INFRASTRUCTURE_TAG, INSTANCE_TAG, Tags};

/// A machine, alone or in a list. Fields may be missing in lists that show states.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Machine {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) location: String,
    #[serde(default)]
    pub(crate) tags: Option<Tags>,
    #[serde(default)]
    pub(crate) zones: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) properties: Properties,
}

/// Properties of a machine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Properties {
    #[serde(default)]
    pub(crate) provisioning_state: Option<String>,
    #[serde(default)]
    pub(crate) vm_id: Option<String>,
    #[serde(default)]
    pub(crate) priority: Option<String>,
    #[serde(default)]
    pub(crate) instance_view: Option<InstanceView>,
    #[serde(default)]
    pub(crate) hardware_profile: Option<HardwareProfile>,
    #[serde(default)]
    pub(crate) storage_profile: Option<StorageProfile>,
}

/// Size of a machine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HardwareProfile {
    #[serde(default)]
    pub(crate) vm_size: Option<String>,
}

/// Disks of a machine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StorageProfile {
    #[serde(default)]
    pub(crate) os_disk: Option<OsDisk>,
}

/// Disk with the system.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct OsDisk {
    #[serde(default)]
    pub(crate) name: Option<String>,
}

/// State of a machine at this moment.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct InstanceView {
    #[serde(default)]
    pub(crate) statuses: Vec<Status>,
}

/// A status: `PowerState/running`, `ProvisioningState/failed/AllocationFailed`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Status {
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: Option<String>,
}

impl Machine {
    /// Returns the name by the id, as lists may leave the name out.
    pub(crate) fn own_name(&self) -> &str {
        if self.name.is_empty() { ResourceId::parse(&self.id).map_or("", |id| id.name) } else { &self.name }
    }

    /// Returns true for this name; Azure's names compare without regard to case.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.own_name().eq_ignore_ascii_case(name)
    }

    fn tag(&self, name: &str) -> Option<&str> {
        tags::get(self.tags.as_ref()?, name)
    }

    /// Returns the instance that it carries as a tag or in its name.
    pub(crate) fn instance(&self) -> Option<&str> {
        self.tag(INSTANCE_TAG).or_else(|| names::instance_of(self.own_name()))
    }

    /// Returns true unless it carries the tag of another instance.
    pub(crate) fn may_belong_to(&self, instance: &str) -> bool {
        self.tag(INSTANCE_TAG).is_none_or(|tag| tag == instance)
    }

    /// Returns the infrastructure that it carries as a tag, or in the name of its disk.
    pub(crate) fn infrastructure(&self) -> Option<String> {
        let disk = || self.properties.storage_profile.as_ref()?.os_disk.as_ref()?.name.as_deref();
        let tag = self.tag(INFRASTRUCTURE_TAG).map(str::to_owned);
        tag.or_else(|| names::owner_of_part(disk()?).map(|(infrastructure, _)| infrastructure))
    }

    /// Returns the reference to it, as the section has it.
    pub(crate) fn reference(&self, subscription: &str, section: &Section) -> Reference {
        let group = ResourceId::parse(&self.id).map_or(section.group(), |id| id.group);
        let location: String = self.location.chars().filter(|letter| !letter.is_whitespace()).collect();
        Reference {
            name: self.own_name().to_ascii_lowercase(),
            subscription: subscription.to_owned(),
            // The user's spelling, which stays the same.
            group: if group.eq_ignore_ascii_case(section.group()) { section.group() } else { group }.to_owned(),
            location: if location.is_empty() { section.place() } else { location.to_ascii_lowercase() },
            infrastructure: self.infrastructure().unwrap_or_default(),
        }
    }
}
