//! An infrastructure's own record: that it exists, and where it stands.

use super::Engine;
use crate::error::EngineError;
use crate::event::What;
use crate::ports::Write;
use crate::session::Session;
use crate::state::{InfrastructureRecord, encode, get, keys};
use crate::status::{InfrastructureState, Leftover};

/// Refuses an id that does not exist, before anything is written for it.
pub(super) async fn known(engine: &Engine, id: &str) -> Result<InfrastructureRecord, EngineError> {
    let found = get(&*engine.store, &keys::infrastructure(id)).await?;
    found.ok_or_else(|| EngineError::UnknownInfrastructure { id: id.into() })
}

/// An infrastructure's new state.
pub(super) async fn enter(
    engine: &Engine,
    session: &Session,
    id: &str,
    state: InfrastructureState,
    message: Option<String>,
    events: Vec<What>,
) -> Result<(), EngineError> {
    let key = keys::infrastructure(id);
    let unknown = || EngineError::UnknownInfrastructure { id: id.into() };
    let record: InfrastructureRecord = get(&*engine.store, &key).await?.ok_or_else(unknown)?;
    let record = InfrastructureRecord { state, message, ..record };
    let mut writes = vec![put(key, encode(record))];
    if state == InfrastructureState::Ready {
        // What is described now works: a later change that fails comes back to it.
        writes.push(Write::Delete { key: keys::previous(id) });
    }
    session.journal.write(writes, events).await.map_err(|refused| refused.into_error(id))
}

/// What is left, in a line.
pub(super) fn names(left: &[Leftover]) -> String {
    left.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// An entry that hangs on no lease.
pub(super) fn put(key: String, value: Vec<u8>) -> Write {
    Write::Put { key, value, lease: None }
}
