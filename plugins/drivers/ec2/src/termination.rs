//! Termination of instances: requested, and confirmed.

use occopus_sdk::Fault;
use roxmltree::{Document, Node};

use crate::absence::Absence;
use crate::api::{Api, Effect, Form};
use crate::handle::Reference;
use crate::instances::expect_document;
use crate::refusal::NOT_FOUND_CODE;
use crate::xml::{child, items, text};

impl Api<'_> {
    /// Terminates a machine. Succeeds if the API says that it is terminated, or will be, or that its own account has
    /// none of this id.
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
                Err(Fault::retry(
                    "ec2.not-ended",
                    format!("termination of {id} was requested, and it is still {state:?}"),
                ))
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
}

/// Returns true if the answer shows this machine terminating or terminated; none if it is another document.
fn is_terminating(document: &Document, id: &str) -> Option<bool> {
    expect_document("TerminateInstancesResponse")(document)?;
    let root = document.root_element();
    let found = items(root, "instancesSet").find(|item| text(*item, "instanceId") == Some(id));
    // Old versions of the API have the second name.
    let state = |item: Node| {
        let state = child(item, "currentState").or_else(|| child(item, "shutdownState"))?;
        text(state, "name").map(str::to_owned)
    };
    Some(found.and_then(state).is_some_and(|state| matches!(state.as_str(), "shutting-down" | "terminated")))
}
