//! Leaving an infrastructure alone, letting go of it, and ending a hold. Anyone may ask; who owns it finds it at the next pass.

use super::infrastructure::{known, put};
use super::{Engine, check};
use crate::error::EngineError;
use crate::event::What;
use crate::ports::{Committed, Compare, Transaction, Write};
use crate::session::Session;
use crate::state::keys;

/// Says so, or takes it back.
pub(super) async fn set(engine: &Engine, id: &str, suspended: bool) -> Result<(), EngineError> {
    leave(engine, id, mark(keys::suspended(id), suspended)).await
}

/// Asks for the end of a hold.
pub(super) async fn release(engine: &Engine, id: &str) -> Result<(), EngineError> {
    leave(engine, id, mark(keys::release(id), true)).await
}

/// Whether somebody asks for the end of a hold.
pub(super) async fn is_released(engine: &Engine, id: &str) -> Result<bool, EngineError> {
    Ok(engine.store.get(&keys::release(id)).await?.is_some())
}

/// Notes that what was asked for is done: the hold has ended.
pub(super) async fn released(session: &Session, id: &str) -> Result<(), EngineError> {
    let writes = vec![mark(keys::release(id), false)];
    session.journal.write(writes, Vec::new()).await.map_err(|refused| refused.into_error(id))
}

async fn leave(engine: &Engine, id: &str, write: Write) -> Result<(), EngineError> {
    check::id(id)?;
    loop {
        known(engine, id).await?;
        // Nothing is written for an infrastructure that was destroyed a moment ago.
        let key = keys::desired(id);
        let unknown = || EngineError::UnknownInfrastructure { id: id.into() };
        let revision = engine.store.get(&key).await?.ok_or_else(unknown)?.modified;
        let compares = vec![Compare::Modified(key, revision)];
        let transaction = Transaction { compares, writes: vec![write.clone()] };
        if let Committed::Yes(_) = engine.store.commit(transaction).await? {
            return Ok(());
        }
    }
}

/// Whether it is suspended. Reporters are told when that has changed.
pub(super) async fn take_in(engine: &Engine, session: &Session, id: &str) -> Result<bool, EngineError> {
    let suspended = engine.store.get(&keys::suspended(id)).await?.is_some();
    let told = engine.store.get(&keys::told_suspended(id)).await?.is_some();
    if suspended != told {
        let event = if suspended { What::Suspended } else { What::Resumed };
        let writes = vec![mark(keys::told_suspended(id), suspended)];
        session.journal.write(writes, vec![event]).await.map_err(|refused| refused.into_error(id))?;
    }
    Ok(suspended)
}

/// Asks whoever maintains it to let go; false when nobody does.
pub(super) async fn detach(engine: &Engine, id: &str) -> Result<bool, EngineError> {
    check::id(id)?;
    known(engine, id).await?;
    let Some(owner) = engine.store.get(&keys::owner(id)).await? else { return Ok(false) };
    // Meant for this owner, and for no later one.
    let write = put(keys::detach(id), owner.modified.to_string().into_bytes());
    let compares = vec![Compare::Modified(keys::owner(id), owner.modified)];
    let committed = engine.store.commit(Transaction { compares, writes: vec![write] }).await?;
    Ok(matches!(committed, Committed::Yes(_)))
}

/// Whether we are asked to let go.
pub(super) async fn is_detached(engine: &Engine, session: &Session, id: &str) -> Result<bool, EngineError> {
    let asked = engine.store.get(&keys::detach(id)).await?;
    Ok(asked.is_some_and(|entry| entry.value == session.revision().to_string().into_bytes()))
}

fn mark(key: String, there: bool) -> Write {
    if there { put(key, b"{}".to_vec()) } else { Write::Delete { key } }
}
