//! Creation of a container group. The group's name is made of the instance id, so that one id has one group.

use occopus_azure_arm::{Arm, Call, Effect, Purpose, is_busy, names_missing_reference};
use occopus_sdk::{Fault, NodeRequest, Observed, Reaction};
use serde_json::Value;

use crate::group::Group;
use crate::handle::Reference;
use crate::section::Section;
use crate::settings::Settings;
use crate::{arm, body, names, network, resource_group};

pub(crate) fn create(request: &NodeRequest<Section>) -> Result<Observed, Fault> {
    let settings = Settings::read_or_fault(&request.scope.section)?;
    let name = names::group_name(&request.instance_id)?;
    // Mistakes are found before anything is sent.
    body::body(request, &settings, &name, None)?;
    let arm = arm::log_in(&request.scope, Purpose::Creating)?;
    let reference = Reference {
        name,
        subscription: arm.subscription().to_owned(),
        group: settings.resource_group.clone(),
        infrastructure: request.infrastructure_id.clone(),
        made: None,
        network: network::own_network(request, &settings),
    };
    if request.repeated
        && let Some(existing) = existing(&arm, request, &reference)?
    {
        return Ok(existing);
    }
    let mut made_network = false;
    let made = make(&arm, request, &settings, &reference, &mut made_network);
    made.or_else(|fault| after_refusal(&arm, request, &reference, made_network, fault))
}

/// Requests the group, in a network that is there.
fn make(
    arm: &Arm<'_>,
    request: &NodeRequest<Section>,
    settings: &Settings,
    reference: &Reference,
    made_network: &mut bool,
) -> Result<Observed, Fault> {
    let put = || {
        let joined = network::join(arm, request, settings, reference)?;
        let body = body::body(request, settings, &reference.name, joined.id.as_deref())?;
        Ok::<_, Fault>((body, joined.is_new))
    };
    let (body, is_new) = put()?;
    *made_network |= is_new;
    match send(arm, settings, reference, &body) {
        // The last group of the infrastructure took the network with it, a moment ago.
        Err(fault) if reference.network.is_some() && is_without_subnet(&fault) => {
            network::forget(arm, reference);
            let (body, is_new) = put()?;
            *made_network |= is_new;
            send(arm, settings, reference, &body)
        }
        sent => sent,
    }
    .and_then(|group| observed(arm, request, reference, &group))
}

/// Returns true if Azure refuses because the subnet is not there.
fn is_without_subnet(fault: &Fault) -> bool {
    let said = fault.message.to_lowercase();
    names_missing_reference(fault)
        || said.contains("subnet") && (said.contains("not found") || said.contains("not exist"))
}

fn send(arm: &Arm<'_>, settings: &Settings, reference: &Reference, body: &Value) -> Result<Group, Fault> {
    let call = Call::put(&reference.path(), arm::API_VERSION, body.clone()).may_have_effect();
    let group = resource_group::with(arm, reference, &settings.location, || arm.read::<Group>(&call))?;
    if reference.is_id(&group.id) {
        arm::forget_deletion(arm, reference);
        return Ok(group);
    }
    Err(arm.unreadable(Effect::Possible, "it is about another resource"))
}

/// Decides what follows from a refusal. Another attempt for the same instance may have made the group; a network that was made
/// for a group that can't be made is removed.
fn after_refusal(
    arm: &Arm<'_>,
    request: &NodeRequest<Section>,
    reference: &Reference,
    made_network: bool,
    fault: Fault,
) -> Result<Observed, Fault> {
    // What the group needs is missing: nothing is said of the group.
    let fault =
        if fault.reaction == Reaction::NotFound { Fault { reaction: Reaction::GiveUp, ..fault } } else { fault };
    match fault.reaction {
        // The next attempt, or `find`, takes up the network.
        Reaction::Retry if !is_busy(&fault) && made_network => {
            return Err(Fault { reaction: Reaction::UnknownOutcome, ..fault });
        }
        Reaction::Retry if !is_busy(&fault) => return Err(fault),
        Reaction::UnknownOutcome => return Err(fault),
        Reaction::Retry | Reaction::Conflict => {
            if let Some(existing) = existing(arm, request, reference)? {
                return Ok(existing);
            }
        }
        _ => {}
    }
    if made_network
        && fault.reaction != Reaction::Retry
        && let Err(left) = network::release(arm, reference)
    {
        // `find` removes it.
        return Err(Fault { reaction: Reaction::UnknownOutcome, ..fault }.detail(format!(
            "the network that was made for the container group is not removed yet: {}",
            left.message
        )));
    }
    Err(fault)
}

/// Returns the group of this instance, if an earlier attempt made it.
fn existing(arm: &Arm<'_>, request: &NodeRequest<Section>, reference: &Reference) -> Result<Option<Observed>, Fault> {
    match arm::read_group(arm, reference)? {
        None => Ok(None),
        Some(group) if group.is_going() => {
            let message = format!("the container group {} is being deleted", reference.name);
            Err(Fault::retry("azure.going", message))
        }
        Some(group) => observed(arm, request, reference, &group).map(Some),
    }
}

/// Returns the observation of a group of this name.
///
/// # Errors
/// `conflict` if it carries another instance id.
fn observed(
    arm: &Arm<'_>,
    request: &NodeRequest<Section>,
    reference: &Reference,
    group: &Group,
) -> Result<Observed, Fault> {
    if group.may_belong_to(&request.instance_id) {
        return Ok(group.observed(reference));
    }
    let message = format!("there is a container group {} at {} that is not ours", reference.name, arm.endpoint());
    Err(Fault::conflict("azure.not-ours", message))
}
