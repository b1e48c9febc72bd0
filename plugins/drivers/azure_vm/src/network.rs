//! The network of an infrastructure: made once for a group and a location, and removed with the last machine in it.

use std::time::Duration;

use occopus_azure_arm::{Call, Ended, ResourceId, is_busy, is_in_use};
use occopus_sdk::http::Response;
use occopus_sdk::{Fault, NodeRequest, Reaction, log};
use serde::Deserialize;
use serde_json::json;

use crate::create::EXISTS;
use crate::handle::Reference;
use crate::section::{Section, given};
use crate::snapshot::{Snapshot, network_key, now};
use crate::tags::{self, INFRASTRUCTURE_TAG, Tags};
use crate::{Azure, NETWORK, RESOURCES, names};

/// Type of networks.
pub(crate) const NETWORKS: &str = "Microsoft.Network/virtualNetworks";
/// Name of the subnet of our networks that machines are in. The other half of the addresses is free for others.
const SUBNET: &str = "nodes";
const ADDRESSES: &str = "10.0.0.0/16";
const SUBNET_ADDRESSES: &str = "10.0.0.0/17";
/// Time for which something shared is known to be there without asking.
const KNOWN_FOR: Duration = Duration::from_secs(300);
/// Time for which Azure makes a network.
const MAKING_MAX: Duration = Duration::from_secs(60);
const MAKING_MAX_MS: u64 = 20_000;
const MAKING_POLL: Duration = Duration::from_millis(250);
const BUSY_PAUSE: Duration = Duration::from_secs(2);
const MAX_BUSY_ATTEMPTS: usize = 15;
/// Time for which the cards of machines that are gone may still be in the network.
const LAST_CARDS_MAX: Duration = Duration::from_secs(240);
/// Time after which such a card is deleted: Azure has kept it.
const LAST_CARDS_GRACE: Duration = Duration::from_secs(10);
/// Time after which something unknown in a network is taken for the user's own.
const UNKNOWN_CARDS_MAX: Duration = Duration::from_secs(30);
/// Time that is left for the answer to the host.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

/// Shared things that a call made, and removes again if its machine can't be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) any: bool,
}

/// Users of a network that Azure does not delete.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Users {
    /// Machines of ours.
    Machines,
    /// Cards of machines of ours that are gone, and mostly go themselves; the instances of those that Azure no longer lists.
    LastCards(Vec<String>),
    /// Something else: the user's, or a card whose name says nothing.
    Unknown,
}

#[derive(Deserialize)]
struct Network {
    #[serde(default)]
    tags: Option<Tags>,
    properties: NetworkProperties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NetworkProperties {
    #[serde(default)]
    provisioning_state: Option<String>,
    #[serde(default)]
    subnets: Vec<Subnet>,
}

#[derive(Deserialize)]
struct Subnet {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    properties: SubnetProperties,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubnetProperties {
    #[serde(default)]
    ip_configurations: Vec<Identified>,
    #[serde(default)]
    delegations: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Identified {
    id: String,
}

impl Azure<'_> {
    /// Returns the id of the subnet of a machine: the user's, or that of the infrastructure's network, which is made if it
    /// does not exist.
    pub(crate) fn subnet(&self, request: &NodeRequest<Section>, made: &mut Made) -> Result<String, Fault> {
        let Some(network) = given(self.section.vnet_name.as_ref()) else { return self.own_subnet(request, made) };
        let path = match ResourceId::parse(network) {
            Some(_) => network.to_owned(),
            None => self.arm.in_group(self.section.group(), NETWORKS, network),
        };
        if let Some(subnet) = given(self.section.subnet_name.as_ref()) {
            return Ok(format!("{path}/subnets/{}", occopus_sdk::http::encoded(subnet)));
        }
        self.known(&format!("subnet of {path}"), || self.only_subnet(&path, network))
    }

    /// Forgets that shared things exist: Azure says that one does not.
    pub(crate) fn forget_shared(&self, infrastructure: &str, ports: &[u16]) {
        let place = self.section.place();
        for name in [names::network(infrastructure, &place), names::rules(infrastructure, &place, ports)] {
            self.arm.cache().put(&self.shared_key(&name), b"", Duration::ZERO);
        }
    }

    /// Returns the id of something shared, and remembers it for a while. Of the calls of one moment one works, and the
    /// others wait for it.
    pub(crate) fn known(&self, name: &str, work: impl FnOnce() -> Result<String, Fault>) -> Result<String, Fault> {
        let (key, making) = (self.shared_key(name), self.shared_key(&format!("making {name}")));
        let cache = self.arm.cache();
        let text = |key: &str| String::from_utf8(cache.get(key)?).ok().filter(|text| !text.is_empty());
        loop {
            if let Some(id) = text(&key) {
                return Ok(id);
            }
            let begun = text(&making).and_then(|begun| begun.parse::<u64>().ok());
            let is_under_way = begun.is_some_and(|begun| now().saturating_sub(begun) < MAKING_MAX_MS);
            if !is_under_way || self.arm.call().cancelled() || self.arm.call().remaining() < ANSWER_MARGIN {
                break;
            }
            self.arm.call().wait(MAKING_POLL);
        }
        cache.put(&making, now().to_string().as_bytes(), KNOWN_FOR);
        let done = work();
        cache.put(&making, b"", Duration::ZERO);
        if let Ok(id) = &done {
            cache.put(&key, id.as_bytes(), KNOWN_FOR);
        }
        done
    }

    fn shared_key(&self, name: &str) -> String {
        let (subscription, group) = (self.arm.subscription(), self.section.group());
        format!("azure_vm shared\n{}\n{subscription}\n{group}\n{name}", self.arm.cloud().management)
    }

    /// Returns the subnet of a network of the user's that names none.
    fn only_subnet(&self, path: &str, network: &str) -> Result<String, Fault> {
        let found: Option<Network> = self.arm.read_if_there(&Call::get(path, NETWORK))?;
        let Some(found) = found else {
            let message = format!("the group {} has no network `{network}`", self.section.group());
            return Err(Fault::give_up("azure.no-such-network", message)
                .at("/vnet_name", "write the name of a network in this group, or the id of one"));
        };
        let usable: Vec<&Subnet> =
            found.properties.subnets.iter().filter(|subnet| subnet.properties.delegations.is_empty()).collect();
        let chosen = match usable.as_slice() {
            [only] => Some(*only),
            several => several.iter().copied().find(|subnet| subnet.name.eq_ignore_ascii_case("default")),
        };
        chosen.map(|subnet| subnet.id.clone()).ok_or_else(|| {
            let names: Vec<&str> = usable.iter().map(|subnet| subnet.name.as_str()).collect();
            let message = format!("the network `{network}` has {} subnets, and none is named", names.len());
            Fault::give_up("azure.which-subnet", message)
                .at("/subnet_name", format!("write the name of a subnet; there are: {}", names.join(", ")))
        })
    }

    fn own_subnet(&self, request: &NodeRequest<Section>, made: &mut Made) -> Result<String, Fault> {
        let name = names::network(&request.infrastructure_id, &self.section.place());
        let path = self.arm.in_group(self.section.group(), NETWORKS, &name);
        self.known(&name, || {
            for _ in 0..MAX_BUSY_ATTEMPTS {
                let found: Option<Network> = self.arm.read_if_there(&Call::get(&path, NETWORK))?;
                let state = found.as_ref().and_then(|found| found.properties.provisioning_state.as_deref());
                match (&found, state.unwrap_or_default().to_ascii_lowercase().as_str()) {
                    (None, _) | (Some(_), "failed") => {
                        found.as_ref().map_or(Ok(()), |found| self.require_ours(found, request))?;
                        match self.make_network(&path, request, found.is_none(), made) {
                            Err(fault) if is_busy(&fault) || EXISTS.contains(&fault.code.as_str()) => {}
                            done => return done.map(|()| format!("{path}/subnets/{SUBNET}")),
                        }
                    }
                    (Some(_), "deleting" | "updating") => {}
                    (Some(found), _) => {
                        self.require_ours(found, request)?;
                        return Ok(format!("{path}/subnets/{SUBNET}"));
                    }
                }
                if self.arm.call().cancelled() || self.arm.call().remaining() < ANSWER_MARGIN {
                    break;
                }
                self.arm.call().wait(BUSY_PAUSE);
            }
            Err(Fault::retry("azure.network-busy", format!("Azure is still changing the network {name}")))
        })
    }

    fn require_ours(&self, found: &Network, request: &NodeRequest<Section>) -> Result<(), Fault> {
        let owner = found.tags.as_ref().and_then(|tags| tags::get(tags, INFRASTRUCTURE_TAG));
        if owner.is_none_or(|owner| owner == request.infrastructure_id) {
            return Ok(());
        }
        Err(Fault::conflict("azure.other-network", "the network of this infrastructure's name is another's"))
    }

    /// Makes the network with its subnet; the subnet alone in a network whose making failed, where there may be others of the
    /// user's.
    fn make_network(
        &self,
        path: &str,
        request: &NodeRequest<Section>,
        is_new: bool,
        made: &mut Made,
    ) -> Result<(), Fault> {
        self.arm.call().progress("making the network", None);
        // Machines without a public address reach the outside all the same, to install packages.
        let subnet = json!({"addressPrefix": SUBNET_ADDRESSES, "defaultOutboundAccess": true});
        let body = json!({
            "location": self.section.place(),
            "tags": tags::of_shared(request),
            "properties": {
                "addressSpace": {"addressPrefixes": [ADDRESSES]},
                "subnets": [{"name": SUBNET, "properties": subnet}],
            },
        });
        let subnet_path = format!("{path}/subnets/{SUBNET}");
        let (path, call) = match is_new {
            true => (path, Call::put(path, NETWORK, body).header("if-none-match", "*")),
            false => (subnet_path.as_str(), Call::put(&subnet_path, NETWORK, json!({"properties": subnet}))),
        };
        let answer = match self.arm.send(&call) {
            Err(fault) if fault.code == "azure.ResourceGroupNotFound" => {
                self.make_group(&request.infrastructure_id)?;
                self.arm.send(&call)?
            }
            answer => answer?,
        };
        made.any |= is_new && answer.status == 201;
        self.await_made(path, &answer)
    }

    /// Waits until Azure has made something shared: what refers to it before is refused.
    pub(crate) fn await_made(&self, path: &str, answer: &Response) -> Result<(), Fault> {
        let busy =
            |what: &str| Fault::retry("azure.network-busy", format!("Azure {what} of the infrastructure's network"));
        let ended =
            self.arm.operation_of(answer)?.map(|operation| self.arm.wait(&operation, MAKING_MAX)).transpose()?;
        match ended {
            Some(Ended::Succeeded) => Ok(()),
            Some(Ended::Failed(error)) => Err(self.arm.failure(&error)),
            Some(Ended::StillRunning) => Err(busy("is still making a part")),
            // An answer alone may be that of something in between.
            None | Some(Ended::Unknown) => {
                let found: Option<serde_json::Value> = self.arm.read_if_there(&Call::get(path, NETWORK))?;
                let is_it = found.is_some_and(|found| found.get("id").is_some_and(serde_json::Value::is_string));
                if is_it { Ok(()) } else { Err(busy("does not show a part")) }
            }
        }
    }

    /// Makes the resource group. Its tag says that it is ours.
    pub(crate) fn make_group(&self, infrastructure: &str) -> Result<(), Fault> {
        self.arm.call().progress("making the resource group", None);
        let body = json!({"location": self.section.place(), "tags": {INFRASTRUCTURE_TAG: infrastructure}});
        self.arm.send(&Call::put(&self.arm.group(self.section.group()), RESOURCES, body)).map(drop)
    }

    /// Removes a network, unless machines are in it. Returns false if it stays for them.
    pub(crate) fn remove_network(&self, group: &str, name: &str) -> Result<bool, Fault> {
        let path = self.arm.in_group(group, NETWORKS, name);
        let begun = now();
        loop {
            self.arm.cache().put(&self.shared_key(name), b"", Duration::ZERO);
            let waited = Duration::from_millis(now().saturating_sub(begun));
            match self.remove_and_wait(&path) {
                Ok(()) => return Ok(true),
                Err(fault) if is_in_use(&fault) => match self.users(group, name, &path)? {
                    Users::Machines => return Ok(false),
                    Users::Unknown if waited > UNKNOWN_CARDS_MAX => return Ok(false),
                    Users::LastCards(instances) if waited > LAST_CARDS_GRACE => self.remove_last(group, &instances)?,
                    Users::Unknown | Users::LastCards(_) => {}
                },
                Err(fault) if is_busy(&fault) => {}
                Err(fault) => return Err(fault),
            }
            let call = self.arm.call();
            if waited > LAST_CARDS_MAX || call.cancelled() || call.remaining() < ANSWER_MARGIN + BUSY_PAUSE {
                let message = format!("the network {name} is still in use by the cards of machines that are gone");
                return Err(Fault::retry("azure.network-in-use", message).retry_after(ANSWER_MARGIN));
            }
            call.progress("waiting until the network is free", None);
            call.wait(BUSY_PAUSE);
        }
    }

    /// Deletes what is left of machines that are gone.
    fn remove_last(&self, group: &str, instances: &[String]) -> Result<(), Fault> {
        for instance in instances {
            let machine = Reference { name: names::machine(instance), group: group.to_owned(), ..Reference::default() };
            match self.remove_parts_once(&machine) {
                // Azure lets go of it in minutes.
                Err(fault) if is_in_use(&fault) => {}
                removed => drop(removed?),
            }
        }
        Ok(())
    }

    /// Deletes something of a network, and waits for a while until it is gone.
    pub(crate) fn remove_and_wait(&self, path: &str) -> Result<(), Fault> {
        let Some(answer) = self.arm.remove(&Call::delete(path, NETWORK))? else { return Ok(()) };
        match self.arm.operation_of(&answer)?.map(|operation| self.arm.wait(&operation, MAKING_MAX)).transpose()? {
            Some(Ended::Failed(error)) => Err(self.arm.failure(&error)),
            // Azure has accepted it.
            None | Some(Ended::Succeeded | Ended::StillRunning | Ended::Unknown) => Ok(()),
        }
    }

    /// Returns who is in a network.
    fn users(&self, group: &str, name: &str, path: &str) -> Result<Users, Fault> {
        let Some(found) = self.arm.read_if_there::<Network>(&Call::get(path, NETWORK))? else {
            return Ok(Users::LastCards(Vec::new()));
        };
        let machines = self.snapshot(group, now().saturating_sub(2000))?;
        if machines.has_others(&network_key(group, name), "") {
            return Ok(Users::Machines);
        }
        let mut last = Vec::new();
        let mut has_unknown = false;
        let subnets = found.properties.subnets.into_iter();
        for user in subnets.flat_map(|subnet| subnet.properties.ip_configurations) {
            let card = user.id.split('/').rev().nth(2).unwrap_or_default();
            match names::owner_of_part(card) {
                Some((_, instance)) if machines.is_alive(&instance) => return Ok(Users::Machines),
                // One that is being deleted takes its card with it.
                Some((_, instance)) if machines.stage(&names::machine(&instance)).is_none() => last.push(instance),
                Some(_) => {}
                None => {
                    log::debug(format!("{} is in the network {path}", user.id));
                    has_unknown = true;
                }
            }
        }
        Ok(if has_unknown { Users::Unknown } else { Users::LastCards(last) })
    }

    /// Removes the network and the rules of an infrastructure, if no machine uses them any more, and the group if the user
    /// asks for it.
    pub(crate) fn remove_shared(&self, group: &str, infrastructure: &str, place: &str) -> Result<(), Fault> {
        let network = names::network(infrastructure, place);
        match self.remove_network(group, &network) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            // Nodes with networks of the user's need no rights on others.
            Err(fault) if fault.reaction == Reaction::Denied && !self.section.has_own_network() => {}
            Err(fault) => return Err(fault),
        }
        self.remove_rules(group, infrastructure)?;
        if self.section.delete_resource_group == Some(true) {
            self.remove_group(group, infrastructure)?;
        }
        Ok(())
    }

    /// Removes what an infrastructure shares, unless `machines` shows another machine in its network. Of the machines that
    /// are removed at the same time the last one sees no other.
    pub(crate) fn remove_shared_after(&self, machine: &Reference, machines: &Snapshot) -> Result<(), Fault> {
        let Reference { name, group, location, infrastructure, .. } = machine;
        let network = network_key(group, &names::network(infrastructure, location));
        if infrastructure.is_empty() || machines.has_others(&network, name) {
            return Ok(());
        }
        self.remove_shared(group, infrastructure, location)
    }

    fn remove_group(&self, group: &str, infrastructure: &str) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct Group {
            #[serde(default)]
            tags: Option<Tags>,
        }
        let path = self.arm.group(group);
        let Some(found) = self.arm.read_if_there::<Group>(&Call::get(&path, RESOURCES))? else { return Ok(()) };
        let owner = found.tags.as_ref().and_then(|tags| tags::get(tags, INFRASTRUCTURE_TAG));
        if owner != Some(infrastructure) {
            log::debug(format!("the resource group {group} stays: it is not of this infrastructure"));
            return Ok(());
        }
        if self.arm.is_group_empty(group)? {
            return self.arm.remove(&Call::delete(&path, RESOURCES)).map(drop);
        }
        log::warn(format!("the resource group {group} stays: something is in it"));
        Ok(())
    }
}
