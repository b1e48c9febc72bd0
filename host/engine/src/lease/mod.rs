//! Ownership of an infrastructure: one process at a time holds the lease, and every write carries its fencing token.
//! The journal writes records together with their events.

mod journal;
mod known_instances;
mod ownership;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use journal::{Journal, JournalError};
pub(crate) use known_instances::KnownInstances;
use ownership::Ownership;

use crate::error::EngineError;
use crate::event::Event;
use crate::id::InfrastructureId;
use crate::ports::{Clock, Revision, Store};
use crate::settings::Settings;

/// A lease on one infrastructure: the right to change it. Ends with [`InfrastructureLease::revoke`]; if it is dropped,
/// the lease expires.
pub(crate) struct InfrastructureLease {
    pub(crate) journal: Arc<Journal>,
    /// Instances that the store or this run knows.
    pub(crate) known_instances: Arc<KnownInstances>,
    /// Cancelled when another process may have become the owner.
    pub(crate) lost: CancellationToken,
    ownership: Arc<Ownership>,
    _keep_alive: AbortOnDropHandle<()>,
}

impl InfrastructureLease {
    /// Acquires the lease and keeps it alive. Fails with [`EngineError::Owned`] if another process holds it.
    pub(crate) async fn acquire(
        id: &InfrastructureId,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: &Settings,
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<Self, EngineError> {
        let ownership = Arc::new(Ownership::acquire(id, store.clone(), clock.clone(), settings).await?);
        let lost = CancellationToken::new();
        let journal = Journal::open(id, ownership.clone(), store.clone(), clock, settings, events, lost.clone()).await;
        let journal = match journal {
            Ok(journal) => Arc::new(journal),
            Err(error) => {
                // The lease would expire by itself; this only spares the next owner the wait.
                ownership.revoke().await;
                return Err(error);
            }
        };
        let known_instances = Arc::new(KnownInstances::new(id, store));
        let keep_alive = ownership.clone().keep_alive(settings.keep_alive_interval, lost.clone());
        let keep_alive = AbortOnDropHandle::new(tokio::spawn(keep_alive));
        Ok(Self { journal, known_instances, lost, ownership, _keep_alive: keep_alive })
    }

    /// Returns the fencing token: the revision of the write that acquired the lease.
    pub(crate) fn fencing_token(&self) -> Revision {
        self.ownership.fencing_token()
    }

    /// Revokes the lease. If that fails, the next owner only has to wait until it expires.
    pub(crate) async fn revoke(self) {
        self.ownership.revoke().await;
    }
}
