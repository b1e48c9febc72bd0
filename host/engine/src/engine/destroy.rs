//! The removal of an infrastructure.

use tokio_util::sync::CancellationToken;

use super::Engine;
use super::existing::load_existing;
use super::infrastructure::{join_leftovers, set_state};
use super::owned::OwnedInfrastructure;
use super::removal::{RemovalReport, remove_all};
use crate::act::leftover;
use crate::dispatch::RunEnd;
use crate::error::EngineError;
use crate::id::InfrastructureId;
use crate::request::{RunHandle, StopSignal};
use crate::state::load_instances;
use crate::status::{DestroyReport, InfrastructureState};

pub(super) async fn destroy(
    engine: &Engine,
    id: &InfrastructureId,
    run: RunHandle,
) -> Result<DestroyReport, EngineError> {
    load_existing(engine, id).await?;
    let lease = engine.acquire_lease(id, run.events).await?;
    let outcome = destroy_owned(OwnedInfrastructure { engine, id, lease: &lease }, &run.stop).await;
    lease.revoke().await;
    outcome
}

#[tracing::instrument(name = "destroy", level = "debug", skip_all, fields(infrastructure = owned.id.as_str()))]
async fn destroy_owned(owned: OwnedInfrastructure<'_>, stop: &StopSignal) -> Result<DestroyReport, EngineError> {
    let OwnedInfrastructure { engine, id, lease } = owned;
    // Read before anything is written: a record that can't be read ends the removal here.
    let records = load_instances(&*engine.store, id).await?;
    set_state(owned, InfrastructureState::Destroying, None, Vec::new()).await?;
    let ctx = owned.run_context(CancellationToken::new());
    let RemovalReport { tear_down, orphans, unconfirmed } = remove_all(&ctx, records, stop, &lease.lost).await;
    match tear_down.end {
        RunEnd::JournalFailed(error) => return Err(error.into_error(id)),
        RunEnd::Aborted => {
            let left = load_instances(&*engine.store, id).await?;
            let left = left.iter().map(|record| leftover(record, format!("left {} when stopped", record.state)));
            return Err(EngineError::Stopped { rolled_back: false, left: left.collect() });
        }
        RunEnd::Done | RunEnd::Stopped => {}
    }
    if tear_down.left.is_empty() {
        lease.journal.delete_infrastructure(Vec::new()).await.map_err(|error| error.into_error(id))?;
    } else {
        let message = format!("not removed: {}", join_leftovers(&tear_down.left));
        set_state(owned, InfrastructureState::Destroying, Some(message), Vec::new()).await?;
    }
    Ok(DestroyReport { id: id.clone(), removed: tear_down.removed, left: tear_down.left, orphans, unconfirmed })
}
