//! Instances as the API gives them
//! (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html>).

use jiff::Timestamp;
use occopus_sdk::{Address, Handle, Observed, Owned, Phase};
use roxmltree::Node;

use crate::xml::{child, items, text};

/// Carries the instance's id. Set by the host on every machine.
pub(crate) const INSTANCE: &str = "occopus.instance";
const INFRASTRUCTURE: &str = "occopus.infrastructure";

/// Of the format of [`Reference`].
const HANDLE_VERSION: u32 = 1;
/// A new instance may be missing in lists for a while
/// (<https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>).
const APPEARING_S: i64 = 120;

/// A machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ec2Instance {
    pub(crate) id: String,
    state: String,
    reason: Option<String>,
    public_name: Option<String>,
    public_ip: Option<String>,
    private_ip: Option<String>,
    ipv6: Option<String>,
    attributes: Vec<(String, String)>,
    launched: Option<Timestamp>,
    tags: Vec<(String, String)>,
}

impl Ec2Instance {
    /// An entry of an `instancesSet`.
    pub(crate) fn read(item: Node) -> Option<Self> {
        let owned = |name: &str| text(item, name).map(str::to_owned);
        let within = |outer: &str, name: &str| child(item, outer).and_then(|node| text(node, name)).map(str::to_owned);
        let attribute = |name: &str, value: Option<String>| Some((name.to_owned(), value?));
        let id = owned("instanceId")?;
        Some(Self {
            state: within("instanceState", "name").unwrap_or_default(),
            reason: within("stateReason", "message").or_else(|| owned("reason")),
            public_name: owned("dnsName"),
            public_ip: owned("ipAddress"),
            private_ip: owned("privateIpAddress"),
            ipv6: owned("ipv6Address"),
            attributes: [
                attribute("instance_id", Some(id.clone())),
                attribute("image_id", owned("imageId")),
                attribute("instance_type", owned("instanceType")),
                attribute("availability_zone", within("placement", "availabilityZone")),
                attribute("private_dns_name", owned("privateDnsName")),
                attribute("lifecycle", owned("instanceLifecycle")),
            ]
            .into_iter()
            .flatten()
            .collect(),
            launched: owned("launchTime").and_then(|time| time.parse().ok()),
            tags: items(item, "tagSet")
                .filter_map(|tag| Some((text(tag, "key")?.to_owned(), text(tag, "value").unwrap_or("").to_owned())))
                .collect(),
            id,
        })
    }

    pub(crate) fn tag(&self, name: &str) -> Option<&str> {
        self.tags.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Which of two machines with one id stays: the older one, and all who look agree on it.
    pub(crate) fn age(&self) -> (Option<Timestamp>, &str) {
        (self.launched, &self.id)
    }

    /// Neither terminated nor about to be.
    pub(crate) fn lives(&self) -> bool {
        !matches!(self.phase(), Phase::Gone)
    }

    pub(crate) fn owned(&self) -> Option<Owned> {
        Some(Owned {
            instance_id: self.tag(INSTANCE)?.to_owned(),
            infrastructure_id: self.tag(INFRASTRUCTURE).unwrap_or_default().to_owned(),
            observed: self.observed(),
        })
    }

    pub(crate) fn observed(&self) -> Observed {
        let phase = self.phase();
        Observed {
            handle: Reference { id: self.id.clone(), launched: self.launched.map(Timestamp::as_second) }.handle(),
            phase,
            addresses: self.addresses(),
            attributes: self.attributes.clone(),
            message: self.reason.clone().filter(|_| matches!(phase, Phase::Stopped | Phase::Gone)),
        }
    }

    fn phase(&self) -> Phase {
        match self.state.as_str() {
            "pending" => Phase::Pending,
            "running" => Phase::Running,
            "stopping" | "stopped" => Phase::Stopped,
            // There is no way back from here.
            "shutting-down" | "terminated" => Phase::Gone,
            _ => Phase::Unknown,
        }
    }

    fn addresses(&self) -> Vec<Address> {
        let public = [&self.public_name, &self.public_ip].into_iter().flatten().map(|value| (value, false));
        let private = self.private_ip.iter().map(|value| (value, true));
        let ipv6 = self.ipv6.iter().map(|value| (value, false));
        let mut addresses: Vec<Address> = Vec::new();
        for (value, internal) in public.chain(private).chain(ipv6) {
            if !addresses.iter().any(|known| known.value == *value) {
                addresses.push(Address { value: value.clone(), internal });
            }
        }
        addresses
    }
}

/// What a handle holds: `i-0123@1700000000`, the id and when it was launched.
pub(crate) struct Reference {
    pub(crate) id: String,
    launched: Option<i64>,
}

impl Reference {
    pub(crate) fn of(handle: &Handle) -> Self {
        match handle.data.split_once('@') {
            Some((id, launched)) => Self { id: id.to_owned(), launched: launched.parse().ok() },
            None => Self { id: handle.data.clone(), launched: None },
        }
    }

    fn handle(&self) -> Handle {
        let launched = self.launched.map_or(String::new(), |launched| format!("@{launched}"));
        Handle::new(HANDLE_VERSION, format!("{}{launched}", self.id))
    }

    /// A machine that no list shows.
    pub(crate) fn absent(&self, handle: &Handle, now: Timestamp) -> Observed {
        let age = self.launched.map(|launched| now.as_second() - launched);
        if age.is_some_and(|age| (-APPEARING_S..APPEARING_S).contains(&age)) {
            return Observed::new(handle.clone(), Phase::Pending).because("the cloud does not list it yet");
        }
        Observed::new(handle.clone(), Phase::Gone)
    }
}
