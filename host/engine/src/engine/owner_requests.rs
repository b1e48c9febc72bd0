//! Requests to the owner of an infrastructure: to suspend and resume maintenance, to end a hold, and to detach. Any
//! process may record them; the owner reads them at its next pass.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Engine;
use super::existing::{load_existing, put};
use super::owned::OwnedInfrastructure;
use crate::error::EngineError;
use crate::event::EventKind;
use crate::id::InfrastructureId;
use crate::ports::{CommitOutcome, Compare, Revision, Transaction, Write};
use crate::state::{decode, encode, keys};

/// Age up to which a request for the end of a hold is valid. What looks dead later is not what its sender has seen.
const RELEASE_REQUEST_TTL: SignedDuration = SignedDuration::from_mins(10);

/// A request for the end of a hold.
#[derive(Serialize, Deserialize)]
struct ReleaseRecord {
    time: Timestamp,
}

/// Records that maintenance is suspended, or not any more. Both remove a request for the end of a hold.
pub(super) async fn set_suspended(engine: &Engine, id: &InfrastructureId, suspended: bool) -> Result<(), EngineError> {
    commit_request(engine, id, vec![set_marker(keys::suspended(id), suspended), set_marker(keys::release(id), false)])
        .await
}

/// Records a request for the end of a hold.
pub(super) async fn request_release(engine: &Engine, id: &InfrastructureId) -> Result<(), EngineError> {
    let record = ReleaseRecord { time: engine.clock.now() };
    commit_request(engine, id, vec![put(keys::release(id), encode(record)?)]).await
}

/// Returns the revision of a request for the end of a hold. One that is too old, or that has no time, is removed.
pub(super) async fn pending_release(owned: OwnedInfrastructure<'_>) -> Result<Option<Revision>, EngineError> {
    let (engine, key) = (owned.engine, keys::release(owned.id));
    let Some(entry) = engine.store.get(&key).await? else { return Ok(None) };
    let now = engine.clock.now();
    // A time that is far in the future is not valid either.
    let is_recent = |record: &ReleaseRecord| now.duration_since(record.time).abs() <= RELEASE_REQUEST_TTL;
    if decode(&key, &entry.value).is_ok_and(|record| is_recent(&record)) {
        return Ok(Some(entry.modified));
    }
    clear_release(owned, entry.modified).await?;
    Ok(None)
}

/// Removes the request for the end of a hold that has this revision. A later request stays, and nothing is removed once
/// another process is the owner.
pub(super) async fn clear_release(owned: OwnedInfrastructure<'_>, revision: Revision) -> Result<(), EngineError> {
    let OwnedInfrastructure { engine, id, lease } = owned;
    let key = keys::release(id);
    let compares =
        vec![Compare::Modified(key.clone(), revision), Compare::Modified(keys::owner(id), lease.fencing_token())];
    engine.store.commit(Transaction { compares, writes: vec![Write::Delete { key }] }).await?;
    Ok(())
}

async fn commit_request(engine: &Engine, id: &InfrastructureId, writes: Vec<Write>) -> Result<(), EngineError> {
    loop {
        load_existing(engine, id).await?;
        // The comparison below keeps anything from being written for an infrastructure that was destroyed a moment ago.
        let key = keys::desired(id);
        let unknown = || EngineError::UnknownInfrastructure { id: id.into() };
        let revision = engine.store.get(&key).await?.ok_or_else(unknown)?.modified;
        let compares = vec![Compare::Modified(key, revision)];
        let transaction = Transaction { compares, writes: writes.clone() };
        if let CommitOutcome::Committed(_) = engine.store.commit(transaction).await? {
            return Ok(());
        }
    }
}

/// Returns whether maintenance is suspended. Emits an event if that has changed.
pub(super) async fn sync_suspended(owned: OwnedInfrastructure<'_>) -> Result<bool, EngineError> {
    let (store, id) = (&owned.engine.store, owned.id);
    let suspended = store.get(&keys::suspended(id)).await?.is_some();
    let reported = store.get(&keys::reported_suspended(id)).await?.is_some();
    if suspended != reported {
        let event = if suspended { EventKind::Suspended } else { EventKind::Resumed };
        let writes = vec![set_marker(keys::reported_suspended(id), suspended)];
        owned.write(writes, vec![event]).await?;
    }
    Ok(suspended)
}

/// Records a request that the owner ends maintenance; returns false if there is no owner.
pub(super) async fn request_detach(engine: &Engine, id: &InfrastructureId) -> Result<bool, EngineError> {
    load_existing(engine, id).await?;
    let Some(owner) = engine.store.get(&keys::owner(id)).await? else { return Ok(false) };
    // Valid for this owner only, not for a later one.
    let write = put(keys::detach(id), owner.modified.to_string().into_bytes());
    let compares = vec![Compare::Modified(keys::owner(id), owner.modified)];
    let committed = engine.store.commit(Transaction { compares, writes: vec![write] }).await?;
    Ok(matches!(committed, CommitOutcome::Committed(_)))
}

/// Returns whether there is a request for this owner to end maintenance.
pub(super) async fn is_detach_requested(owned: OwnedInfrastructure<'_>) -> Result<bool, EngineError> {
    let request = owned.engine.store.get(&keys::detach(owned.id)).await?;
    Ok(request.is_some_and(|entry| entry.value == owned.lease.fencing_token().to_string().into_bytes()))
}

fn set_marker(key: String, exists: bool) -> Write {
    if exists { put(key, b"{}".to_vec()) } else { Write::Delete { key } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RunHandle;
    use crate::testing::{Fakes, infrastructure, node};

    #[tokio::test(start_paused = true)]
    async fn a_later_request_is_not_removed_with_an_earlier_one() {
        let fakes = Fakes::new();
        fakes.build(&infrastructure(vec![node("web", 1, &[])])).await.expect("built");
        let engine = &fakes.engine;
        let lease = engine.acquire_lease(&fakes.id, RunHandle::new().0.events).await.expect("owned");
        let owned = OwnedInfrastructure { engine, id: &fakes.id, lease: &lease };
        let pending = async || pending_release(owned).await.expect("read");
        assert_eq!(pending().await, None);
        request_release(engine, &fakes.id).await.expect("requested");
        let first = pending().await.expect("a request");
        request_release(engine, &fakes.id).await.expect("requested again");
        clear_release(owned, first).await.expect("nothing to remove");
        let second = pending().await.expect("the second one");
        assert_ne!(second, first);
        clear_release(owned, second).await.expect("removed");
        assert_eq!(pending().await, None);
    }
}
