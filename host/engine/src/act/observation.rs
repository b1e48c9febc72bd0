//! Single observations of one machine by its cloud.

use std::sync::Arc;

use super::{RunContext, TaskError, calls};
use crate::error::FailureReason;
use crate::ports::{Fault, Handle, ObservedMachine, Phase, Reaction};
use crate::state::InstanceRecord;

/// Observes the machine of an instance once.
pub(super) async fn observe(ctx: &Arc<RunContext>, record: &InstanceRecord) -> Result<ObservedMachine, Fault> {
    let driver = calls::driver_for(ctx, record)?;
    let Some(handle) = &record.handle else {
        return Err(Fault::new(Reaction::Retry, "engine.no-handle", "the machine of this instance is not known"));
    };
    let answer = ctx.calls.batcher.observe(&driver, &ctx.query_scope(record), handle).await;
    gone_if_not_found(answer, handle)
}

/// Observes the machine of an instance. If it seems to have died, it is observed again after the confirm delay.
pub(super) async fn observe_confirmed(
    ctx: &Arc<RunContext>,
    record: &InstanceRecord,
) -> Result<Result<ObservedMachine, Fault>, TaskError> {
    let answer = observe(ctx, record).await;
    if !is_newly_dead(record, &answer) {
        return Ok(answer);
    }
    if !ctx.sleep_unless_cancelled(ctx.settings.confirm_delay).await {
        return Err(TaskError::Cancelled);
    }
    Ok(observe(ctx, record).await)
}

/// Returns whether an answer reports the death of an instance that was not recorded as dead.
pub(super) fn is_newly_dead(record: &InstanceRecord, answer: &Result<ObservedMachine, Fault>) -> bool {
    matches!(answer, Ok(seen) if seen.phase.is_dead()) && !record.is_dead()
}

/// Converts a `not-found` fault to an observation of a machine that is gone.
pub(super) fn gone_if_not_found(
    answer: Result<ObservedMachine, Fault>,
    handle: &Handle,
) -> Result<ObservedMachine, Fault> {
    match answer {
        Err(fault) if fault.reaction == Reaction::NotFound => Ok(ObservedMachine {
            handle: handle.clone(),
            phase: Phase::Gone,
            addresses: Vec::new(),
            attributes: Vec::new(),
            message: None,
        }),
        answer => answer,
    }
}

/// Returns whether the same query may succeed later. A query changes nothing, so a lost answer is no unresolved outcome.
pub(super) fn is_retryable(fault: &Fault) -> bool {
    matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome | Reaction::NoCapacity)
}

/// Returns the failure of an instance whose machine does not run any more: it "stopped", for instance.
pub(super) fn machine_failure(change: &str, record: &InstanceRecord) -> FailureReason {
    FailureReason::Machine { what: change.into(), message: record.message.clone() }
}
