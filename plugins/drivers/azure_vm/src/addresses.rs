//! Addresses of machines: Azure shows them with the cards and the public addresses. They stay for a machine's life, so that
//! they are kept in the host's cache, and the lists are read only when a machine has none yet.

use std::collections::BTreeMap;
use std::time::Duration;

use occopus_sdk::{Address, Fault, Observed, Phase, Reaction};
use serde::Deserialize;

use crate::handle::Reference;
use crate::parts::PARTS;
use crate::{Azure, NETWORK, names};

/// Entries of the cache over which the machines are spread: an entry has 64 KiB.
const BUCKETS: u32 = 8;
/// Machines of an entry.
const MAX_IN_BUCKET: usize = 500;
/// Time after which addresses are read again.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Addresses of one machine: the private one, and the public one.
type Pair = (String, Option<String>);
type Bucket = BTreeMap<String, Pair>;

#[derive(Debug, Deserialize)]
struct Card {
    #[serde(default)]
    properties: CardProperties,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CardProperties {
    #[serde(default)]
    virtual_machine: Option<Identified>,
    #[serde(default)]
    ip_configurations: Vec<IpConfiguration>,
}

#[derive(Debug, Deserialize)]
struct Identified {
    id: String,
}

#[derive(Debug, Deserialize)]
struct IpConfiguration {
    #[serde(default)]
    properties: IpProperties,
}

#[derive(Debug, Default, Deserialize)]
struct IpProperties {
    #[serde(default, rename = "privateIPAddress")]
    private: Option<String>,
    #[serde(default, rename = "publicIPAddress")]
    public: Option<Identified>,
    #[serde(default)]
    primary: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct PublicAddress {
    id: String,
    #[serde(default)]
    properties: PublicProperties,
}

#[derive(Debug, Default, Deserialize)]
struct PublicProperties {
    #[serde(default, rename = "ipAddress")]
    address: Option<String>,
}

impl Azure<'_> {
    /// Adds the addresses of machines that run.
    pub(crate) fn add_addresses(&self, all: &mut [Observed]) -> Result<(), Fault> {
        let mut running: Vec<(Reference, &mut Observed)> = all
            .iter_mut()
            .filter(|seen| seen.phase == Phase::Running)
            .map(|seen| (Reference::of(&seen.handle), seen))
            .collect();
        running.retain_mut(|(reference, seen)| match self.kept_addresses(reference) {
            Some(pair) => {
                add(seen, &pair);
                false
            }
            None => true,
        });
        while let Some(group) = running.first().map(|(reference, _)| reference.group.clone()) {
            let found = self.read_addresses(&group)?;
            let (here, elsewhere): (Vec<_>, Vec<_>) =
                running.into_iter().partition(|(reference, _)| reference.group == group);
            let mut fresh: BTreeMap<String, Bucket> = BTreeMap::new();
            for (reference, seen) in here {
                let Some(pair) = found.get(&reference.name) else { continue };
                add(seen, pair);
                fresh.entry(self.bucket_key(&reference)).or_default().insert(reference.name.clone(), pair.clone());
            }
            self.keep_addresses(fresh);
            running = elsewhere;
        }
        Ok(())
    }

    /// Reads the addresses of all machines of a group, by their names.
    fn read_addresses(&self, group: &str) -> Result<BTreeMap<String, Pair>, Fault> {
        let [cards, addresses, _] = PARTS.map(|(kind, _)| self.arm.in_group(group, kind, ""));
        let cards: Vec<Card> = self.list_if_group_exists(&cards, NETWORK)?;
        let is_public =
            |card: &Card| card.properties.ip_configurations.iter().any(|one| one.properties.public.is_some());
        let mut public = BTreeMap::new();
        if cards.iter().any(is_public) {
            let listed: Vec<PublicAddress> = match self.list_if_group_exists(&addresses, NETWORK) {
                // These credentials may see machines and not their addresses.
                Err(fault) if fault.reaction == Reaction::Denied => Vec::new(),
                listed => listed?,
            };
            let known =
                listed.into_iter().filter_map(|one| Some((one.id.to_ascii_lowercase(), one.properties.address?)));
            public.extend(known);
        }
        let mut found = BTreeMap::new();
        for CardProperties { virtual_machine, ip_configurations } in cards.into_iter().map(|card| card.properties) {
            let Some(machine) =
                virtual_machine.and_then(|machine| machine.id.rsplit('/').next().map(str::to_ascii_lowercase))
            else {
                continue;
            };
            let primary = ip_configurations.iter().find(|one| one.properties.primary == Some(true));
            let Some(IpConfiguration { properties }) = primary.or(ip_configurations.first()) else { continue };
            let Some(private) = properties.private.clone() else { continue };
            let id = properties.public.as_ref().map(|public| public.id.to_ascii_lowercase());
            let address = id.as_ref().and_then(|id| public.get(id).cloned());
            // A public address that Azure does not show yet is waited for.
            if id.is_none() || address.is_some() {
                found.insert(machine, (private, address));
            }
        }
        Ok(found)
    }

    fn kept_addresses(&self, machine: &Reference) -> Option<Pair> {
        self.bucket(&self.bucket_key(machine)).remove(&machine.name)
    }

    fn keep_addresses(&self, fresh: BTreeMap<String, Bucket>) {
        for (key, own) in fresh {
            let mut bucket = self.bucket(&key);
            if bucket.len() + own.len() > MAX_IN_BUCKET {
                bucket.clear();
            }
            bucket.extend(own);
            if let Ok(kept) = serde_json::to_vec(&bucket) {
                self.arm.cache().put(&key, &kept, LIFETIME);
            }
        }
    }

    fn bucket(&self, key: &str) -> Bucket {
        let kept = self.arm.cache().get(key).and_then(|kept| serde_json::from_slice(&kept).ok());
        kept.unwrap_or_default()
    }

    fn bucket_key(&self, machine: &Reference) -> String {
        let last = names::instance_of(&machine.name).and_then(|instance| instance.chars().last());
        let number = last.and_then(|digit| digit.to_digit(16)).unwrap_or_default() % BUCKETS;
        format!("azure_vm addresses\n{}\n{}\n{number}", self.arm.cloud().management, self.arm.subscription())
    }
}

/// Adds addresses: the public one is the node's, if it has one.
fn add(seen: &mut Observed, (private, public): &Pair) {
    if let Some(public) = public {
        seen.addresses.push(Address { value: public.clone(), internal: false });
    }
    seen.addresses.push(Address { value: private.clone(), internal: true });
}
