//! Positions of readers of events, so that they can continue where they stopped, also in another process.

use super::Engine;
use super::existing::put;
use crate::error::EngineError;
use crate::id::InfrastructureId;
use crate::ports::{Compare, Transaction};
use crate::state::{CursorRecord, HeadRecord, encode, keys, load_record};

/// Returns the id of a reader's last event. A new reader starts at the last event so far.
pub(super) async fn load(engine: &Engine, id: &InfrastructureId, reader: &str) -> Result<u64, EngineError> {
    let cursor: Option<CursorRecord> = load_record(&*engine.store, &keys::cursor(id, reader)).await?;
    if let Some(cursor) = cursor {
        return Ok(cursor.event);
    }
    let head: Option<HeadRecord> = load_record(&*engine.store, &keys::head(id)).await?;
    Ok(head.map(|head| head.event).unwrap_or_default())
}

/// Stores the id of a reader's last event. Does nothing if the infrastructure is gone.
pub(super) async fn save(engine: &Engine, id: &InfrastructureId, reader: &str, event: u64) -> Result<(), EngineError> {
    let key = keys::desired(id);
    let Some(desired) = engine.store.get(&key).await? else { return Ok(()) };
    let compares = vec![Compare::Modified(key, desired.modified)];
    let writes = vec![put(keys::cursor(id, reader), encode(CursorRecord { event })?)];
    // A conflict with a change at this moment is ignored: a few events are read again.
    engine.store.commit(Transaction { compares, writes }).await?;
    Ok(())
}
