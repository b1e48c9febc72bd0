//! The lease on an infrastructure.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::EngineError;
use crate::ports::{Clock, Committed, Compare, LeaseId, Revision, Store, StoreError, Transaction, Write};
use crate::settings::Settings;
use crate::state::{OwnerRecord, decode, encode, keys};
use crate::status::Owner;

/// How often another owner may come and go while we try.
const TRIES: usize = 5;

/// Puts our name under the owner's key. The revision of that write is our fencing number.
pub(super) async fn acquire(
    id: &str,
    store: &dyn Store,
    clock: &dyn Clock,
    settings: &Settings,
) -> Result<(LeaseId, Revision), EngineError> {
    let lease = store.grant_lease(settings.lease_ttl).await?;
    let outcome = put_owner(id, lease, store, clock, settings).await;
    match outcome {
        Ok(revision) => Ok((lease, revision)),
        Err(error) => {
            // The lease would end by itself.
            let _ = store.revoke_lease(lease).await;
            Err(error)
        }
    }
}

async fn put_owner(
    id: &str,
    lease: LeaseId,
    store: &dyn Store,
    clock: &dyn Clock,
    settings: &Settings,
) -> Result<Revision, EngineError> {
    let key = keys::owner(id);
    let owner = Owner { holder: settings.holder.clone(), since: clock.now() };
    let record = OwnerRecord { owner, token: Uuid::new_v4().to_string() };
    let mut expected = 0;
    for _ in 0..TRIES {
        let transaction = Transaction {
            compares: vec![Compare::Modified(key.clone(), expected)],
            writes: vec![Write::Put { key: key.clone(), value: encode(&record), lease: Some(lease) }],
        };
        match store.commit(transaction).await {
            Ok(Committed::Yes(revision)) => return Ok(revision),
            Ok(Committed::No) | Err(StoreError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        expected = match store.get(&key).await? {
            None => 0,
            Some(entry) => {
                let found: OwnerRecord = decode(&key, &entry.value)?;
                if found.token == record.token {
                    return Ok(entry.modified);
                }
                let dead = settings.holder_is_dead.as_ref().is_some_and(|is_dead| is_dead(&found.owner.holder));
                if !dead {
                    return Err(owned(id, found.owner));
                }
                entry.modified
            }
        };
    }
    Err(owned(id, Owner { holder: "several processes in turn".into(), since: clock.now() }))
}

fn owned(id: &str, owner: Owner) -> EngineError {
    EngineError::Owned { id: id.into(), holder: owner.holder, since: owner.since }
}

/// Keeps the lease alive for as long as this runs; tells when it has ended.
pub(super) fn keep_alive(
    lease: LeaseId,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: &Settings,
    lost: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let (period, ttl) = (settings.keep_alive, settings.lease_ttl);
    async move {
        let mut silent = Duration::ZERO;
        loop {
            let pause = if silent.is_zero() { period } else { Duration::from_secs(1).min(period) };
            clock.sleep(pause).await;
            match store.keep_alive(lease).await {
                Ok(true) => silent = Duration::ZERO,
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "the lease could not be kept alive");
                    silent += pause;
                    if silent + period >= ttl {
                        break;
                    }
                }
            }
        }
        lost.cancel();
    }
}
