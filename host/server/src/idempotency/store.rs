//! The store as routes and the engine use it: changes by a request with a key are one transaction with the record that it
//! was done. So it is done once, also if the same request arrives again while it is handled, at another service on this
//! store, or after this one was killed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use occopus_engine::ports::{
    Changes, CommitOutcome, Compare, Entry, LeaseId, Revision, Store, StoreError, Transaction, Write,
};

use super::FORMAT;
use super::record::{IdempotencyRecord, RecordedResponse};

tokio::task_local! {
    /// The request that this task handles, if it has a key.
    static CURRENT_REQUEST: Arc<KeyedRequest>;
}

/// A request with a key.
pub(super) struct KeyedRequest {
    /// Key of its record in the store.
    pub(super) key: String,
    /// Method and path.
    pub(super) request: String,
    /// Digest of its body.
    pub(super) digest: String,
    state: Mutex<KeyedState>,
}

#[derive(Clone, Default)]
struct KeyedState {
    /// Revision of its record; 0 while there is none.
    revision: Revision,
    /// State after the request has changed something.
    done: bool,
    /// State after the same request has changed something elsewhere a moment before.
    overtaken: bool,
    /// Infrastructure and id of the operation that it creates.
    operation: Option<(String, String)>,
}

impl KeyedRequest {
    /// Creates a request that has not begun. `revision` is that of its expired record, or 0.
    pub(super) fn new(key: String, request: String, digest: String, revision: Revision) -> Self {
        Self { key, request, digest, state: Mutex::new(KeyedState { revision, ..KeyedState::default() }) }
    }

    /// Runs the work of this request: the store records its changes for it.
    pub(super) async fn scope<F: Future>(self: &Arc<Self>, work: F) -> F::Output {
        CURRENT_REQUEST.scope(self.clone(), work).await
    }

    pub(super) fn is_done(&self) -> bool {
        self.state().done
    }

    pub(super) fn is_overtaken(&self) -> bool {
        self.state().overtaken
    }

    /// Records the response. If that fails, a repetition learns that the request was done, and not its response.
    pub(super) async fn store_answer(&self, store: &dyn Store, answer: RecordedResponse) -> Result<(), StoreError> {
        let state = self.state().clone();
        let writes = vec![self.record_write(&state, Some(answer))?];
        let compares = vec![Compare::Modified(self.key.clone(), state.revision)];
        store.commit(Transaction { compares, writes }).await.map(drop)
    }

    fn record_write(&self, state: &KeyedState, answer: Option<RecordedResponse>) -> Result<Write, StoreError> {
        let (infraid, operation) = state.operation.clone().unzip();
        let record = IdempotencyRecord {
            digest: self.digest.clone(),
            request: Some(self.request.clone()),
            infraid,
            operation,
            time: Timestamp::now(),
            answer,
        };
        Ok(FORMAT.put(self.key.clone(), &record)?)
    }

    async fn commit(&self, store: &dyn Store, mut transaction: Transaction) -> Result<CommitOutcome, StoreError> {
        let state = self.state().clone();
        transaction.compares.push(Compare::Modified(self.key.clone(), state.revision));
        transaction.writes.push(self.record_write(&state, None)?);
        match store.commit(transaction).await? {
            CommitOutcome::Committed(revision) => {
                let mut state = self.state();
                (state.revision, state.done) = (revision, true);
                Ok(CommitOutcome::Committed(revision))
            }
            CommitOutcome::Conflict => {
                let current = store.get(&self.key).await?.map_or(0, |entry| entry.modified);
                if current == state.revision {
                    return Ok(CommitOutcome::Conflict);
                }
                self.state().overtaken = true;
                let message = "the same request was done a moment before".to_owned();
                Err(StoreError::Unavailable { message })
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, KeyedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes that the current request creates this operation, with which it is answered whatever happens to this service.
pub(crate) fn note_operation(infraid: &str, operation: &str) {
    // Most requests have no key.
    let _ = CURRENT_REQUEST
        .try_with(|request| request.state().operation = Some((infraid.to_owned(), operation.to_owned())));
}

/// A store that records requests with a key together with their changes.
pub(crate) struct IdempotentStore(pub(crate) Arc<dyn Store>);

#[async_trait]
impl Store for IdempotentStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.0.get(key).await
    }

    async fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.0.range(prefix, after, limit).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<CommitOutcome, StoreError> {
        match CURRENT_REQUEST.try_with(Arc::clone) {
            Ok(request) if !transaction.writes.is_empty() => request.commit(&*self.0, transaction).await,
            _ => self.0.commit(transaction).await,
        }
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.0.grant_lease(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, StoreError> {
        self.0.keep_alive(lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.0.revoke_lease(lease).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Changes, StoreError> {
        self.0.watch(prefix, after).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.0.revision().await
    }
}
