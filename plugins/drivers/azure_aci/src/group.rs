//! Container groups as Azure shows them
//! (<https://learn.microsoft.com/rest/api/container-instances/container-groups/get>). Lists leave out the instance views.

use std::collections::BTreeMap;

use occopus_sdk::{Address, Observed, Owned};
use serde::Deserialize;

use crate::handle::Reference;
use crate::state;

/// Tags by which Occopus finds its groups. Set by the host on every machine.
pub(crate) const INSTANCE_TAG: &str = "occopus.instance";
pub(crate) const INFRASTRUCTURE_TAG: &str = "occopus.infrastructure";
/// Tag with the time of the request that made it, in seconds since 1970.
pub(crate) const MADE_TAG: &str = "occopus.made";

/// Returns the value of a tag. Names of tags compare without regard to case.
pub(crate) fn tag<'t>(tags: &'t BTreeMap<String, String>, name: &str) -> Option<&'t str> {
    tags.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// A container group.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) location: Option<String>,
    #[serde(default)]
    pub(crate) tags: Option<BTreeMap<String, String>>,
    pub(crate) properties: Properties,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Properties {
    /// State of the last operation on the group.
    #[serde(default)]
    pub(crate) provisioning_state: Option<String>,
    #[serde(default)]
    pub(crate) containers: Vec<Container>,
    #[serde(default)]
    pub(crate) ip_address: Option<IpAddress>,
    #[serde(default)]
    pub(crate) subnet_ids: Option<Vec<SubnetId>>,
    /// State of the group itself; none in lists.
    #[serde(default)]
    pub(crate) instance_view: Option<GroupView>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SubnetId {
    #[serde(default)]
    pub(crate) id: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct IpAddress {
    #[serde(default)]
    ip: Option<String>,
    #[serde(default)]
    fqdn: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct GroupView {
    #[serde(default)]
    pub(crate) state: Option<String>,
    #[serde(default)]
    pub(crate) events: Option<Vec<Event>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Container {
    #[serde(default)]
    pub(crate) properties: ContainerProperties,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerProperties {
    #[serde(default)]
    pub(crate) image: Option<String>,
    #[serde(default)]
    pub(crate) instance_view: Option<ContainerView>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerView {
    #[serde(default)]
    pub(crate) restart_count: Option<u64>,
    #[serde(default)]
    pub(crate) current_state: Option<ContainerState>,
    #[serde(default)]
    pub(crate) previous_state: Option<ContainerState>,
    #[serde(default)]
    pub(crate) events: Option<Vec<Event>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerState {
    /// `Waiting`, `Running` or `Terminated`.
    #[serde(default)]
    pub(crate) state: Option<String>,
    #[serde(default)]
    pub(crate) exit_code: Option<i64>,
    #[serde(default)]
    pub(crate) detail_status: Option<String>,
}

/// An event: of an image, a start, a mount, or of the place for the group.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) message: Option<String>,
    #[serde(default)]
    pub(crate) count: Option<u64>,
    /// Time as ISO 8601 in UTC, which sorts by time.
    #[serde(default)]
    pub(crate) last_timestamp: Option<String>,
}

impl Group {
    /// Returns true if it is being deleted, from which there is no way back.
    pub(crate) fn is_going(&self) -> bool {
        self.properties.provisioning_state.as_deref().is_some_and(|state| state.eq_ignore_ascii_case("deleting"))
    }

    /// Returns the id of the subnet of a private group.
    pub(crate) fn subnet_id(&self) -> Option<&str> {
        self.properties.subnet_ids.as_ref()?.first()?.id.as_deref()
    }

    /// Returns a tag of Occopus.
    pub(crate) fn tag(&self, name: &str) -> Option<&str> {
        tag(self.tags.as_ref()?, name)
    }

    /// Returns true unless it carries the tag of another instance. Its name has the instance's id, too: policies of an
    /// organisation take tags away.
    pub(crate) fn may_belong_to(&self, instance: &str) -> bool {
        self.tag(INSTANCE_TAG).is_none_or(|tag| tag == instance)
    }

    /// Returns the container.
    pub(crate) fn container(&self) -> Option<&ContainerProperties> {
        self.properties.containers.first().map(|container| &container.properties)
    }

    /// Returns what containers say of themselves; none in lists.
    pub(crate) fn container_view(&self) -> Option<&ContainerView> {
        self.container()?.instance_view.as_ref()
    }

    /// Returns the observation, under the handle that is given.
    pub(crate) fn observed(&self, reference: &Reference) -> Observed {
        let judged = state::judge(self);
        // Azure tells the time in the tag, also of a group that another attempt made.
        let reference = &Reference { made: self.tag(MADE_TAG).and_then(|made| made.parse().ok()), ..reference.clone() };
        let address = self.properties.ip_address.as_ref();
        let fqdn = address.and_then(|address| address.fqdn.clone());
        let restarts = self.container_view().and_then(|view| view.restart_count).filter(|count| *count > 0);
        let attributes = [
            ("instance_id", Some(reference.name.clone())),
            ("resource_group", Some(reference.group.clone())),
            ("location", self.location.clone()),
            ("image", self.container().and_then(|container| container.image.clone())),
            ("fqdn", fqdn),
            ("restarts", restarts.map(|count| count.to_string())),
        ];
        Observed {
            handle: reference.handle(),
            phase: judged.phase,
            addresses: address.map(IpAddress::addresses).unwrap_or_default(),
            attributes: attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
            message: judged.message,
        }
    }

    /// Returns the entry of an inventory; none for a group that is not ours.
    pub(crate) fn owned(&self, reference: &Reference) -> Option<Owned> {
        Some(Owned {
            instance_id: self.tag(INSTANCE_TAG)?.to_owned(),
            infrastructure_id: self.tag(INFRASTRUCTURE_TAG).unwrap_or_default().to_owned(),
            observed: self.observed(reference),
        })
    }
}

impl IpAddress {
    /// Returns the DNS name and the address: the name first, which stays the same when the group is restarted.
    fn addresses(&self) -> Vec<Address> {
        let internal = self.kind.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("private"));
        let both = [&self.fqdn, &self.ip].into_iter().flatten().filter(|value| !value.is_empty());
        both.map(|value| Address { value: value.clone(), internal }).collect()
    }
}
