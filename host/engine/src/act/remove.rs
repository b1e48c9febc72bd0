//! Removal of one instance: its machine, then its record.

use std::sync::Arc;
use std::time::Duration;

use super::backoff::PollInterval;
use super::calls::{self, Attempts, CallError};
use super::{RunContext, TaskError, elapsed};
use crate::event::EventKind;
use crate::lease::JournalError;
use crate::ports::{ObservedMachine, Reaction};
use crate::state::InstanceRecord;
use crate::status::{InstanceState, Leftover};

/// The outcome of a removal.
#[derive(Debug)]
pub(crate) enum RemovalOutcome {
    /// The cloud reports that the machine is gone, and the record is deleted.
    Gone,
    /// The machine may still exist, and its record stays.
    Left(Leftover),
}

/// Removes an instance's machine, then its record. A machine that has `vanished` is removed all the same, since its cloud
/// may still keep something that was made for it.
#[tracing::instrument(level = "debug", skip_all, fields(node = record.node, instance = record.id))]
pub(crate) async fn remove(
    ctx: &Arc<RunContext>,
    mut record: InstanceRecord,
    vanished: bool,
) -> Result<RemovalOutcome, TaskError> {
    if record.has_no_machine() {
        delete_record(ctx, &record, false).await?;
        return Ok(RemovalOutcome::Gone);
    }
    if record.is_unresolved() {
        match find_until_deadline(ctx, &record).await {
            Ok(None) => {
                delete_record(ctx, &record, false).await?;
                return Ok(RemovalOutcome::Gone);
            }
            // Recorded with the next write, before the machine is destroyed.
            Ok(Some(observed)) => {
                record.handle = Some(observed.handle.clone());
                record.apply_observation(observed);
            }
            Err(error) => return record_leftover(ctx, record, error).await,
        }
    }
    record.set_state(InstanceState::Destroying, ctx.now());
    let event = EventKind::NodeDropping { node_id: record.id.clone(), node_name: record.node.clone() };
    ctx.journal.put_instance(&record, vec![event]).await?;
    loop {
        let late = match destroy(ctx, &record).await {
            Ok(()) if may_still_be_created(ctx, &record) => find_until_deadline(ctx, &record).await,
            Ok(()) => Ok(None),
            Err(error) => Err(error),
        };
        match late {
            Ok(None) => {
                delete_record(ctx, &record, vanished).await?;
                return Ok(RemovalOutcome::Gone);
            }
            Ok(Some(observed)) => {
                record.handle = Some(observed.handle.clone());
                record.apply_observation(observed);
                ctx.journal.put_instance(&record, Vec::new()).await?;
            }
            Err(error) => return record_leftover(ctx, record, error).await,
        }
    }
}

/// Returns whether an earlier request for the machine, whose answer was lost, may arrive now that the machine is gone.
/// All requests were sent before the machine ran.
fn may_still_be_created(ctx: &RunContext, record: &InstanceRecord) -> bool {
    let running = record.running_at.map_or(Duration::ZERO, |since| elapsed(since, ctx.monotonic.now()));
    record.has_lost_answer && running < ctx.settings.late_request_window
}

/// Finds the machine of an instance with an unresolved outcome, until no request for it can still arrive. Its record
/// stays as a tombstone until then, so that the next run can continue if this one ends early.
pub(super) async fn find_until_deadline(
    ctx: &Arc<RunContext>,
    record: &InstanceRecord,
) -> Result<Option<ObservedMachine>, CallError> {
    let started = ctx.clock.uptime();
    let mut polling = PollInterval::new(&ctx.settings);
    loop {
        if let Some(found) = calls::find(ctx, record).await? {
            return Ok(Some(found));
        }
        let waited = ctx.clock.uptime().saturating_sub(started);
        let remaining = ctx.settings.late_request_window.saturating_sub(waited);
        if remaining.is_zero() {
            return Ok(None);
        }
        let (node_id, node_name) = (record.id.clone(), record.node.clone());
        let message = format!("a late request may still create the machine; waiting {} s", remaining.as_secs().max(1));
        ctx.journal.emit(EventKind::Waiting { node_id, node_name, message });
        if !ctx.sleep_unless_cancelled(polling.next().min(remaining)).await {
            return Err(CallError::Cancelled);
        }
    }
}

/// Destroys the machine; repeats the call until the machine is gone.
pub(super) async fn destroy(ctx: &Arc<RunContext>, record: &InstanceRecord) -> Result<(), CallError> {
    let mut attempts = Attempts::default();
    let driver =
        calls::driver_for(ctx, record).map_err(|fault| CallError::Failed(attempts.failed_call("destroy", fault)))?;
    let scope = ctx.mutation_scope(record);
    loop {
        let fault = match calls::destroy_once(ctx, &driver, &scope, record, &mut attempts).await? {
            Ok(()) => return Ok(()),
            Err(fault) => fault,
        };
        match fault.reaction {
            Reaction::NotFound => return Ok(()),
            Reaction::Retry | Reaction::NoCapacity => {}
            Reaction::UnknownOutcome => {
                if calls::find(ctx, record).await?.is_none() {
                    return Ok(());
                }
            }
            _ => return Err(CallError::Failed(attempts.failed_call("destroy", fault))),
        }
        calls::back_off(ctx, record, "destroy", &mut attempts, fault).await?;
    }
}

async fn delete_record(ctx: &RunContext, record: &InstanceRecord, vanished: bool) -> Result<(), JournalError> {
    let event = EventKind::NodeDropped { node_id: record.id.clone(), node_name: record.node.clone(), vanished };
    ctx.known_instances.note_removed(&record.id);
    ctx.journal.delete_instance(&record.id, event).await
}

async fn record_leftover(
    ctx: &RunContext,
    mut record: InstanceRecord,
    error: CallError,
) -> Result<RemovalOutcome, TaskError> {
    let message = match error {
        CallError::Cancelled => "stopped before it was removed".into(),
        CallError::Failed(failed) => crate::error::FailureReason::from(failed).to_string(),
    };
    record.message = Some(message.clone());
    let event =
        EventKind::NodeLeft { node_id: record.id.clone(), node_name: record.node.clone(), message: message.clone() };
    ctx.journal.put_instance(&record, vec![event]).await?;
    Ok(RemovalOutcome::Left(leftover(&record, message)))
}

/// Returns an instance as a leftover of a run.
pub(crate) fn leftover(record: &InstanceRecord, message: String) -> Leftover {
    Leftover {
        node: record.node.clone(),
        instance: record.id.clone(),
        driver: record.driver().into(),
        state: record.state,
        handle: record.handle.as_ref().map(|handle| handle.data.clone()),
        message,
    }
}
