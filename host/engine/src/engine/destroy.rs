//! Removing an infrastructure.

use tokio_util::sync::CancellationToken;

use super::infrastructure::{enter, known, names};
use super::removal::{Removed, remove_all};
use super::{Engine, check};
use crate::act::leftover;
use crate::dispatch::Ending;
use crate::error::EngineError;
use crate::request::{Run, Stop};
use crate::session::Session;
use crate::state::load_instances;
use crate::status::{DestroyReport, InfrastructureState};

pub(super) async fn destroy(engine: &Engine, id: &str, run: Run) -> Result<DestroyReport, EngineError> {
    check::id(id)?;
    known(engine, id).await?;
    let session = engine.begin(id, run.events).await?;
    let outcome = destroy_owned(engine, id, &session, &run.stop).await;
    session.end().await;
    outcome
}

#[tracing::instrument(name = "destroy", level = "debug", skip_all, fields(infrastructure = id))]
async fn destroy_owned(
    engine: &Engine,
    id: &str,
    session: &Session,
    stop: &Stop,
) -> Result<DestroyReport, EngineError> {
    // Before anything is written: a record that can't be read stops it here.
    let records = load_instances(&*engine.store, id).await?;
    enter(engine, session, id, InfrastructureState::Destroying, None, Vec::new()).await?;
    let world = engine.world(id, session, CancellationToken::new());
    let Removed { lowered, strange, unconfirmed } = remove_all(&world, records, stop, &session.lost).await;
    match lowered.ending {
        Ending::Refused(refused) => return Err(refused.into_error(id)),
        Ending::Aborted => {
            let left = load_instances(&*engine.store, id).await?;
            let left = left.iter().map(|record| leftover(record, format!("left {} when stopped", record.state)));
            return Err(EngineError::Stopped { rolled_back: false, left: left.collect() });
        }
        Ending::Done | Ending::Stopped => {}
    }
    if lowered.left.is_empty() {
        session.journal.forget_all(Vec::new()).await.map_err(|refused| refused.into_error(id))?;
    } else {
        let message = format!("not removed: {}", names(&lowered.left));
        enter(engine, session, id, InfrastructureState::Destroying, Some(message), Vec::new()).await?;
    }
    Ok(DestroyReport { id: id.into(), removed: lowered.removed, left: lowered.left, strange, unconfirmed })
}
