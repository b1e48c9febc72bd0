//! Removal of machines: one DELETE takes the card, the address and the disk with it.

use std::time::Duration;

use occopus_azure_arm::{Call, ResourceId};
use occopus_sdk::{Fault, Handle, Reaction};

use crate::handle::Reference;
use crate::snapshot::{MACHINES, Snapshot, Stage, now};
use crate::{Azure, COMPUTE};

/// Pauses between two lists; the last one is repeated.
const PAUSES_MS: [u64; 6] = [200, 300, 500, 1000, 2000, 4000];
/// Lists after which a machine that is not being deleted is told of: Azure has not begun to delete it, or failed.
const MAX_UNCHANGED: usize = 6;
/// Time that is left for the answer to the host.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

impl Azure<'_> {
    /// Removes a machine with everything that was made for it, in whatever state it is.
    pub(crate) fn destroy(&self, handle: &Handle) -> Result<(), Fault> {
        let reference = self.checked(Reference::of(handle))?;
        let machines = self.remove_machine(&reference)?;
        self.remove_shared_after(&reference, &machines)
    }

    /// Returns a reference of this subscription; the group and the location are those of the section where it has none.
    ///
    /// # Errors
    /// `denied` if it is of another subscription, in which these credentials see nothing.
    pub(crate) fn checked(&self, mut reference: Reference) -> Result<Reference, Fault> {
        let ours = self.arm.subscription();
        if !reference.subscription.is_empty() && !reference.subscription.eq_ignore_ascii_case(ours) {
            let Reference { name, subscription, .. } = &reference;
            let message = format!(
                "these credentials are for subscription {ours}, and {name} was made in subscription {subscription}"
            );
            return Err(Fault::denied("azure.other-subscription", message)
                .detail(format!("Give the rule in auth_data.yaml the `subscription_id` {subscription}.")));
        }
        if reference.group.is_empty() {
            reference.group = self.section.group().to_owned();
        }
        if reference.location.is_empty() {
            reference.location = self.section.place();
        }
        Ok(reference)
    }

    /// Removes a machine, and waits until Azure no longer lists it. Returns our machines at that moment.
    pub(crate) fn remove_machine(&self, reference: &Reference) -> Result<Snapshot, Fault> {
        let path = self.arm.in_group(&reference.group, MACHINES, &reference.name);
        let mut machines = None;
        if self.request_removal(&path)? {
            machines = Some(self.await_removal(reference)?);
        } else {
            // Somebody may have moved it to another group.
            for machine in self.elsewhere(reference)? {
                if self.request_removal(&machine)? {
                    let group = ResourceId::parse(&machine).map_or(reference.group.as_str(), |id| id.group);
                    let moved = Reference { group: group.to_owned(), ..reference.clone() };
                    self.await_removal(&moved)?;
                    self.remove_parts(&moved)?;
                }
            }
        }
        // Azure may have kept parts of one that failed, or that somebody locked; one that was gone took none with it.
        self.remove_parts(reference)?;
        machines.map_or_else(|| self.snapshot(&reference.group, now()), Ok)
    }

    /// Requests the removal of a machine; false if Azure says that it does not exist.
    fn request_removal(&self, path: &str) -> Result<bool, Fault> {
        let call = Call::delete(path, COMPUTE).query("forceDeletion", "true");
        self.arm.remove(&call).map(|answer| answer.is_some())
    }

    /// Returns true if Azure says when a request may be repeated, and that is within the time of this call.
    fn may_wait_for(&self, fault: &Fault) -> bool {
        let left = self.arm.call().remaining();
        fault.reaction == Reaction::Retry && fault.retry_after.is_some_and(|delay| left > delay + ANSWER_MARGIN)
    }

    fn await_removal(&self, reference: &Reference) -> Result<Snapshot, Fault> {
        let (name, call) = (&reference.name, self.arm.call());
        let mut unchanged = 0;
        let last = PAUSES_MS[PAUSES_MS.len() - 1];
        for pause in PAUSES_MS.into_iter().chain(std::iter::repeat(last)) {
            let pause = Duration::from_millis(pause);
            if call.cancelled() || call.remaining() < ANSWER_MARGIN + pause {
                break;
            }
            let begun = now();
            call.wait(pause);
            let machines = match self.snapshot(&reference.group, begun) {
                // Azure has accepted the deletion, and wants fewer requests.
                Err(fault) if self.may_wait_for(&fault) => {
                    call.wait(fault.retry_after.unwrap_or_default());
                    continue;
                }
                listed => listed?,
            };
            match machines.stage(name) {
                None => return Ok(machines),
                Some(Stage::Deleting) => call.progress("waiting until Azure has deleted it", None),
                Some(_) => unchanged += 1,
            }
            if unchanged >= MAX_UNCHANGED {
                let message = format!("the machine {name} was to be deleted, and Azure shows it as it was");
                return Err(Fault::retry("azure.not-deleted", message));
            }
        }
        Err(Fault::retry("azure.being-deleted", format!("Azure is still deleting the machine {name}"))
            .retry_after(ANSWER_MARGIN))
    }
}
