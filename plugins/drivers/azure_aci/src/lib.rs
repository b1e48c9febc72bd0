//! The `azure_aci` driver: a node is a container group of Azure Container Instances, with one container.
//!
//! - The group's name is made of the instance's id, so that a request that is repeated makes no second group. Tags say whose it
//!   is; a group of that name with another instance's tag is not touched.
//! - A group is gone only when Azure says so of the group, or of the resource group, in the subscription that its handle
//!   names.
//! - Private groups of one infrastructure share a subnet, which goes with the last of them (`network`).
//! - Lists do not say whether a group runs: see `observe` for what is read beside them, and `state` for what follows.

mod addresses;
mod arm;
mod body;
mod check;
mod create;
mod credentials;
mod group;
mod handle;
mod names;
mod network;
mod observe;
mod once;
mod output;
mod ports;
mod resource_group;
mod section;
mod settings;
mod state;
#[cfg(test)]
mod tests;

use std::time::Duration;

use occopus_azure_arm::{Arm, Call, Ended, LOGIN_HOSTS, Purpose};
use occopus_sdk::http::Response;
use occopus_sdk::{
    About, Detail, Driver, Fault, Handle, Inventory, NodeRequest, Observed, Owned, Page, Phase, Reaction, Scope,
};
use serde_json::Value;

pub use credentials::Credentials;
use handle::Reference;
pub use section::Section;

/// Pauses of a search between answers that there is no group.
const SEARCH_PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_millis(1500), Duration::from_secs(3)];

/// Longest wait for a deletion in one call.
const MAX_DELETION_WAIT: Duration = Duration::from_secs(60);
/// Time that is left for the answer to the host when a wait ends.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

/// The driver.
pub struct AzureAci;

impl Driver for AzureAci {
    type Section = Section;
    type Credentials = Credentials;

    const ABOUT: About = About {
        name: "azure_aci",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "azure_aci",
        summary: "Container groups of Azure Container Instances",
        network: &["endpoint", LOGIN_HOSTS[0], LOGIN_HOSTS[1], LOGIN_HOSTS[2]],
        ..About::DRIVER
    };

    fn create(request: &NodeRequest<Section>) -> Result<Observed, Fault> {
        create::create(request)
    }

    fn find(scope: &Scope<Section>, instance_id: &str) -> Result<Option<Observed>, Fault> {
        find(scope, instance_id).map_err(not_an_absence)
    }

    fn observe(scope: &Scope<Section>, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        if handles.is_empty() {
            return Ok(Vec::new());
        }
        arm::log_in(scope, Purpose::Existing).and_then(|arm| observe::observe(&arm, handles)).map_err(not_an_absence)
    }

    fn destroy(scope: &Scope<Section>, handle: &Handle) -> Result<(), Fault> {
        let reference = Reference::of(handle);
        arm::log_in(scope, Purpose::Existing)
            .and_then(|arm| destroy(&arm, &scope.section, &reference))
            .map_err(not_an_absence)
    }

    fn check(request: &NodeRequest<Section>) -> Vec<Detail> {
        check::check(request)
    }

    fn tail(scope: &Scope<Section>, handle: &Handle, lines: u32) -> Result<String, Fault> {
        output::tail(&arm::log_in(scope, Purpose::Existing)?, &Reference::of(handle), lines)
    }
}

impl Inventory for AzureAci {
    fn list_owned(scope: &Scope<Section>, cursor: Option<&str>) -> Result<Page, Fault> {
        arm::log_in(scope, Purpose::Existing)
            .and_then(|arm| list_owned(&arm, &scope.section, cursor))
            .map_err(not_an_absence)
    }
}

/// Returns the reference to a group in the resource group of a section, by its name.
fn reference(arm: &Arm<'_>, section: &Section, name: String) -> Reference {
    let (subscription, group) = (arm.subscription().to_owned(), section.resource_group.trim().to_owned());
    Reference { name, subscription, group, ..Reference::default() }
}

fn find(scope: &Scope<Section>, instance_id: &str) -> Result<Option<Observed>, Fault> {
    let arm = arm::log_in(scope, Purpose::Existing)?;
    let wanted = reference(&arm, &scope.section, names::group_name(instance_id)?);
    if let Some(group) = search(&arm, &wanted)? {
        if !group.may_belong_to(instance_id) {
            let message = format!("there is a container group {} that is not ours", wanted.name);
            return Err(Fault::conflict("azure.not-ours", message));
        }
        let found = Reference::to(&group, &wanted.subscription, &wanted.group);
        return Ok(Some(group.observed(&found)));
    }
    // A creation may have died between the network and the group.
    if scope.section.may_have_own_network() {
        for (_, _, left) in network::abandoned(&arm, &wanted)?.iter().filter(|(instance, ..)| instance == instance_id) {
            network::release(&arm, left)?;
        }
    }
    Ok(None)
}

/// Reads a group, again and again for a while: a request may be on its way, and Azure may show late what it has made.
fn search(arm: &Arm<'_>, wanted: &Reference) -> Result<Option<group::Group>, Fault> {
    for pause in SEARCH_PAUSES {
        match arm::read_group(arm, wanted) {
            Ok(None) => {}
            Err(fault) if fault.reaction == Reaction::Retry => {}
            found_or_error => return found_or_error,
        }
        arm.call().wait(pause);
    }
    arm::read_group(arm, wanted)
}

/// Removes a group, the network with the last group in it, and the resource group if the user asks for it.
fn destroy(arm: &Arm<'_>, section: &Section, reference: &Reference) -> Result<(), Fault> {
    delete(arm, reference)?;
    network::release(arm, reference)?;
    if section.delete_resource_group == Some(true) { resource_group::remove(arm, reference) } else { Ok(()) }
}

/// Deletes a group. Azure may not know it yet, if it was made a moment ago: it is deleted again then.
fn delete(arm: &Arm<'_>, reference: &Reference) -> Result<(), Fault> {
    loop {
        if let Some(accepted) = arm.remove(&Call::delete(&reference.path(), arm::API_VERSION))? {
            arm::remember_deletion(arm, reference);
            return wait_for_deletion(arm, reference, &accepted);
        }
        // The answer names neither the group nor the subscription.
        let rest = arm::time_to_proof(arm, reference);
        match arm::read_group(arm, reference) {
            Ok(None) => return Ok(()),
            Ok(Some(group)) if group.is_going() => return Ok(()),
            Ok(Some(_)) => {
                let message =
                    format!("the container group {} was to be deleted, and Azure shows it as it was", reference.name);
                return Err(Fault::retry("azure.not-deleted", message));
            }
            Err(fault) if fault.code == arm::TOO_YOUNG_CODE && may_wait(arm, rest) => arm.call().wait(rest),
            Err(fault) => return Err(fault),
        }
    }
}

/// Waits until a group is gone whose deletion Azure has accepted. One without a network of ours goes by itself.
fn wait_for_deletion(arm: &Arm<'_>, reference: &Reference, accepted: &Response) -> Result<(), Fault> {
    let Some(operation) = arm.operation_of(accepted)? else { return Ok(()) };
    let is_running = match arm.wait(&operation, MAX_DELETION_WAIT)? {
        Ended::Succeeded => false,
        Ended::Failed(error) => return Err(Fault { reaction: Reaction::Retry, ..arm.failure(&error) }),
        Ended::StillRunning => true,
        Ended::Unknown => arm::read_group(arm, reference)?.is_some(),
    };
    if !is_running || reference.network.is_none() {
        return Ok(());
    }
    let message = format!("Azure is still deleting the container group {}", reference.name);
    Err(Fault::retry("azure.deleting", message).retry_after(ANSWER_MARGIN))
}

fn may_wait(arm: &Arm<'_>, time: Duration) -> bool {
    !arm.call().cancelled() && arm.call().remaining() > time + ANSWER_MARGIN
}

fn list_owned(arm: &Arm<'_>, section: &Section, cursor: Option<&str>) -> Result<Page, Fault> {
    let place = reference(arm, section, String::new());
    let call = match cursor {
        Some(next) => Call::follow(next),
        None => Call::get(&place.list_path(), arm::API_VERSION),
    };
    let page = match arm.page::<Value>(&call) {
        Err(fault) if fault.reaction == Reaction::NotFound => {
            arm::require_absence(fault, &place)?;
            return Ok(Page::default());
        }
        page => page?,
    };
    let mut machines = Vec::new();
    for group in arm::readable(page.items).iter().filter(|group| !group.is_going()) {
        let reference = Reference::to(group, &place.subscription, &place.group);
        if !arm::is_deleted(arm, &reference) {
            machines.extend(group.owned(&reference));
        }
    }
    if page.next.is_none() && section.may_have_own_network() {
        for (instance_id, infrastructure_id, left) in network::abandoned(arm, &place)? {
            let observed = Observed::new(left.handle(), Phase::Stopped)
                .because("only the network of the container group is there");
            machines.push(Owned { instance_id, infrastructure_id, observed });
        }
    }
    Ok(Page { machines, cursor: page.next })
}

/// Replaces `not-found`: a resource group or a network that does not exist must not be taken for a container group that is
/// gone.
fn not_an_absence(fault: Fault) -> Fault {
    if fault.reaction == Reaction::NotFound { Fault { reaction: Reaction::Retry, ..fault } } else { fault }
}

occopus_sdk::export_driver!(AzureAci, inventory);
