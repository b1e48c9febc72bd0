//! Durable state: keys and values with revisions, leases and watches, modelled after etcd.
//!
//! The whole store has one revision. Every transaction that writes increments it; each entry has the revision that
//! created it and the one that wrote it last.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures::Stream;

/// Number of a transaction; 0 is before the first one.
pub type Revision = u64;

/// Number of a lease.
pub type LeaseId = u64;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Key. Keys are ordered by their bytes.
    pub key: String,
    /// Value of the key.
    pub value: Vec<u8>,
    /// Revision that created the entry.
    pub created: Revision,
    /// Revision that wrote the entry last.
    pub modified: Revision,
}

/// A condition of a [`Transaction`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// Requires that the key was last written by this revision; 0: that it is absent.
    Modified(String, Revision),
}

/// A change in a [`Transaction`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a value. With a lease, the key is removed when the lease ends.
    Put {
        /// Key to write.
        key: String,
        /// New value.
        value: Vec<u8>,
        /// Lease that the key is bound to.
        lease: Option<LeaseId>,
    },
    /// Removes a key; has no effect if it is absent.
    Delete {
        /// Key to write.
        key: String,
    },
    /// Removes all keys with a prefix.
    DeletePrefix {
        /// Prefix; not empty.
        prefix: String,
    },
}

/// A transaction: all of its changes are made if all of its conditions hold, otherwise none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Conditions.
    pub compares: Vec<Compare>,
    /// Changes, in order.
    pub writes: Vec<Write>,
}

/// The outcome of a [`Transaction`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The changes are durable, under this revision.
    Committed(Revision),
    /// A condition did not hold; nothing was written.
    Conflict,
}

/// A change, as a watcher observes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Revision of the transaction.
    pub revision: Revision,
    /// Key that was changed.
    pub key: String,
    /// New entry; `None` if the key was removed.
    pub entry: Option<Entry>,
}

/// A stream of changes in the order of their revisions, and of their keys within one.
pub type Changes = Pin<Box<dyn Stream<Item = Result<Change, StoreError>> + Send>>;

/// The error of a store operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is unavailable, and nothing was written. A later attempt may succeed (locked, disk full, connection
    /// lost before sending).
    #[error("{message}")]
    Unavailable {
        /// Cause, and a remedy.
        message: String,
    },
    /// The store was written by a newer version of this program, or the file is not a store.
    #[error("{message}")]
    Unusable {
        /// Cause, and a remedy.
        message: String,
    },
    /// The outcome is unresolved: the changes may have been written. Read again before going on.
    #[error("{message}")]
    Unknown {
        /// Cause.
        message: String,
    },
}

/// A store for durable state. Implementations are safe to use from several processes at once.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Returns the entry of a key.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;
    /// Returns at most `limit` entries whose keys start with `prefix` and follow the key `after`, in order.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError>;
    /// Checks conditions and makes changes in one durable step: after [`CommitOutcome::Committed`] the changes survive
    /// a power cut.
    ///
    /// # Errors
    /// Returns [`StoreError::Unknown`] if the changes may have been written; after other errors nothing was.
    async fn commit(&self, transaction: Transaction) -> Result<CommitOutcome, StoreError>;
    /// Grants a new lease, which expires after `ttl` unless it is kept alive.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError>;
    /// Keeps a lease alive: its time starts anew. Returns false if it has ended.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, StoreError>;
    /// Revokes a lease now, and removes its keys.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError>;
    /// Watches the changes of keys that start with `prefix`, after the revision `after`, including those of other
    /// processes. A key that changed several times in between may be reported once, with its last value.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Changes, StoreError>;
    /// Returns the newest revision.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    async fn revision(&self) -> Result<Revision, StoreError>;
}
