//! A limit on the request bodies of one caller that are read and processed at a time, so that no more of them are in
//! memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Caller, Scope};

/// Bodies at a time of a token that may only read.
const MAX_READER_BODIES: usize = 2;
/// Bodies at a time of a token that may do more.
const MAX_OPERATOR_BODIES: usize = 8;

/// Permits for request bodies, by token. Clones share them.
#[derive(Clone, Default)]
pub(super) struct BodyPermits {
    by_token: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
}

impl BodyPermits {
    /// Waits for a permit of the caller, which is held until it is dropped.
    pub(super) async fn acquire(&self, caller: &Caller) -> Option<OwnedSemaphorePermit> {
        let limit = if caller.scope == Scope::Read { MAX_READER_BODIES } else { MAX_OPERATOR_BODIES };
        // The semaphores are never closed.
        self.semaphore(caller.token.as_deref().unwrap_or_default(), limit).acquire_owned().await.ok()
    }

    fn semaphore(&self, token: &str, limit: usize) -> Arc<Semaphore> {
        let mut by_token = self.by_token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = by_token.get(token).and_then(Weak::upgrade) {
            return semaphore;
        }
        by_token.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(limit));
        by_token.insert(token.to_owned(), Arc::downgrade(&semaphore));
        semaphore
    }
}
