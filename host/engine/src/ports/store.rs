//! Durable state: keys and values with revisions, the shape of etcd.
//!
//! There is one revision for the whole store. Every transaction that writes raises it by one; each entry remembers the
//! revision that created it and the one that wrote it last.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures::Stream;

/// Number of a transaction; 0 is before the first.
pub type Revision = u64;

/// Number of a lease.
pub type LeaseId = u64;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key. Keys are ordered by their bytes.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// The transaction that created it.
    pub created: Revision,
    /// The transaction that wrote it last.
    pub modified: Revision,
}

/// A condition of a [`Transaction`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key was last written by this revision; 0: the key is absent.
    Modified(String, Revision),
}

/// A change in a [`Transaction`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a value. With a lease, the key goes when the lease ends.
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: Vec<u8>,
        /// The lease it hangs on.
        lease: Option<LeaseId>,
    },
    /// Removes a key; nothing happens when it is absent.
    Delete {
        /// The key.
        key: String,
    },
    /// Removes all keys that start with this.
    DeletePrefix {
        /// The start; not empty.
        prefix: String,
    },
}

/// Conditions and changes: all of the changes, if all of the conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The conditions.
    pub compares: Vec<Compare>,
    /// The changes, in order.
    pub writes: Vec<Write>,
}

/// What became of a [`Transaction`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is durable, under this revision.
    Committed(Revision),
    /// A condition did not hold; nothing was written.
    Conflict,
}

/// One change, as seen by a watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The transaction.
    pub revision: Revision,
    /// The key.
    pub key: String,
    /// The new entry; none when it was removed.
    pub entry: Option<Entry>,
}

/// Changes in the order of their revisions.
pub type Changes = Pin<Box<dyn Stream<Item = Result<Change, StoreError>> + Send>>;

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written; later it may work (locked, disk full, connection lost before sending).
    #[error("{message}")]
    Unavailable {
        /// What happened, and how to mend it.
        message: String,
    },
    /// Was written by a newer version of this program, or is no store at all.
    #[error("{message}")]
    Unusable {
        /// What happened, and how to mend it.
        message: String,
    },
    /// It may have been written. Read again before going on.
    #[error("{message}")]
    Unknown {
        /// What happened.
        message: String,
    },
}

/// Durable state. Implementations are safe to use from several processes at once.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// One entry.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;
    /// Entries whose key starts with `prefix`, in order, after the key `after`, at most `limit`.
    async fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError>;
    /// Conditions and changes in one durable step: when this returns `Yes`, the changes survive a power cut.
    async fn commit(&self, transaction: Transaction) -> Result<CommitOutcome, StoreError>;
    /// A new lease that ends after `ttl` unless it is kept alive.
    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError>;
    /// Starts the lease's time again. False when it has ended.
    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, StoreError>;
    /// Ends a lease now; its keys go.
    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError>;
    /// Changes of keys that start with `prefix`, after the revision `after`, including those of other processes. A key
    /// that changed several times in between may be reported once, with its last value.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Changes, StoreError>;
    /// The newest revision.
    async fn revision(&self) -> Result<Revision, StoreError>;
}
