//! From whatever there is to nothing.

use std::sync::Arc;

use super::backoff::PollInterval;
use super::calls::{self, Attempts, CallError};
use super::{RunContext, TaskError};
use crate::event::EventKind;
use crate::lease::JournalError;
use crate::ports::{ObservedMachine, Reaction};
use crate::state::InstanceRecord;
use crate::status::{InstanceState, Leftover};

/// What became of an instance that should go.
#[derive(Debug)]
pub(crate) enum RemovalOutcome {
    /// The cloud says that it is gone; so is its record.
    Gone,
    /// It may still be there. Its record stays.
    Left(Leftover),
}

/// Removes an instance's machine, then its record. A machine that has `vanished` is removed all the same, since its cloud
/// may still keep something that was made for it.
#[tracing::instrument(level = "debug", skip_all, fields(node = record.node, instance = record.id))]
pub(crate) async fn remove(
    world: &Arc<RunContext>,
    mut record: InstanceRecord,
    vanished: bool,
) -> Result<RemovalOutcome, TaskError> {
    if record.has_no_machine() {
        delete_record(world, &record, false).await?;
        return Ok(RemovalOutcome::Gone);
    }
    if record.is_unresolved() {
        match find_until_deadline(world, &record).await {
            Ok(None) => {
                delete_record(world, &record, false).await?;
                return Ok(RemovalOutcome::Gone);
            }
            // Written down with the next step, before the machine is touched.
            Ok(Some(observed)) => {
                record.handle = Some(observed.handle.clone());
                record.apply_observation(observed);
            }
            Err(ended) => return record_leftover(world, record, ended).await,
        }
    }
    record.set_state(InstanceState::Destroying, world.now());
    let event = EventKind::NodeDropping { node_id: record.id.clone(), node_name: record.node.clone() };
    world.journal.put_instance(&record, vec![event]).await?;
    match destroy(world, &record).await {
        Ok(()) => {
            delete_record(world, &record, vanished).await?;
            Ok(RemovalOutcome::Gone)
        }
        Err(ended) => record_leftover(world, record, ended).await,
    }
}

/// Asks for the machine of an instance whose outcome is not known, until no request for it can still arrive. Its record stays
/// until then, so whoever comes next goes on when this is broken off.
async fn find_until_deadline(
    world: &Arc<RunContext>,
    record: &InstanceRecord,
) -> Result<Option<ObservedMachine>, CallError> {
    let begun = world.clock.uptime();
    let mut polling = PollInterval::new(&world.settings);
    loop {
        if let Some(found) = calls::find(world, record).await? {
            return Ok(Some(found));
        }
        let waited = world.clock.uptime().saturating_sub(begun);
        let left = world.settings.late_request_window.saturating_sub(waited);
        if left.is_zero() {
            return Ok(None);
        }
        let (node_id, node_name) = (record.id.clone(), record.node.clone());
        let message = format!("a request for it may still arrive, waiting {} s", left.as_secs().max(1));
        world.journal.emit(EventKind::Waiting { node_id, node_name, message });
        if !world.sleep_unless_cancelled(polling.next().min(left)).await {
            return Err(CallError::Cancelled);
        }
    }
}

/// Asks for the end of the machine until it is gone.
pub(super) async fn destroy(world: &Arc<RunContext>, record: &InstanceRecord) -> Result<(), CallError> {
    let mut tries = Attempts::default();
    let driver =
        calls::driver_for(world, record).map_err(|fault| CallError::Failed(tries.failed_call("destroy", fault)))?;
    let scope = world.mutation_scope(record);
    loop {
        let fault = match calls::destroy_once(world, &driver, &scope, record, &mut tries).await? {
            Ok(()) => return Ok(()),
            Err(fault) => fault,
        };
        match fault.reaction {
            Reaction::NotFound => return Ok(()),
            Reaction::Retry | Reaction::NoCapacity => {}
            Reaction::UnknownOutcome => {
                if calls::find(world, record).await?.is_none() {
                    return Ok(());
                }
            }
            _ => return Err(CallError::Failed(tries.failed_call("destroy", fault))),
        }
        calls::back_off(world, record, "destroy", &mut tries, fault).await?;
    }
}

async fn delete_record(world: &RunContext, record: &InstanceRecord, vanished: bool) -> Result<(), JournalError> {
    let event = EventKind::NodeDropped { node_id: record.id.clone(), node_name: record.node.clone(), vanished };
    world.known_instances.note_removed(&record.id);
    world.journal.delete_instance(&record.id, event).await
}

async fn record_leftover(
    world: &RunContext,
    mut record: InstanceRecord,
    ended: CallError,
) -> Result<RemovalOutcome, TaskError> {
    let message = match ended {
        CallError::Cancelled => "stopped before it was removed".into(),
        CallError::Failed(spent) => crate::error::FailureReason::from(spent).to_string(),
    };
    record.message = Some(message.clone());
    let event =
        EventKind::NodeLeft { node_id: record.id.clone(), node_name: record.node.clone(), message: message.clone() };
    world.journal.put_instance(&record, vec![event]).await?;
    Ok(RemovalOutcome::Left(leftover(&record, message)))
}

/// An instance as something that is left.
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
