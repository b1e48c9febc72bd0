//! The end of instances: asked for, and confirmed.

use std::collections::HashMap;

use occopus_sdk::{Fault, log};
use roxmltree::{Document, Node};

use crate::absence::Absence;
use crate::api::{Api, Effect, Form};
use crate::handle::Reference;
use crate::instance::Ec2Instance;
use crate::instances::expect_document;
use crate::refusal::NOT_FOUND_CODE;
use crate::xml::{child, items, text};

impl Api<'_> {
    /// Terminates a machine. Ok when the API says that it is, or will be, or that its own account has none of this id.
    pub(crate) fn terminate(&self, machine: &Reference) -> Result<(), Fault> {
        let id = &machine.id;
        let form = Form::new("TerminateInstances").add("InstanceId.1", id);
        let known = match self.call(Effect::None, form, |document| is_terminating(document, id)) {
            Ok(true) => return Ok(()),
            // An answer without the machine's state.
            Ok(false) => true,
            Err(fault) if fault.code == NOT_FOUND_CODE => false,
            Err(fault) => return Err(fault),
        };
        match self.find_by_id(id)? {
            Some(seen) if !seen.is_alive() => Ok(()),
            Some(seen) => {
                let state = seen.observed().phase;
                Err(Fault::retry("ec2.not-ended", format!("{id} was asked to terminate, and is {state:?} still")))
            }
            None => match self.judge_absence(machine, known)? {
                Absence::Gone => Ok(()),
                Absence::TooEarly => {
                    self.require_no_other_account(machine)?;
                    let message = format!("the cloud does not know {id} yet, which was made less than two minutes ago");
                    Err(Fault::retry("ec2.too-early", message))
                }
            },
        }
    }

    /// Terminates what carries the id of a machine that lives, beside that machine: a creation that the network delivered
    /// twice to a cloud that ignores client tokens. One that can't be terminated now is seen again at the next look.
    pub(crate) fn remove_duplicates(&self, machines: &[Reference], seen: &HashMap<String, Ec2Instance>) {
        if self.section.is_amazon() {
            return;
        }
        let lives = |machine: &&Reference| seen.get(&machine.id).is_some_and(Ec2Instance::is_alive);
        let owners: HashMap<&str, &str> = machines
            .iter()
            .filter(lives)
            .filter_map(|machine| Some((machine.instance.as_deref()?, machine.id.as_str())))
            .collect();
        let asked = |id: &str| machines.iter().any(|machine| machine.id == id);
        for other in seen.values().filter(|other| other.is_alive()) {
            let Some(owner) = other.instance_id().and_then(|mark| owners.get(mark)) else { continue };
            if *owner == other.id || asked(&other.id) {
                continue;
            }
            log::warn(format!("{} carries the same id as {owner}: it is terminated", other.id));
            if let Err(fault) = self.terminate(&other.reference()) {
                log::warn(format!("{} can't be terminated yet: {fault}", other.id));
            }
        }
    }
}

/// Does the answer show this machine on its way to its end? None when it is another document.
fn is_terminating(document: &Document, id: &str) -> Option<bool> {
    expect_document("TerminateInstancesResponse")(document)?;
    let root = document.root_element();
    let found = items(root, "instancesSet").find(|item| text(*item, "instanceId") == Some(id));
    // The second name is of old versions of the API.
    let state = |item: Node| {
        let state = child(item, "currentState").or_else(|| child(item, "shutdownState"))?;
        text(state, "name").map(str::to_owned)
    };
    Some(found.and_then(state).is_some_and(|state| matches!(state.as_str(), "shutting-down" | "terminated")))
}
