//! Instances as the API gives them
//! (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html>).

use jiff::Timestamp;
use occopus_sdk::{Address, Observed, Owned, Phase};
use roxmltree::Node;

use crate::handle::{Reference, plain};
use crate::xml::{child, items, text};

/// Tag with the instance's id. Set by the host on every machine.
pub(crate) const INSTANCE_TAG: &str = "occopus.instance";
const INFRASTRUCTURE_TAG: &str = "occopus.infrastructure";

/// Account and region of a machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tenancy {
    pub(crate) account: Option<String>,
    pub(crate) region: String,
}

/// An instance as the API shows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ec2Instance {
    pub(crate) id: String,
    /// Account that owns it, and region that it is in.
    tenancy: Tenancy,
    /// Client token of its creation.
    token: Option<String>,
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
    /// Reads an entry of an `instancesSet`.
    pub(crate) fn read(item: Node, tenancy: &Tenancy) -> Option<Self> {
        let owned = |name: &str| text(item, name).map(str::to_owned);
        let within = |outer: &str, name: &str| child(item, outer).and_then(|node| text(node, name)).map(str::to_owned);
        let attribute = |name: &str, value: Option<String>| Some((name.to_owned(), value?));
        let id = plain(text(item, "instanceId")?)?;
        Some(Self {
            tenancy: tenancy.clone(),
            token: owned("clientToken"),
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

    /// Returns the instance id that it carries.
    pub(crate) fn instance_id(&self) -> Option<&str> {
        self.tag(INSTANCE_TAG)
    }

    /// Returns the account that owns it, if the cloud names it.
    pub(crate) fn account(&self) -> Option<&String> {
        self.tenancy.account.as_ref()
    }

    /// Records tags that were added after its creation.
    pub(crate) fn with_tags<'t>(mut self, tags: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        self.tags.extend(tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
        self
    }

    /// Returns the time of its launch, by the cloud's clock.
    pub(crate) fn launched(&self) -> Option<Timestamp> {
        self.launched
    }

    /// Returns true unless it is terminated or about to be.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.phase(), Phase::Gone)
    }

    pub(crate) fn owned(&self) -> Option<Owned> {
        Some(Owned {
            instance_id: self.tag(INSTANCE_TAG)?.to_owned(),
            infrastructure_id: self.tag(INFRASTRUCTURE_TAG).unwrap_or_default().to_owned(),
            observed: self.observed(),
        })
    }

    /// Returns what its absence can later be judged by.
    pub(crate) fn reference(&self) -> Reference {
        Reference {
            id: self.id.clone(),
            launched: self.launched.map(Timestamp::as_second),
            account: self.tenancy.account.clone(),
            region: plain(&self.tenancy.region),
            instance: self.tag(INSTANCE_TAG).and_then(plain),
        }
    }

    pub(crate) fn observed(&self) -> Observed {
        let phase = self.phase();
        let message = match phase {
            Phase::Stopped | Phase::Gone => {
                Some(self.reason.clone().unwrap_or_else(|| format!("the instance is {}", self.state)))
            }
            Phase::Unknown => Some(format!("the cloud calls its state `{}`", self.state)),
            _ => None,
        };
        Observed {
            handle: self.reference().handle(),
            phase,
            addresses: self.addresses(),
            attributes: self.attributes.clone(),
            message,
        }
    }

    /// Returns true if it was made by a request for this id. The console's "launch more like this" copies the tags, and
    /// not the token; clouds that ignore tokens do not show them, or show something of their own.
    pub(crate) fn was_created_for(&self, instance_id: &str, tokens_count: bool) -> bool {
        self.tag(INSTANCE_TAG) == Some(instance_id)
            && !(tokens_count && self.token.as_ref().is_some_and(|token| token != instance_id))
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
