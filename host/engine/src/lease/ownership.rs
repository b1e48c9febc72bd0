//! Ownership of an infrastructure in the store: the owner's record under a lease, acquired, kept alive, reclaimed and
//! revoked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::EngineError;
use crate::id::InfrastructureId;
use crate::ports::{Clock, CommitOutcome, Compare, LeaseId, Revision, Store, StoreError, Transaction, Write};
use crate::settings::Settings;
use crate::state::{OwnerRecord, decode, encode, keys};
use crate::status::Owner;

/// Number of attempts to acquire or reclaim while the owner's record changes.
const MAX_ACQUIRE_ATTEMPTS: usize = 5;
/// Pause between attempts to reclaim an expired lease.
const RECLAIM_RETRY_DELAY: Duration = Duration::from_millis(50);

/// The record of this process under the owner's key, for as long as the lease lasts.
pub(super) struct Ownership {
    id: InfrastructureId,
    record: OwnerRecord,
    ttl: Duration,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// Revision of the write that made this process the owner.
    fencing_token: AtomicU64,
    /// Revision of the last transaction of this process. While the head has the same, no other process has written
    /// anything.
    head_revision: AtomicU64,
    lease: Mutex<LeaseId>,
}

impl Ownership {
    /// Acquires the lease. Fails with [`EngineError::Owned`] if another process holds it.
    pub(super) async fn acquire(
        id: &InfrastructureId,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: &Settings,
    ) -> Result<Self, EngineError> {
        let owner = Owner { holder: settings.holder.clone(), since: clock.now() };
        let record = OwnerRecord { owner, token: Uuid::new_v4().to_string() };
        let lease = store.grant_lease(settings.lease_ttl).await?;
        match claim_ownership(id, lease, &record, &*store, settings).await {
            Ok(revision) => Ok(Self {
                id: id.clone(),
                record,
                ttl: settings.lease_ttl,
                store,
                clock,
                fencing_token: AtomicU64::new(revision),
                head_revision: AtomicU64::new(0),
                lease: Mutex::new(lease),
            }),
            Err(error) => {
                // The lease would expire by itself.
                let _ = store.revoke_lease(lease).await;
                Err(error)
            }
        }
    }

    pub(super) fn fencing_token(&self) -> Revision {
        self.fencing_token.load(Ordering::Acquire)
    }

    /// Sets the revision of the last transaction of this process.
    pub(super) fn set_head_revision(&self, revision: Revision) {
        self.head_revision.store(revision, Ordering::Release);
    }

    /// Reclaims a lease that expired while this process is alive. Leases are measured by the wall clock, since several
    /// processes have to agree on them, and it may be set forward, or the machine may have slept. Succeeds only if no
    /// other process has acquired it or written anything since, as if it had not expired. Returns false if it is lost.
    pub(super) async fn reclaim(&self) -> Result<bool, StoreError> {
        let mut lease = self.lease.lock().await;
        let key = keys::owner(&self.id);
        for _ in 0..MAX_ACQUIRE_ATTEMPTS {
            if let Some(entry) = self.store.get(&key).await? {
                let found = decode::<OwnerRecord>(&key, &entry.value).ok();
                let is_ours = found.is_some_and(|found| found.token == self.record.token);
                if is_ours {
                    self.fencing_token.store(entry.modified, Ordering::Release);
                }
                return Ok(is_ours);
            }
            let head = keys::head(&self.id);
            if self.store.get(&head).await?.map_or(0, |entry| entry.modified)
                != self.head_revision.load(Ordering::Acquire)
            {
                // The revision may be that of a transaction of this process that has just arrived.
                self.clock.sleep(RECLAIM_RETRY_DELAY).await;
                continue;
            }
            let new = self.store.grant_lease(self.ttl).await?;
            let compares = vec![
                Compare::Modified(key.clone(), 0),
                Compare::Modified(head, self.head_revision.load(Ordering::Acquire)),
            ];
            let writes = vec![Write::Put { key: key.clone(), value: encode(&self.record)?, lease: Some(new) }];
            let committed = self.store.commit(Transaction { compares, writes }).await;
            if let Ok(CommitOutcome::Committed(revision)) = committed {
                tracing::info!(infrastructure = self.id.as_str(), "the lease expired and was reclaimed");
                *lease = new;
                self.fencing_token.store(revision, Ordering::Release);
                return Ok(true);
            }
            if !matches!(committed, Err(StoreError::Unknown { .. })) {
                let _ = self.store.revoke_lease(new).await;
            } else {
                *lease = new;
            }
        }
        Ok(false)
    }

    /// Keeps the lease alive every `period` for as long as this runs; cancels `lost` and returns once the lease is lost.
    pub(super) async fn keep_alive(self: Arc<Self>, period: Duration, lost: CancellationToken) {
        let mut unanswered = Duration::ZERO;
        loop {
            let pause = if unanswered.is_zero() { period } else { Duration::from_secs(1).min(period) };
            self.clock.sleep(pause).await;
            let lease = *self.lease.lock().await;
            let alive = match self.store.keep_alive(lease).await {
                Ok(false) => self.reclaim().await,
                alive => alive,
            };
            match alive {
                Ok(true) => unanswered = Duration::ZERO,
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "cannot keep the lease alive");
                    unanswered += pause;
                    if unanswered + period >= self.ttl {
                        break;
                    }
                }
            }
        }
        lost.cancel();
    }

    /// Revokes the lease. If that fails, the next owner only has to wait until it expires.
    pub(super) async fn revoke(&self) {
        let lease = *self.lease.lock().await;
        let _ = self.store.revoke_lease(lease).await;
    }
}

async fn claim_ownership(
    id: &InfrastructureId,
    lease: LeaseId,
    record: &OwnerRecord,
    store: &dyn Store,
    settings: &Settings,
) -> Result<Revision, EngineError> {
    let key = keys::owner(id);
    let mut expected = 0;
    for _ in 0..MAX_ACQUIRE_ATTEMPTS {
        let transaction = Transaction {
            compares: vec![Compare::Modified(key.clone(), expected)],
            writes: vec![Write::Put { key: key.clone(), value: encode(record)?, lease: Some(lease) }],
        };
        match store.commit(transaction).await {
            Ok(CommitOutcome::Committed(revision)) => return Ok(revision),
            Ok(CommitOutcome::Conflict) | Err(StoreError::Unknown { .. }) => {}
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
                    return Err(EngineError::owned(id, found.owner));
                }
                entry.modified
            }
        };
    }
    Err(EngineError::owned(id, Owner { holder: "several processes in turn".into(), since: record.owner.since }))
}
