//! Creation of machines: one PUT, whose name is the idempotency token.

use std::time::Duration;

use occopus_azure_arm::{Call, is_busy, names_missing_reference};
use occopus_sdk::{Fault, NodeRequest, Observed, Phase, Reaction};

use crate::body::{Placement, body};
use crate::handle::Reference;
use crate::machine::Machine;
use crate::network::Made;
use crate::preflight::user_data_too_long;
use crate::section::{Section, given};
use crate::snapshot::{MACHINES, Stage, now};
use crate::{Azure, COMPUTE, names};

/// Attempts when something that the machine refers to vanishes: the last machine of the infrastructure went at the same time.
const MAX_ATTEMPTS: usize = 4;
/// Pause before a request that met another change of what it refers to.
const BUSY_PAUSE: Duration = Duration::from_secs(2);
/// Pauses between two lists, until Azure has found room for a machine or has none. After them, `observe` sees it.
const PLACEMENT_PAUSES_MS: [u64; 9] = [250, 500, 1000, 1000, 2000, 2000, 3000, 3000, 3000];
/// Time that is left for the answer to the host.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// Codes of a PUT of what exists.
pub(crate) const EXISTS: [&str; 3] =
    ["azure.PreconditionFailed", "azure.ConditionNotMet", "azure.PropertyChangeNotAllowed"];
/// Type of network cards.
const CARDS: &str = "Microsoft.Network/networkInterfaces";

pub(crate) fn create(azure: &Azure, request: &NodeRequest<Section>) -> Result<Observed, Fault> {
    if let Some(message) = request.user_data.as_ref().and_then(|data| user_data_too_long(data)) {
        return Err(Fault::give_up("azure.user-data-too-long", message)
            .at("#user-data", "this template makes it; let the machine fetch large files itself"));
    }
    let mut made = Made::default();
    let outcome = azure.put_machine(request, &mut made).and_then(|machine| azure.await_placement(request, machine));
    match outcome {
        // What was made for this machine goes again, so that nothing is left of the attempt.
        Err(fault) if made.any && fault.reaction != Reaction::UnknownOutcome => Err(azure.undo(request, fault)),
        outcome => outcome,
    }
}

impl Azure<'_> {
    /// Makes the machine, and before it what it shares with others; returns the existing one if it is there.
    fn put_machine(&self, request: &NodeRequest<Section>, made: &mut Made) -> Result<Machine, Fault> {
        let mut attempt = 1;
        loop {
            let fault = match self.placement(request, made).and_then(|placement| self.put(request, &placement)) {
                Err(fault) => fault,
                done => return done,
            };
            if attempt == MAX_ATTEMPTS || !is_busy(&fault) && !names_missing_reference(&fault) {
                return Err(fault);
            }
            attempt += 1;
            if is_busy(&fault) {
                self.arm.call().wait(fault.retry_after.unwrap_or(BUSY_PAUSE).min(BUSY_PAUSE));
                continue;
            }
            if fault.code == "azure.ResourceGroupNotFound" {
                self.make_group(&request.infrastructure_id)?;
            } else if !self.section.has_own_network() && !self.section.wants_public_address() {
                // The user's own subnet does not exist.
                return Err(fault);
            }
            self.forget_shared(&request.infrastructure_id, &self.section.public_ports());
        }
    }

    fn placement(&self, request: &NodeRequest<Section>, made: &mut Made) -> Result<Placement, Fault> {
        if let Some(card) = given(self.section.nic_name.as_ref()) {
            return Ok(Placement::Card(self.arm.in_group(self.section.group(), CARDS, card)));
        }
        let id = self.subnet(request, made)?;
        Ok(Placement::Subnet { id, rules: self.rules(request, made)? })
    }

    fn put(&self, request: &NodeRequest<Section>, placement: &Placement) -> Result<Machine, Fault> {
        let name = names::machine(&request.instance_id);
        let path = self.arm.in_group(self.section.group(), MACHINES, &name);
        let call = Call::put(&path, COMPUTE, body(request, placement)).header("if-none-match", "*").may_have_effect();
        let machine: Machine = match self.arm.read(&call) {
            Err(fault) if EXISTS.contains(&fault.code.as_str()) => return self.existing(request, &path),
            Err(fault) if is_about_own_disk(request, &fault) => return Err(self.free_disk(request, fault)),
            answer => answer?,
        };
        if !machine.is_named(&name) {
            return Err(self.arm.unreadable(occopus_azure_arm::Effect::Possible, "it is about another machine"));
        }
        Ok(machine)
    }

    /// Removes the parts of an earlier attempt whose machine is gone, and returns the fault as one to try again after.
    fn free_disk(&self, request: &NodeRequest<Section>, fault: Fault) -> Fault {
        match self.remove_parts(&self.reference_for(request)) {
            Ok(()) => Fault { reaction: Reaction::Retry, ..fault }.retry_after(BUSY_PAUSE),
            Err(kept) => kept,
        }
    }

    /// Returns the machine that has the name already: an earlier attempt made it.
    fn existing(&self, request: &NodeRequest<Section>, path: &str) -> Result<Machine, Fault> {
        let found: Option<Machine> = self.arm.read_if_there(&self.show(path))?;
        match found {
            Some(machine) if machine.may_belong_to(&request.instance_id) && !machine.is_being_deleted() => Ok(machine),
            Some(machine) if machine.may_belong_to(&request.instance_id) => {
                Err(Fault::retry("azure.being-deleted", "Azure is still deleting the machine of an earlier attempt"))
            }
            Some(machine) => {
                let message = format!("the machine {} exists, and is another's", machine.own_name());
                Err(Fault::conflict("azure.other-machine", message))
            }
            None => Err(Fault::retry("azure.changing", "the machine existed a moment ago, and does not any more")),
        }
    }

    /// Waits until Azure has found room for the machine, for some seconds at most. One for which there is none is removed.
    fn await_placement(&self, request: &NodeRequest<Section>, machine: Machine) -> Result<Observed, Fault> {
        let reference = self.reference_for(request);
        let call = self.arm.call();
        let mut has_failed = machine.failure().is_some();
        for pause in PLACEMENT_PAUSES_MS.map(Duration::from_millis) {
            if has_failed || call.cancelled() || call.remaining() < ANSWER_MARGIN + pause {
                break;
            }
            let begun = now();
            call.wait(pause);
            match self.snapshot(&reference.group, begun).map(|machines| machines.stage(&reference.name)) {
                Ok(Some(Stage::Failed)) => has_failed = true,
                Ok(None | Some(Stage::Creating)) => {}
                // The machine is there, whatever else is wrong: `observe` goes on.
                Ok(Some(_)) | Err(_) => break,
            }
        }
        if has_failed && let Some(fault) = self.lack_of_room(&reference) {
            return Err(self.remove_without_room(&reference, fault));
        }
        Ok(Observed::new(reference.handle(), Phase::Pending).with_machine(&machine))
    }

    /// Returns the fault of a machine for which Azure has no room; none if it failed for another reason.
    fn lack_of_room(&self, reference: &Reference) -> Option<Fault> {
        let path = self.arm.in_group(&reference.group, MACHINES, &reference.name);
        let machine: Machine = self.arm.read(&self.show(&path)).ok()?;
        let fault = self.arm.failure(&machine.failure()?);
        (fault.reaction == Reaction::NoCapacity).then_some(fault)
    }

    fn remove_without_room(&self, reference: &Reference, fault: Fault) -> Fault {
        match self.remove_machine(reference).and_then(|machines| self.remove_shared_after(reference, &machines)) {
            Ok(()) => fault,
            // It must not be forgotten.
            Err(left) => Fault { reaction: Reaction::UnknownOutcome, ..fault }
                .detail(format!("the machine that has no room is not removed yet: {}", left.message)),
        }
    }

    /// Removes what this call made beside the machine that could not be made, and returns the fault.
    fn undo(&self, request: &NodeRequest<Section>, fault: Fault) -> Fault {
        let group = self.section.group();
        match self.remove_shared(group, &request.infrastructure_id, &self.section.place()) {
            Ok(()) => fault,
            // `find` removes it.
            Err(left) => Fault { reaction: Reaction::UnknownOutcome, ..fault }
                .detail(format!("the network that was made for it is not removed yet: {}", left.message)),
        }
    }

    fn reference_for(&self, request: &NodeRequest<Section>) -> Reference {
        Reference {
            name: names::machine(&request.instance_id),
            subscription: self.arm.subscription().to_owned(),
            group: self.section.group().to_owned(),
            location: self.section.place(),
            infrastructure: request.infrastructure_id.clone(),
        }
    }
}

/// Returns true if Azure refuses because the machine's disk exists.
fn is_about_own_disk(request: &NodeRequest<Section>, fault: &Fault) -> bool {
    let disk = names::part(&request.infrastructure_id, &request.instance_id);
    let said = fault.message.to_ascii_lowercase();
    fault.reaction == Reaction::Conflict && said.contains(&disk) && said.contains("already exists")
}

/// Adds what Azure says of a machine to an observation.
pub(crate) trait WithMachine {
    /// Adds the attributes.
    fn with_machine(self, machine: &Machine) -> Self;
}

impl WithMachine for Observed {
    fn with_machine(mut self, machine: &Machine) -> Self {
        let size = machine.properties.hardware_profile.as_ref().and_then(|profile| profile.vm_size.clone());
        let zone = machine.zones.iter().flatten().next().cloned();
        let name = Some(machine.own_name().to_owned()).filter(|name| !name.is_empty());
        let location = Some(machine.location.clone()).filter(|location| !location.is_empty());
        for (key, value) in [
            ("id", machine.properties.vm_id.clone()),
            ("name", name),
            ("size", size),
            ("location", location),
            ("zone", zone),
        ] {
            if let Some(value) = value {
                self = self.attribute(key, value);
            }
        }
        self
    }
}
