//! Calls of drivers, repeated as their faults tell.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::backoff::before_retry;
use super::{Trouble, World};
use crate::event::What;
use crate::ports::{CreateRequest, Driver, Fault, Observed, Reaction, Scope};
use crate::state::InstanceRecord;

/// A call that failed for good.
pub(super) struct Spent {
    pub(super) call: &'static str,
    pub(super) fault: Fault,
    pub(super) attempts: u32,
}

/// How a call ended that did not succeed.
pub(super) enum Ended {
    Cancelled,
    Spent(Spent),
}

/// The driver that serves a record.
pub(super) fn driver(world: &World, record: &InstanceRecord) -> Result<Arc<dyn Driver>, Fault> {
    let keyword = record.driver();
    world.plugins.driver(keyword).ok_or_else(|| {
        let message = format!("there is no driver for {keyword:?}; is its plugin still installed?");
        Fault::new(Reaction::GiveUp, "engine.no-plugin", message)
    })
}

/// Before a call is repeated: tells so and waits. Gives the fault back when there are no attempts left.
pub(super) async fn again(
    world: &World,
    record: &InstanceRecord,
    call: &'static str,
    attempt: u32,
    fault: Fault,
) -> Result<(), Ended> {
    if attempt >= world.settings.attempts {
        return Err(Ended::Spent(Spent { call, fault, attempts: attempt }));
    }
    let who = format!("{}/{call}", record.id);
    let pause = before_retry(&world.settings, attempt, &who, fault.retry_after);
    world.journal.tell(What::Retrying {
        node_name: record.node.clone(),
        call: call.into(),
        message: fault.message,
        seconds: pause.as_secs_f64(),
    });
    if world.pause(pause).await { Ok(()) } else { Err(Ended::Cancelled) }
}

/// Asks the cloud for the machine of an instance, until it answers.
pub(super) async fn find(world: &Arc<World>, record: &InstanceRecord) -> Result<Option<Observed>, Ended> {
    let give_up = |fault, attempts| Ended::Spent(Spent { call: "find", fault, attempts });
    let driver = driver(world, record).map_err(|fault| give_up(fault, 1))?;
    let scope = world.short_scope(record);
    let mut attempt = 1;
    loop {
        let _turn = turn(world, &world.cancel, record).await?;
        match driver.find(&scope, &record.id).await {
            Ok(found) => return Ok(found),
            Err(fault) if fault.reaction == Reaction::NotFound => return Ok(None),
            // To look changes nothing, so a lost answer is as good as none.
            Err(fault) if matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) => {
                drop(_turn);
                again(world, record, "find", attempt, fault).await?;
            }
            Err(fault) => return Err(give_up(fault, attempt)),
        }
        attempt += 1;
    }
}

/// A create that may be repeated under the same id. From here on a machine may exist: the record says so before anyone is
/// asked for it. It is written anew for every attempt, and as late as can be: the write is refused when another owns the
/// infrastructure by now, and then nobody is asked.
pub(super) async fn create_once(
    world: &Arc<World>,
    driver: &Arc<dyn Driver>,
    request: &CreateRequest,
    record: &InstanceRecord,
    events: Vec<What>,
) -> Result<Result<Observed, Fault>, Trouble> {
    let _turn = turn(world, &world.cancel, record).await.map_err(|_| Trouble::Cancelled)?;
    world.journal.put(record, events).await?;
    Ok(driver.create(request).await)
}

/// A destroy, once.
pub(super) async fn destroy_once(
    world: &Arc<World>,
    driver: &Arc<dyn Driver>,
    scope: &Scope,
    record: &InstanceRecord,
) -> Result<Result<(), Fault>, Ended> {
    let Some(handle) = &record.handle else { return Ok(Ok(())) };
    let _turn = turn(world, &world.cancel, record).await?;
    Ok(driver.destroy(scope, handle).await)
}

async fn turn(
    world: &World,
    cancel: &CancellationToken,
    record: &InstanceRecord,
) -> Result<Option<tokio::sync::OwnedSemaphorePermit>, Ended> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Ended::Cancelled),
        turn = world.endpoints.turn(&record.section) => Ok(turn),
    }
}

impl Trouble {
    /// A call's end as the end of a story about a node.
    pub(super) fn of(ended: Ended, fail: impl FnOnce(Spent) -> Self) -> Self {
        match ended {
            Ended::Cancelled => Self::Cancelled,
            Ended::Spent(spent) => fail(spent),
        }
    }
}
