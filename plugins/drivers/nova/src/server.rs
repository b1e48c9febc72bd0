//! Servers as Nova gives them (<https://docs.openstack.org/api-ref/compute/#show-server-details>).

use std::collections::BTreeMap;

use occopus_sdk::{Address, Observed, Owned, Phase};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::handle::{Reference, Tenancy};

/// Key with the instance's id. Set by the host on every machine.
pub(crate) const INSTANCE_KEY: &str = "occopus.instance";
const INFRASTRUCTURE_KEY: &str = "occopus.infrastructure";

/// A server as Nova shows it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Server {
    #[serde(deserialize_with = "id")]
    pub(crate) id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    addresses: BTreeMap<String, Vec<NetworkAddress>>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    created: String,
    #[serde(default)]
    fault: Option<ServerFault>,
    /// Image: an object, or an empty text if the server boots from a volume.
    #[serde(default)]
    image: Value,
    #[serde(default)]
    flavor: Value,
    #[serde(default, rename = "OS-EXT-STS:task_state")]
    task: Option<String>,
    #[serde(default, rename = "OS-EXT-AZ:availability_zone")]
    zone: Option<String>,
}

/// Reads the id of a server, which stands in paths and in handles: not empty, not long, and without spaces.
pub(crate) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    const LONGEST: usize = 255;
    let id = String::deserialize(deserializer)?;
    let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let fits = is_plain && !id.starts_with('.') && (1..=LONGEST).contains(&id.len());
    if fits { Ok(id) } else { Err(D::Error::custom("a server has no id that can be used")) }
}

#[derive(Debug, Clone, Deserialize)]
struct NetworkAddress {
    addr: String,
    #[serde(default, rename = "OS-EXT-IPS:type")]
    kind: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct ServerFault {
    #[serde(default)]
    message: String,
}

impl NetworkAddress {
    fn is_floating(&self) -> bool {
        self.kind.as_deref() == Some("floating")
    }
}

impl Server {
    /// Returns true if it carries this instance id.
    pub(crate) fn carries(&self, instance_id: &str) -> bool {
        self.instance_id() == Some(instance_id)
    }

    /// Returns the instance id that it carries.
    pub(crate) fn instance_id(&self) -> Option<&str> {
        self.metadata.get(INSTANCE_KEY).map(String::as_str)
    }

    /// Returns what its absence can later be judged by.
    pub(crate) fn reference(&self, tenancy: Tenancy) -> Reference {
        Reference::new(&self.id, tenancy, self.instance_id(), &self.name)
    }

    /// Returns the time of its creation, as ISO 8601 in UTC, which sorts by time.
    pub(crate) fn created(&self) -> &str {
        &self.created
    }

    /// Returns true unless it is deleted or about to be.
    pub(crate) fn is_alive(&self) -> bool {
        self.phase() != Phase::Gone
    }

    pub(crate) fn has_floating_ip(&self) -> bool {
        self.addresses.values().flatten().any(NetworkAddress::is_floating)
    }

    pub(crate) fn owned(&self, tenancy: &Tenancy) -> Option<Owned> {
        Some(Owned {
            instance_id: self.instance_id()?.to_owned(),
            infrastructure_id: self.metadata.get(INFRASTRUCTURE_KEY).cloned().unwrap_or_default(),
            observed: self.observed(tenancy),
        })
    }

    pub(crate) fn observed(&self, tenancy: &Tenancy) -> Observed {
        let phase = self.phase();
        let id = |value: &Value| value.get("id").and_then(Value::as_str).map(str::to_owned);
        let attributes = [
            ("instance_id", Some(self.id.clone())),
            ("image_id", id(&self.image)),
            ("flavor", id(&self.flavor)),
            ("availability_zone", self.zone.clone().filter(|zone| !zone.is_empty())),
        ];
        let message = match (phase, &self.fault) {
            (Phase::Failed, Some(fault)) if !fault.message.is_empty() => Some(fault.message.clone()),
            (Phase::Failed | Phase::Stopped, _) => Some(format!("the server is {}", self.status)),
            (Phase::Unknown, _) => Some(format!("the cloud calls its state `{}`", self.status)),
            _ => None,
        };
        Observed {
            handle: self.reference(tenancy.clone()).handle(),
            phase,
            addresses: self.addresses(),
            attributes: attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
            message,
        }
    }

    fn phase(&self) -> Phase {
        if self.task.as_deref() == Some("deleting") {
            // There is no way back from here.
            return Phase::Gone;
        }
        match self.status.as_str() {
            "BUILD" | "REBUILD" | "RESIZE" | "VERIFY_RESIZE" | "REVERT_RESIZE" | "MIGRATING" | "REBOOT"
            | "HARD_REBOOT" | "PASSWORD" => Phase::Pending,
            "ACTIVE" => Phase::Running,
            "SHUTOFF" | "STOPPED" | "PAUSED" | "SUSPENDED" | "SHELVED" | "SHELVED_OFFLOADED" | "RESCUE" => {
                Phase::Stopped
            }
            "ERROR" => Phase::Failed,
            "DELETED" | "SOFT_DELETED" => Phase::Gone,
            _ => Phase::Unknown,
        }
    }

    /// Returns its addresses, floating ones first: others can reach those.
    fn addresses(&self) -> Vec<Address> {
        let all = || self.addresses.values().flatten();
        let floating = all().filter(|address| address.is_floating()).map(|address| (address, false));
        let fixed = all().filter(|address| !address.is_floating()).map(|address| (address, true));
        floating.chain(fixed).map(|(address, internal)| Address { value: address.addr.clone(), internal }).collect()
    }
}
