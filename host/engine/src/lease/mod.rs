//! Owning an infrastructure: one process at a time, and every write under the number of its ownership.

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
use crate::ports::{Clock, Revision, Store};
use crate::settings::Settings;

/// The right to change an infrastructure. Ends with [`Session::end`]; when it is dropped, the lease runs out.
pub(crate) struct InfrastructureLease {
    pub(crate) journal: Arc<Journal>,
    /// What this run knows of.
    pub(crate) known_instances: Arc<KnownInstances>,
    /// Cancelled when another may have taken over.
    pub(crate) lost: CancellationToken,
    ownership: Arc<Ownership>,
    _keep_alive: AbortOnDropHandle<()>,
}

impl InfrastructureLease {
    /// Becomes the owner, or says who is.
    pub(crate) async fn acquire(
        id: &str,
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
                // The lease would end by itself; this only spares the next one the wait.
                ownership.revoke().await;
                return Err(error);
            }
        };
        let inventory = Arc::new(KnownInstances::new(id, store));
        let keep_alive = ownership.clone().keep_alive(settings.keep_alive_interval, lost.clone());
        let keep_alive = AbortOnDropHandle::new(tokio::spawn(keep_alive));
        Ok(Self { journal, known_instances: inventory, lost, ownership, _keep_alive: keep_alive })
    }

    /// Of the write that made us the owner: our fencing number.
    pub(crate) fn fencing_token(&self) -> Revision {
        self.ownership.fencing_token()
    }

    /// Gives the infrastructure back. Failing to say so costs the next owner the rest of the lease, and nothing else.
    pub(crate) async fn revoke(self) {
        self.ownership.revoke().await;
    }
}
