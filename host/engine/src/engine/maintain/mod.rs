//! Maintenance of an infrastructure, pass by pass: survey what can be observed (`observed`), decide what follows from
//! it (`decide`, with the rule of `hold`), act (`jobs`). The loop that connects them is in `reconciler`.

mod decide;
mod goal;
mod hold;
mod jobs;
mod node_backoff;
mod observed;
mod reconciler;
mod state_report;
mod timetable;

use std::sync::Arc;
use std::time::Duration;

use super::existing::load_existing;
use super::owned::OwnedInfrastructure;
use super::{Engine, view};
use crate::act::MonotonicTime;
use crate::error::EngineError;
use crate::id::InfrastructureId;
use crate::request::{MaintainOptions, RunHandle};
use crate::status::Status;
use reconciler::Reconciler;

/// Pause before a lost lease is acquired again.
const LEASE_RETRY_INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn maintain(
    engine: &Engine,
    id: &InfrastructureId,
    mut options: MaintainOptions,
    run: RunHandle,
) -> Result<Status, EngineError> {
    load_existing(engine, id).await?;
    let monotonic = Arc::new(MonotonicTime::new(engine.clock.clone()));
    loop {
        let lease = engine.acquire_lease(id, run.events.clone()).await?;
        let outcome =
            match Reconciler::new(OwnedInfrastructure { engine, id, lease: &lease }, &run, monotonic.clone()).await {
                Ok(reconciler) => reconciler.run(&mut options).await,
                Err(error) => Err(error),
            };
        lease.revoke().await;
        match outcome {
            // The host has slept, for instance. Everything is in the store, so maintenance goes on if no other process
            // has taken over.
            Err(EngineError::LeaseLost { .. }) if options.cyclic.is_some() && run.stop.request_count() == 0 => {
                tracing::warn!(infrastructure = id.as_str(), "the lease was lost; acquiring it again");
                engine.clock.sleep(LEASE_RETRY_INTERVAL).await;
            }
            outcome => {
                outcome?;
                return view::status(&*engine.store, id).await;
            }
        }
    }
}

/// Surveys everything and records the result; changes nothing.
pub(super) async fn refresh(engine: &Engine, id: &InfrastructureId) -> Result<(), EngineError> {
    load_existing(engine, id).await?;
    let (run, _) = RunHandle::new();
    let lease = engine.acquire_lease(id, run.events.clone()).await?;
    let (owned, monotonic) =
        (OwnedInfrastructure { engine, id, lease: &lease }, MonotonicTime::new(engine.clock.clone()));
    let outcome = match Reconciler::new(owned, &run, Arc::new(monotonic)).await {
        Ok(reconciler) => reconciler.survey_once().await,
        Err(error) => Err(error),
    };
    lease.revoke().await;
    outcome
}
