//! Leaving an infrastructure alone. Anyone may say so; who owns it finds it at the next pass.

use super::build::put;
use super::destroy::known;
use super::{Engine, check};
use crate::error::EngineError;
use crate::ports::{Committed, Compare, Transaction, Write};
use crate::state::keys;

/// Says so, or takes it back.
pub(super) async fn set(engine: &Engine, id: &str, suspended: bool) -> Result<(), EngineError> {
    check::id(id)?;
    loop {
        known(engine, id).await?;
        // Nothing is written for an infrastructure that was destroyed a moment ago.
        let key = keys::desired(id);
        let unknown = || EngineError::UnknownInfrastructure { id: id.into() };
        let revision = engine.store.get(&key).await?.ok_or_else(unknown)?.modified;
        let mark = keys::suspended(id);
        let write = if suspended { put(mark, b"{}".to_vec()) } else { Write::Delete { key: mark } };
        let transaction = Transaction { compares: vec![Compare::Modified(key, revision)], writes: vec![write] };
        if let Committed::Yes(_) = engine.store.commit(transaction).await? {
            return Ok(());
        }
    }
}
