//! From whatever there is to nothing.

use std::sync::Arc;

use super::backoff::Polling;
use super::calls::{self, Ended, Tries};
use super::{Trouble, World};
use crate::event::What;
use crate::ports::{Observed, Reaction};
use crate::session::Refused;
use crate::state::InstanceRecord;
use crate::status::{InstanceState, Leftover};

/// What became of an instance that should go.
#[derive(Debug)]
pub(crate) enum Removal {
    /// The cloud says that it is gone; so is its record.
    Gone,
    /// It may still be there. Its record stays.
    Left(Leftover),
}

/// Removes an instance's machine, then its record. A machine that has `vanished` is removed all the same, since its cloud
/// may still keep something that was made for it.
#[tracing::instrument(level = "debug", skip_all, fields(node = record.node, instance = record.id))]
pub(crate) async fn remove(world: &Arc<World>, mut record: InstanceRecord, vanished: bool) -> Result<Removal, Trouble> {
    if record.has_no_machine() {
        forget(world, &record, false).await?;
        return Ok(Removal::Gone);
    }
    if record.is_unsettled() {
        match find_late(world, &record).await {
            Ok(None) => {
                forget(world, &record, false).await?;
                return Ok(Removal::Gone);
            }
            // Written down with the next step, before the machine is touched.
            Ok(Some(observed)) => {
                record.handle = Some(observed.handle.clone());
                record.absorb(observed);
            }
            Err(ended) => return left(world, record, ended).await,
        }
    }
    record.enter(InstanceState::Destroying, world.now());
    let event = What::NodeDropping { node_id: record.id.clone(), node_name: record.node.clone() };
    world.journal.put(&record, vec![event]).await?;
    match destroy(world, &record).await {
        Ok(()) => {
            forget(world, &record, vanished).await?;
            Ok(Removal::Gone)
        }
        Err(ended) => left(world, record, ended).await,
    }
}

/// Asks for the machine of an instance whose outcome is not known, until no request for it can still arrive. Its record stays
/// until then, so whoever comes next goes on when this is broken off.
async fn find_late(world: &Arc<World>, record: &InstanceRecord) -> Result<Option<Observed>, Ended> {
    let begun = world.clock.uptime();
    let mut polling = Polling::new(&world.settings);
    loop {
        if let Some(found) = calls::find(world, record).await? {
            return Ok(Some(found));
        }
        let waited = world.clock.uptime().saturating_sub(begun);
        let left = world.settings.late_request.saturating_sub(waited);
        if left.is_zero() {
            return Ok(None);
        }
        let (node_id, node_name) = (record.id.clone(), record.node.clone());
        let message = format!("a request for it may still arrive, waiting {} s", left.as_secs().max(1));
        world.journal.tell(What::Waiting { node_id, node_name, message });
        if !world.pause(polling.next().min(left)).await {
            return Err(Ended::Cancelled);
        }
    }
}

/// Asks for the end of the machine until it is gone.
pub(super) async fn destroy(world: &Arc<World>, record: &InstanceRecord) -> Result<(), Ended> {
    let mut tries = Tries::default();
    let driver = calls::driver(world, record).map_err(|fault| Ended::Spent(tries.spent("destroy", fault)))?;
    let scope = world.long_scope(record);
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
            _ => return Err(Ended::Spent(tries.spent("destroy", fault))),
        }
        calls::again(world, record, "destroy", &mut tries, fault).await?;
    }
}

async fn forget(world: &World, record: &InstanceRecord, vanished: bool) -> Result<(), Refused> {
    let event = What::NodeDropped { node_id: record.id.clone(), node_name: record.node.clone(), vanished };
    world.inventory.note_removed(&record.id);
    world.journal.forget(&record.id, event).await
}

async fn left(world: &World, mut record: InstanceRecord, ended: Ended) -> Result<Removal, Trouble> {
    let message = match ended {
        Ended::Cancelled => "stopped before it was removed".into(),
        Ended::Spent(spent) => crate::error::Reason::from(spent).to_string(),
    };
    record.message = Some(message.clone());
    let event = What::NodeLeft { node_id: record.id.clone(), node_name: record.node.clone(), message: message.clone() };
    world.journal.put(&record, vec![event]).await?;
    Ok(Removal::Left(leftover(&record, message)))
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
