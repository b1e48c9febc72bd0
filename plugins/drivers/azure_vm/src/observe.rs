//! Observation of machines: one by its name, many by one list of the subscription with their states.

use std::collections::HashMap;
use std::time::Duration;

use occopus_azure_arm::{Call, ResourceId};
use occopus_sdk::http::encoded;
use occopus_sdk::{Fault, Handle, Observed, Phase, Reaction, log};
use serde::Deserialize;

use crate::create::WithMachine as _;
use crate::handle::Reference;
use crate::machine::Machine;
use crate::network::NETWORKS;
use crate::rules::RULES;
use crate::snapshot::MACHINES;
use crate::tags::{self, INFRASTRUCTURE_TAG, INSTANCE_TAG, Tags};
use crate::{Azure, COMPUTE, RESOURCES, names};

/// Maximum number of machines that are looked up by name; more are looked up in the list of all.
const MAX_SINGLE_LOOKUPS: usize = 2;
/// Pauses of a search, in which a request that is on its way arrives.
const SEARCH_PAUSES_MS: [u64; 2] = [500, 1500];

/// A resource in the list of all types.
#[derive(Debug, Clone, Deserialize)]
struct Resource {
    id: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    tags: Option<Tags>,
}

impl Azure<'_> {
    /// Returns the call that shows a machine with its state.
    pub(crate) fn show(&self, path: &str) -> Call {
        Call::get(path, COMPUTE).query("$expand", "instanceView")
    }

    /// Finds the machine of an instance. What an attempt to make it left without it is removed.
    pub(crate) fn find(&self, instance: &str) -> Result<Option<Observed>, Fault> {
        let path = self.arm.in_group(self.section.group(), MACHINES, &names::machine(instance));
        for pause in SEARCH_PAUSES_MS.into_iter().map(Some).chain([None]) {
            if let Some(found) = self.arm.read_if_there::<Machine>(&self.show(&path))? {
                return self.found(instance, found).map(Some);
            }
            if let Some(pause) = pause {
                self.arm.call().wait(Duration::from_millis(pause));
            }
        }
        let tagged = self.tagged(instance)?;
        for machine in tagged.iter().filter(|found| ResourceId::parse(&found.id).is_some_and(|id| id.is_a(MACHINES))) {
            // Somebody moved it to another group.
            if let Some(found) = self.arm.read_if_there::<Machine>(&self.show(&machine.id))? {
                return self.found(instance, found).map(Some);
            }
        }
        let (name, group) = (names::machine(instance), self.section.group().to_owned());
        self.remove_parts(&Reference { name, group, ..Reference::default() })?;
        self.remove_left_alone(&tagged)?;
        Ok(None)
    }

    fn found(&self, instance: &str, machine: Machine) -> Result<Observed, Fault> {
        if !machine.may_belong_to(instance) {
            let message = format!("the machine {} carries the id of another instance", machine.own_name());
            return Err(Fault::conflict("azure.other-machine", message));
        }
        let handle = machine.reference(self.arm.subscription(), self.section).handle();
        let mut seen = observed(&machine, handle);
        self.add_addresses(std::slice::from_mut(&mut seen))?;
        Ok(seen)
    }

    /// Lists what carries the tag of an instance, in all groups.
    fn tagged(&self, instance: &str) -> Result<Vec<Resource>, Fault> {
        let filter = format!("tagName eq '{INSTANCE_TAG}' and tagValue eq '{}'", instance.replace('\'', "''"));
        let path = format!("/subscriptions/{}/resources", encoded(self.arm.subscription()));
        match self.arm.list(&Call::get(&path, RESOURCES).query("$filter", filter)) {
            // These credentials see nothing outside of the group.
            Err(fault) if fault.reaction == Reaction::Denied => {
                let group = format!("{}/resources", self.arm.group(self.section.group()));
                let filter = format!("tagName eq '{INSTANCE_TAG}' and tagValue eq '{}'", instance.replace('\'', "''"));
                let call = Call::get(&group, RESOURCES).query("$filter", filter);
                self.arm.list(&call).or_else(|fault| match fault.code.as_str() {
                    "azure.ResourceGroupNotFound" => Ok(Vec::new()),
                    _ => Err(fault),
                })
            }
            listed => listed,
        }
    }

    /// Removes the network and the rules that were made for a machine that was not, unless others use them.
    fn remove_left_alone(&self, tagged: &[Resource]) -> Result<(), Fault> {
        for resource in tagged {
            let Some(id) = ResourceId::parse(&resource.id) else { continue };
            if !id.is_a(NETWORKS) && !id.is_a(RULES) {
                continue;
            }
            let owner = resource.tags.as_ref().and_then(|tags| tags::get(tags, INFRASTRUCTURE_TAG));
            let owner = owner.or_else(|| names::owner_of_network(id.name, &resource.location));
            let Some(infrastructure) = owner else { continue };
            if id.is_a(NETWORKS) {
                self.remove_network(id.group, id.name)?;
            } else {
                self.remove_rules(id.group, infrastructure)?;
            }
        }
        Ok(())
    }

    /// Observes machines.
    pub(crate) fn observe(&self, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        let references: Vec<Reference> = handles.iter().map(Reference::of).collect();
        let mut seen = HashMap::new();
        if references.len() > MAX_SINGLE_LOOKUPS {
            let mut groups: Vec<String> =
                references.iter().map(|reference| reference.group.to_ascii_lowercase()).collect();
            groups.sort_unstable();
            groups.dedup();
            for group in groups {
                let group = if group.is_empty() { self.section.group() } else { &group };
                let (machines, is_whole) = self.list_with_states(group)?;
                seen.extend(machines.into_iter().map(|machine| (machine.own_name().to_ascii_lowercase(), machine)));
                if is_whole {
                    break;
                }
            }
        }
        let mut unclear: HashMap<&str, Fault> = HashMap::new();
        let mut absent = Vec::new();
        let mut is_cut_short = false;
        for reference in &references {
            let name = reference.name.as_str();
            if seen.contains_key(name) || unclear.contains_key(name) || absent.contains(&name) {
                continue;
            }
            if let Some(fault) = unclear.values().next().filter(|_| is_cut_short) {
                // The next look-up would fare no better.
                let fault = fault.clone();
                unclear.insert(name, fault);
                continue;
            }
            match self.look_up(reference) {
                Ok(Some(machine)) => drop(seen.insert(name.to_owned(), machine)),
                Ok(None) => absent.push(name),
                Err(fault) => {
                    is_cut_short = fault.reaction != Reaction::Denied;
                    unclear.insert(name, fault);
                }
            }
        }
        // If nothing is known of any of them, the call fails.
        if references.iter().all(|reference| unclear.contains_key(reference.name.as_str()))
            && let Some((_, fault)) = unclear.drain().next()
        {
            return Err(fault);
        }
        let answer = |(reference, handle): (&Reference, &Handle)| match (
            seen.get(&reference.name),
            unclear.get(reference.name.as_str()),
        ) {
            (Some(machine), _) => observed(machine, handle.clone()),
            (None, Some(fault)) => Observed::new(handle.clone(), Phase::Unknown).because(fault.message.clone()),
            (None, None) => Observed::new(handle.clone(), Phase::Gone),
        };
        let mut all: Vec<Observed> = references.iter().zip(handles).map(answer).collect();
        // States count all the same; addresses are added by the next pass.
        if let Err(fault) = self.add_addresses(&mut all) {
            log::warn(format!("the addresses of machines can't be read for now: {}", fault.message));
        }
        Ok(all)
    }

    /// Looks a machine up by its name, and by its tag where somebody moved it to another group; none if Azure says that it
    /// does not exist.
    fn look_up(&self, reference: &Reference) -> Result<Option<Machine>, Fault> {
        let reference = self.checked(reference.clone())?;
        let path = self.arm.in_group(&reference.group, MACHINES, &reference.name);
        if let Some(machine) = self.arm.read_if_there(&self.show(&path))? {
            return Ok(Some(machine));
        }
        for path in self.elsewhere(&reference)? {
            if let Some(machine) = self.arm.read_if_there(&self.show(&path))? {
                return Ok(Some(machine));
            }
        }
        Ok(None)
    }

    /// Returns the paths of a machine by its tag, outside of the group where it should be.
    pub(crate) fn elsewhere(&self, reference: &Reference) -> Result<Vec<String>, Fault> {
        let Some(instance) = names::instance_of(&reference.name) else { return Ok(Vec::new()) };
        let mut found = self.tagged(instance)?;
        let is_it = |id: &ResourceId| {
            id.is_a(MACHINES)
                && id.name.eq_ignore_ascii_case(&reference.name)
                && !id.group.eq_ignore_ascii_case(&reference.group)
        };
        found.retain(|resource| ResourceId::parse(&resource.id).filter(is_it).is_some());
        Ok(found.into_iter().map(|resource| resource.id).collect())
    }
}

/// Returns the observation of a machine.
pub(crate) fn observed(machine: &Machine, handle: Handle) -> Observed {
    let state = machine.state();
    let seen = Observed::new(handle, state.phase).with_machine(machine);
    match state.message {
        Some(message) => seen.because(message),
        None => seen,
    }
}
