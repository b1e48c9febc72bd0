//! Handles: the group with its subscription and resource group, and the network that goes with the last one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use occopus_azure_arm::ResourceId;
use occopus_sdk::Handle;
use occopus_sdk::http::encoded;

use crate::group::{Group, INFRASTRUCTURE_TAG, MADE_TAG};
use crate::network;

/// Version of the format of [`Reference`].
pub(crate) const HANDLE_VERSION: u32 = 1;
pub(crate) const GROUP_TYPE: &str = "Microsoft.ContainerInstance/containerGroups";
/// Time from the request on within which Azure may not show a group yet.
const VISIBILITY_DELAY: Duration = Duration::from_secs(10);

/// Content of a handle: `NAME subscription=ID group=NAME infrastructure=ID made=SECONDS network=VNET/SUBNET`, all values
/// percent-encoded. The network is there if it was made for the infrastructure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) subscription: String,
    /// Resource group.
    pub(crate) group: String,
    /// Infrastructure that it belongs to.
    pub(crate) infrastructure: String,
    /// Time of the request that made it, in seconds since 1970, from its tag.
    pub(crate) made: Option<u64>,
    /// Virtual network and subnet, of which at least the subnet was made by Occopus.
    pub(crate) network: Option<(String, String)>,
}

impl Reference {
    /// Returns the reference to a group that Azure shows, in a resource group as the user writes it.
    pub(crate) fn to(group: &Group, subscription: &str, resource_group: &str) -> Self {
        Self {
            name: group.name.to_ascii_lowercase(),
            subscription: subscription.to_owned(),
            group: resource_group.to_owned(),
            infrastructure: group.tag(INFRASTRUCTURE_TAG).unwrap_or_default().to_owned(),
            made: group.tag(MADE_TAG).and_then(|made| made.parse().ok()),
            network: group.subnet_id().and_then(network::own_names),
        }
    }

    /// Reads handles of all versions.
    pub(crate) fn of(handle: &Handle) -> Self {
        let mut parts = handle.data.split_ascii_whitespace();
        let mut reference = Self { name: parts.next().map(decoded).unwrap_or_default(), ..Self::default() };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name {
                "subscription" => reference.subscription = decoded(value),
                "group" => reference.group = decoded(value),
                "infrastructure" => reference.infrastructure = decoded(value),
                "made" => reference.made = value.parse().ok(),
                "network" => {
                    reference.network = value.split_once('/').map(|(vnet, subnet)| (decoded(vnet), decoded(subnet)));
                }
                _ => {}
            }
        }
        reference
    }

    pub(crate) fn handle(&self) -> Handle {
        let Self { name, subscription, group, infrastructure, made, network } = self;
        let mut data = format!("{} subscription={} group={}", encoded(name), encoded(subscription), encoded(group));
        if !infrastructure.is_empty() {
            data.push_str(&format!(" infrastructure={}", encoded(infrastructure)));
        }
        if let Some(made) = made {
            data.push_str(&format!(" made={made}"));
        }
        if let Some((vnet, subnet)) = network {
            data.push_str(&format!(" network={}/{}", encoded(vnet), encoded(subnet)));
        }
        Handle::new(HANDLE_VERSION, data)
    }

    /// Returns the path of the resource group.
    pub(crate) fn group_path(&self) -> String {
        format!("/subscriptions/{}/resourceGroups/{}", encoded(&self.subscription), encoded(&self.group))
    }

    /// Returns the path of the list of groups beside this one.
    pub(crate) fn list_path(&self) -> String {
        format!("{}/providers/{GROUP_TYPE}", self.group_path())
    }

    /// Returns the path of the group.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.list_path(), encoded(&self.name))
    }

    /// Returns the time for which Azure may not show the group yet; zero for one that is old enough.
    pub(crate) fn time_to_visibility(&self) -> Duration {
        // A clock that was set back makes nothing young.
        let age = self.made.and_then(|made| now().checked_sub(made)).map_or(VISIBILITY_DELAY, Duration::from_secs);
        VISIBILITY_DELAY.saturating_sub(age)
    }

    /// Returns true if an id is that of this group.
    pub(crate) fn is_id(&self, id: &str) -> bool {
        ResourceId::parse(id).is_some_and(|id| {
            id.is_a(GROUP_TYPE)
                && id.subscription.eq_ignore_ascii_case(&self.subscription)
                && id.group.eq_ignore_ascii_case(&self.group)
                && id.name.eq_ignore_ascii_case(&self.name)
        })
    }
}

/// Returns the time, in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Reverses `encoded`. What is not encoded stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_read_as_they_were_written() {
        let mut reference = Reference {
            name: "occopus-1".to_owned(),
            subscription: "s-1".to_owned(),
            group: "my group (ä)".to_owned(),
            ..Reference::default()
        };
        let handle = reference.handle();
        assert_eq!(handle.data, "occopus-1 subscription=s-1 group=my%20group%20%28%C3%A4%29");
        assert_eq!(Reference::of(&handle), reference);
        reference.network = Some(("v".to_owned(), "s".to_owned()));
        reference.made = Some(now());
        reference.infrastructure = "my infra".to_owned();
        assert_eq!(Reference::of(&reference.handle()), reference);
        assert!(!reference.time_to_visibility().is_zero());
        reference.made = Some(now() - VISIBILITY_DELAY.as_secs());
        assert!(reference.time_to_visibility().is_zero());
        assert!(reference.is_id(&reference.path().to_uppercase().replace("MY%20GROUP%20%28%C3%A4%29", "MY GROUP (ä)")));
        assert!(!reference.is_id("/subscriptions/s-1/resourceGroups/other/providers/x/y/occopus-1"));
    }

    #[test]
    fn what_is_not_a_handle_breaks_nothing() {
        for data in ["", "=", "a =", "a subscription", "% group=%4 network=x", "a network=/"] {
            let reference = Reference::of(&Handle::new(9, data));
            assert!(!reference.path().contains(' '), "{data}");
        }
    }
}
