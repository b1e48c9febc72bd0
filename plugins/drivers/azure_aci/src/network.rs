//! Networks of private groups: a subnet that is delegated to Azure Container Instances, one for all groups of an
//! infrastructure in a location. The user's own where the section names one.
//!
//! The network is made with the first group, and removed with the last. Azure holds a subnet for minutes after the last group
//! in it is gone, by a service association link, which is deleted here.

use std::time::Duration;

use occopus_azure_arm::{Arm, Call, Ended, ResourceId, is_in_use};
use occopus_sdk::http::{Response, encoded};
use occopus_sdk::{Fault, NodeRequest, Reaction};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::group::{Group, INFRASTRUCTURE_TAG, INSTANCE_TAG, tag};
use crate::handle::Reference;
use crate::once::{forget as forget_done, once};
use crate::section::Section;
use crate::settings::{Network, Settings, Subnet};
use crate::{addresses, arm, resource_group};

const API_VERSION: &str = "2024-05-01";
const LINK_API_VERSION: &str = "2018-10-01";
const VNET_TYPE: &str = "Microsoft.Network/virtualNetworks";
const DELEGATION: &str = "Microsoft.ContainerInstance/containerGroups";
/// Beginning of the names of networks that are made here; the ids of infrastructures follow.
const PREFIX: &str = "occopus-aci-";
/// Maximum length of an id in a name, which has up to 80.
const MAX_ID_CHARS: usize = 40;
/// Name of the subnet in a network that is made here.
const SUBNET: &str = "containers";
const ADDRESSES: &str = "10.0.0.0/16";
/// Addresses of the subnet. Azure advises against small ones, since it gives addresses back late.
const SUBNET_ADDRESSES: &str = "10.0.128.0/17";
/// Longest wait for a network to be made or removed within one call.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Delay before a network is looked at again that Azure still holds.
const RELEASE_DELAY: Duration = Duration::from_secs(10);
/// Pause after a refusal, in which a group that joined the subnet appears, before the subnet's link is deleted.
const HELD_PAUSE: Duration = Duration::from_secs(3);
/// Time for which a group that joined the subnet may not appear in any list yet.
const JOINING_MAX: Duration = Duration::from_secs(60);
/// Time within which a removal has ended, or its call.
const REMOVAL_MAX: Duration = Duration::from_secs(120);
/// Time for which a network that was there is not asked for again.
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// A virtual network, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Vnet {
    pub(crate) name: String,
    #[serde(default)]
    tags: Option<std::collections::BTreeMap<String, String>>,
}

impl Vnet {
    /// Returns the instance for which the network was made, with its infrastructure; none for the user's networks.
    pub(crate) fn maker(&self) -> Option<(&str, &str)> {
        let tags = self.tags.as_ref()?;
        let is_own = self.name.to_ascii_lowercase().starts_with(PREFIX);
        Some((tag(tags, INSTANCE_TAG)?, tag(tags, INFRASTRUCTURE_TAG)?)).filter(|_| is_own)
    }
}

/// Returns the names of a network and its subnet, if the subnet was made by Occopus.
pub(crate) fn own_names(subnet_id: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = subnet_id.split('/').collect();
    ResourceId::parse(subnet_id).filter(|id| id.is_a(&format!("{VNET_TYPE}/subnets")))?;
    let (vnet, subnet) =
        (parts.get(parts.len().checked_sub(3)?)?.to_ascii_lowercase(), parts.last()?.to_ascii_lowercase());
    let own_network = vnet.starts_with(PREFIX) && subnet == SUBNET;
    (own_network || subnet.starts_with(PREFIX)).then_some((vnet, subnet))
}

/// Returns the names of the network and the subnet that the groups of an infrastructure in a location have.
fn names_of(infrastructure: &str, location: &str) -> (String, String) {
    (format!("{PREFIX}{}-{location}", plain(infrastructure)), SUBNET.to_owned())
}

/// Returns an id as part of a name in Azure. The host's ids are UUIDs, those of users may be anything.
fn plain(id: &str) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    id.chars().take(MAX_ID_CHARS).map(letter).collect()
}

/// Subnet of a group that is being made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Joined {
    /// Id of the subnet; none for a public group.
    pub(crate) id: Option<String>,
    /// Set if this call made it.
    pub(crate) is_new: bool,
}

/// Network of one group: its names, and how it is reached.
struct Place<'a> {
    arm: &'a Arm<'a>,
    reference: &'a Reference,
    vnet: String,
    subnet: String,
}

impl<'a> Place<'a> {
    fn new(arm: &'a Arm<'a>, reference: &'a Reference, names: &(String, String)) -> Self {
        let (vnet, subnet) = names.clone();
        Self { arm, reference, vnet, subnet }
    }

    fn vnet_path(&self) -> String {
        format!("{}/providers/{VNET_TYPE}/{}", self.reference.group_path(), encoded(&self.vnet))
    }

    fn subnet_path(&self) -> String {
        format!("{}/subnets/{}", self.vnet_path(), encoded(&self.subnet))
    }

    /// Returns true if the whole network was made here, and not the subnet alone.
    fn is_own(&self) -> bool {
        self.vnet.starts_with(PREFIX)
    }

    fn cache_key(&self) -> String {
        format!("aci network\n{}", self.subnet_path())
    }

    fn removal_key(&self) -> String {
        format!("aci removal\n{}", self.subnet_path())
    }

    fn joining_key(&self) -> String {
        format!("aci joining\n{}", self.subnet_path())
    }

    fn neighbour_key(&self) -> String {
        format!("aci neighbour\n{}", self.subnet_path())
    }

    /// Returns true if another group of this name is there to stay. Lists may lag behind, and it may be going at this moment.
    fn is_neighbour(&self, name: &str) -> Result<bool, Fault> {
        if name.is_empty() || name.eq_ignore_ascii_case(&self.reference.name) {
            return Ok(false);
        }
        // Nothing is known of its age.
        let other = Reference { name: name.to_owned(), made: None, ..self.reference.clone() };
        Ok(arm::read_group(self.arm, &other)?.is_some_and(|group| !group.is_going()))
    }

    /// Finds the subnet, or makes it.
    fn ensure(&self, request: &NodeRequest<Section>, settings: &Settings) -> Result<Joined, Fault> {
        self.arm.cache().put(&self.joining_key(), self.reference.name.as_bytes(), JOINING_MAX);
        if self.arm.cache().get(&self.removal_key()).is_some_and(|mark| !mark.is_empty()) {
            // What was there a moment ago may be gone.
            forget_done(self.arm, &self.cache_key());
        }
        let is_new = once(self.arm, &self.cache_key(), KNOWN_FOR, || self.find_or_make(request, settings))?;
        Ok(Joined { id: Some(self.subnet_path()), is_new: is_new.unwrap_or(false) })
    }

    /// Returns true if the subnet was not there.
    fn find_or_make(&self, request: &NodeRequest<Section>, settings: &Settings) -> Result<bool, Fault> {
        let is_there = match self.arm.read::<Value>(&Call::get(&self.subnet_path(), API_VERSION)) {
            Ok(_) => true,
            Err(fault) if fault.reaction == Reaction::NotFound => false,
            Err(fault) => return Err(fault),
        };
        if !is_there {
            let call = if self.is_own() { self.make_network(request, settings) } else { self.make_subnet()? };
            let made = resource_group::with(self.arm, self.reference, &settings.location, || self.arm.send(&call))?;
            self.wait(&made, "is being made")?;
        }
        Ok(!is_there)
    }

    /// Returns the call that makes the network with its subnet: the same for all groups of the infrastructure.
    fn make_network(&self, request: &NodeRequest<Section>, settings: &Settings) -> Call {
        let tags: serde_json::Map<String, Value> =
            request.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let subnet = json!({"name": self.subnet, "properties": delegated(SUBNET_ADDRESSES)});
        let properties = json!({"addressSpace": {"addressPrefixes": [ADDRESSES]}, "subnets": [subnet]});
        Call::put(
            &self.vnet_path(),
            API_VERSION,
            json!({"location": settings.location, "tags": tags, "properties": properties}),
        )
    }

    /// Returns the call that makes a subnet in the user's network, at addresses that are free there.
    fn make_subnet(&self) -> Result<Call, Fault> {
        let vnet: Value =
            self.arm.read(&Call::get(&self.vnet_path(), API_VERSION)).map_err(|fault| match fault.reaction {
                Reaction::NotFound => Fault { reaction: Reaction::GiveUp, ..fault }
                    .at("/vnet_name", "there is no such network in the resource group"),
                _ => fault,
            })?;
        let free = addresses::free_block(&vnet["properties"]).ok_or_else(|| {
            let message =
                format!("the network `{}` has no room for a subnet of {} addresses", self.vnet, addresses::BLOCK);
            Fault::no_capacity("azure.no-addresses", message)
                .at("/vnet_name", "write a delegated subnet into `subnet_name`, or give the network more addresses")
        })?;
        Ok(Call::put(&self.subnet_path(), API_VERSION, json!({"properties": delegated(&free)})))
    }

    /// Waits for the operation of an answer.
    fn wait(&self, response: &Response, what: &str) -> Result<(), Fault> {
        let Some(operation) = self.arm.operation_of(response)? else { return Ok(()) };
        match self.arm.wait(&operation, MAX_WAIT)? {
            Ended::Succeeded | Ended::Unknown => Ok(()),
            Ended::Failed(error) => Err(self.arm.failure(&error)),
            Ended::StillRunning => {
                let message = format!("the network `{}` {what}", self.vnet);
                Err(Fault::retry("azure.network-busy", message).retry_after(Duration::from_secs(2)))
            }
        }
    }

    /// Removes what was made here: the network, or the subnet in the user's.
    fn remove(&self) -> Result<(), Fault> {
        self.arm.cache().put(&self.removal_key(), b"under way", REMOVAL_MAX);
        let removed = match self.remove_once() {
            Err(fault) if is_in_use(&fault) => self.remove_held(fault),
            removed => removed,
        };
        forget_done(self.arm, &self.cache_key());
        removed
    }

    /// Removes what Azure holds. The link by which it does is deleted after a while, and only if nobody is in the subnet: a
    /// group that joins it at this moment would lose its network.
    fn remove_held(&self, fault: Fault) -> Result<(), Fault> {
        let later = |fault: Fault| Fault { reaction: Reaction::Retry, ..fault }.retry_after(RELEASE_DELAY);
        let call = self.arm.call();
        if call.cancelled() || call.remaining() < HELD_PAUSE + MAX_WAIT {
            return Err(later(fault));
        }
        call.wait(HELD_PAUSE);
        match self.remove_once() {
            Err(fault) if is_in_use(&fault) && self.is_used()? => Err(later(fault)),
            Err(fault) if is_in_use(&fault) => {
                self.delete_link()?;
                self.remove_once().map_err(later)
            }
            removed => removed,
        }
    }

    /// Returns true if another group joined the subnet a moment ago, or if the list of groups, or the subnet itself, shows
    /// somebody in it.
    fn is_used(&self) -> Result<bool, Fault> {
        let joined = self.arm.cache().get(&self.joining_key()).unwrap_or_default();
        if !joined.is_empty() && joined != self.reference.name.as_bytes() {
            return Ok(true);
        }
        let names = (self.vnet.clone(), self.subnet.clone());
        let groups = arm::list_groups(self.arm, self.reference)?.unwrap_or_default();
        if groups.iter().any(|group| is_in(group, &names) && !group.name.eq_ignore_ascii_case(&self.reference.name)) {
            return Ok(true);
        }
        let found: Option<Value> = self.arm.read_if_there(&Call::get(&self.subnet_path(), API_VERSION))?;
        let properties = found.map(|mut found| found["properties"].take()).unwrap_or_default();
        let has = |name: &str| properties[name].as_array().is_some_and(|users| !users.is_empty());
        Ok(has("ipConfigurations") || has("privateEndpoints"))
    }

    fn remove_once(&self) -> Result<(), Fault> {
        let path = if self.is_own() { self.vnet_path() } else { self.subnet_path() };
        match self.arm.remove(&Call::delete(&path, API_VERSION))? {
            None => Ok(()),
            Some(accepted) => self.wait(&accepted, "is being removed"),
        }
    }

    /// Deletes the link by which Azure holds the subnet after the last group.
    fn delete_link(&self) -> Result<(), Fault> {
        let path =
            format!("{}/providers/Microsoft.ContainerInstance/serviceAssociationLinks/default", self.subnet_path());
        match self.arm.remove(&Call::delete(&path, LINK_API_VERSION)) {
            Ok(Some(accepted)) => self.wait(&accepted, "is being released"),
            // Without the right to do so, or with the link gone already, time does it.
            Ok(None) => Ok(()),
            Err(fault) if fault.reaction == Reaction::Retry && !is_in_use(&fault) => Err(fault),
            Err(_) => Ok(()),
        }
    }
}

fn delegated(addresses: &str) -> Value {
    json!({
        "addressPrefix": addresses,
        "delegations": [{"name": DELEGATION, "properties": {"serviceName": DELEGATION}}],
    })
}

/// Returns the names of the network and the subnet that go with the groups of this request; none if they are the user's.
pub(crate) fn own_network(request: &NodeRequest<Section>, settings: &Settings) -> Option<(String, String)> {
    let infrastructure = &request.infrastructure_id;
    match &settings.network {
        Network::Private(Subnet::Own) => Some(names_of(infrastructure, &settings.location)),
        Network::Private(Subnet::OwnIn { vnet }) => {
            Some((vnet.to_ascii_lowercase(), format!("{PREFIX}{}", plain(infrastructure))))
        }
        Network::Private(Subnet::Named { .. } | Subnet::ById(_)) | Network::Public => None,
    }
}

/// Returns the subnet that a group joins, and makes it if it is not there yet.
pub(crate) fn join(
    arm: &Arm<'_>,
    request: &NodeRequest<Section>,
    settings: &Settings,
    reference: &Reference,
) -> Result<Joined, Fault> {
    match &settings.network {
        Network::Public => Ok(Joined::default()),
        Network::Private(Subnet::ById(id)) => Ok(Joined { id: Some(id.clone()), is_new: false }),
        Network::Private(Subnet::Named { vnet, subnet }) => {
            let place = Place::new(arm, reference, &(vnet.clone(), subnet.clone()));
            Ok(Joined { id: Some(place.subnet_path()), is_new: false })
        }
        Network::Private(Subnet::Own | Subnet::OwnIn { .. }) => match &reference.network {
            Some(names) => Place::new(arm, reference, names).ensure(request, settings),
            None => Ok(Joined::default()),
        },
    }
}

/// Forgets that the network of a group is there: Azure says that it is not.
pub(crate) fn forget(arm: &Arm<'_>, reference: &Reference) {
    if let Some(names) = &reference.network {
        forget_done(arm, &Place::new(arm, reference, names).cache_key());
    }
}

/// Removes the network of a group that is gone, unless another group is in it.
///
/// # Errors
/// `retry` while Azure holds the subnet.
pub(crate) fn release(arm: &Arm<'_>, reference: &Reference) -> Result<(), Fault> {
    let Some(names) = &reference.network else { return Ok(()) };
    let place = Place::new(arm, reference, names);
    // Many groups are removed at a time: the one that was found to stay is asked for first.
    let known = arm.cache().get(&place.neighbour_key()).and_then(|name| String::from_utf8(name).ok());
    if known.is_some_and(|name| place.is_neighbour(&name).unwrap_or(false)) {
        return Ok(());
    }
    let Some(groups) = arm::list_groups(arm, reference)? else { return Ok(()) };
    for other in groups.iter().rev().filter(|group| is_in(group, names)) {
        if place.is_neighbour(&other.name)? {
            arm.cache().put(&place.neighbour_key(), other.name.as_bytes(), KNOWN_FOR);
            return Ok(());
        }
    }
    place.remove()
}

fn is_in(group: &Group, names: &(String, String)) -> bool {
    group.subnet_id().and_then(own_names).as_ref() == Some(names)
}

/// Returns references to networks that were made here and that no group is in, with the instances and infrastructures that
/// they were made for: a creation died before its group was made.
pub(crate) fn abandoned(arm: &Arm<'_>, reference: &Reference) -> Result<Vec<(String, String, Reference)>, Fault> {
    let path = format!("{}/providers/{VNET_TYPE}", reference.group_path());
    let vnets = match arm.list::<Value>(&Call::get(&path, API_VERSION)) {
        Err(fault) if fault.reaction == Reaction::NotFound => return Ok(Vec::new()),
        vnets => vnets?,
    };
    let vnets = vnets.into_iter().filter_map(|vnet| serde_json::from_value::<Vnet>(vnet).ok());
    let own: Vec<Vnet> = vnets.filter(|vnet| vnet.maker().is_some()).collect();
    if own.is_empty() {
        return Ok(Vec::new());
    }
    let groups = arm::list_groups(arm, reference)?.unwrap_or_default();
    let mut found = Vec::new();
    for vnet in &own {
        let names = (vnet.name.to_ascii_lowercase(), SUBNET.to_owned());
        let Some((instance, infrastructure)) = vnet.maker() else { continue };
        let Ok(name) = crate::names::group_name(instance) else { continue };
        if !groups.iter().any(|group| is_in(group, &names)) {
            let of = Reference { name, network: Some(names), ..reference.clone() };
            found.push((instance.to_owned(), infrastructure.to_owned(), of));
        }
    }
    Ok(found)
}
