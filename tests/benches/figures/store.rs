//! The real store, with a counter of its writes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use occopus_engine::ports::{Changes, CommitOutcome, Entry, LeaseId, Revision, Store, StoreError, Transaction, Write};
use occopus_store::SqliteStore;

/// Number of writes so far.
#[derive(Default)]
pub(crate) struct WriteCounts {
    transactions: AtomicU64,
    bytes: AtomicU64,
}

impl WriteCounts {
    /// Returns transactions and bytes since the last call.
    pub(crate) fn take(&self) -> (u64, u64) {
        (self.transactions.swap(0, Ordering::Relaxed), self.bytes.swap(0, Ordering::Relaxed))
    }
}

/// Opens the store in a directory.
pub(crate) struct CountingStore {
    store: SqliteStore,
    written: Arc<WriteCounts>,
}

impl CountingStore {
    pub(crate) fn open(directory: &Path) -> (Arc<Self>, Arc<WriteCounts>) {
        let (store, written) = (SqliteStore::open(directory.join("store.db")).expect("a store"), Arc::default());
        (Arc::new(Self { store, written: Arc::clone(&written) }), written)
    }
}

#[async_trait]
impl Store for CountingStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.store.get(key).await
    }

    async fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.store.range(prefix, after, limit).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<CommitOutcome, StoreError> {
        let bytes = transaction.writes.iter().map(|write| match write {
            Write::Put { key, value, .. } => key.len() + value.len(),
            Write::Delete { key } => key.len(),
            Write::DeletePrefix { prefix } => prefix.len(),
        });
        self.written.transactions.fetch_add(1, Ordering::Relaxed);
        self.written.bytes.fetch_add(bytes.sum::<usize>() as u64, Ordering::Relaxed);
        self.store.commit(transaction).await
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.store.grant_lease(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, StoreError> {
        self.store.keep_alive(lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.revoke_lease(lease).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Changes, StoreError> {
        self.store.watch(prefix, after).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }
}
