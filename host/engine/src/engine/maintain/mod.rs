//! Keeping an infrastructure alive: look at everything, then heal, within bounds.

mod healing;
mod hold;
mod node_backoff;
mod reconciler;

use std::sync::Arc;
use std::time::Duration;

use super::infrastructure::load_existing;
use super::{Engine, check, view};
use crate::act::MonotonicTime;
use crate::error::EngineError;
use crate::request::{MaintainOptions, RunHandle};
use crate::status::Status;
use reconciler::Reconciler;

/// Before a lease that was lost is asked for again.
const LEASE_RETRY_INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn maintain(
    engine: &Engine,
    id: &str,
    mut options: MaintainOptions,
    run: RunHandle,
) -> Result<Status, EngineError> {
    check::id(id)?;
    load_existing(engine, id).await?;
    let steady = Arc::new(MonotonicTime::new(engine.clock.clone()));
    loop {
        let session = engine.acquire_lease(id, run.events.clone()).await?;
        let outcome = match Reconciler::new(engine, id, &session, &run, steady.clone()).await {
            Ok(keeper) => keeper.run(&mut options).await,
            Err(error) => Err(error),
        };
        session.revoke().await;
        match outcome {
            // The machine has slept, for instance. Everything is in the store, so if nobody else has taken over, it goes on.
            Err(EngineError::LeaseLost { .. }) if options.cyclic.is_some() && run.stop.request_count() == 0 => {
                tracing::warn!(infrastructure = id, "the lease was lost; taking it up again");
                engine.clock.sleep(LEASE_RETRY_INTERVAL).await;
            }
            outcome => {
                outcome?;
                return view::status(&*engine.store, id).await;
            }
        }
    }
}

/// Looks at everything and writes down what it sees; heals nothing.
pub(super) async fn refresh(engine: &Engine, id: &str) -> Result<(), EngineError> {
    load_existing(engine, id).await?;
    let (run, _) = RunHandle::new();
    let session = engine.acquire_lease(id, run.events.clone()).await?;
    let outcome =
        match Reconciler::new(engine, id, &session, &run, Arc::new(MonotonicTime::new(engine.clock.clone()))).await {
            Ok(keeper) => keeper.survey_once().await,
            Err(error) => Err(error),
        };
    session.revoke().await;
    outcome
}
