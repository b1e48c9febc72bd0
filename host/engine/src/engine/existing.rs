//! Access to the record of an infrastructure that has to exist.

use super::Engine;
use crate::error::EngineError;
use crate::id::InfrastructureId;
use crate::ports::Write;
use crate::state::{InfrastructureRecord, keys, load_record};

/// Loads the record of an infrastructure; fails if there is none, before anything is written for it.
pub(super) async fn load_existing(engine: &Engine, id: &InfrastructureId) -> Result<InfrastructureRecord, EngineError> {
    let found = load_record(&*engine.store, &keys::infrastructure(id)).await?;
    found.ok_or_else(|| EngineError::UnknownInfrastructure { id: id.into() })
}

/// Returns a write of an entry that is not bound to a lease.
pub(super) fn put(key: String, value: Vec<u8>) -> Write {
    Write::Put { key, value, lease: None }
}
