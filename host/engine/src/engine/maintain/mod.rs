//! Keeping an infrastructure alive: look at everything, then heal, within bounds.

mod failing;
mod healing;
mod hold;
mod keeper;

use std::sync::Arc;
use std::time::Duration;

use super::infrastructure::known;
use super::{Engine, check, view};
use crate::act::Steady;
use crate::error::EngineError;
use crate::request::{MaintainOptions, Run};
use crate::status::Status;
use keeper::Keeper;

/// Before a lease that was lost is asked for again.
const BEFORE_TAKING_UP_AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn maintain(
    engine: &Engine,
    id: &str,
    mut options: MaintainOptions,
    run: Run,
) -> Result<Status, EngineError> {
    check::id(id)?;
    known(engine, id).await?;
    let steady = Arc::new(Steady::new(engine.clock.clone()));
    loop {
        let session = engine.begin(id, run.events.clone()).await?;
        let outcome = match Keeper::new(engine, id, &session, &run, steady.clone()).await {
            Ok(keeper) => keeper.keep(&mut options).await,
            Err(error) => Err(error),
        };
        session.end().await;
        match outcome {
            // The machine has slept, for instance. Everything is in the store, so if nobody else has taken over, it goes on.
            Err(EngineError::LeaseLost { .. }) if options.cyclic.is_some() && run.stop.level() == 0 => {
                tracing::warn!(infrastructure = id, "the lease was lost; taking it up again");
                engine.clock.sleep(BEFORE_TAKING_UP_AGAIN).await;
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
    known(engine, id).await?;
    let (run, _) = Run::new();
    let session = engine.begin(id, run.events.clone()).await?;
    let outcome = match Keeper::new(engine, id, &session, &run, Arc::new(Steady::new(engine.clock.clone()))).await {
        Ok(keeper) => keeper.look_once().await,
        Err(error) => Err(error),
    };
    session.end().await;
    outcome
}
