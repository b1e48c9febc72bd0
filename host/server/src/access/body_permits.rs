//! Documents of one caller are read and worked on few at a time, so that no more of them are in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Caller, Scope};

/// Documents of one who only looks.
const MAX_READER_BODIES: usize = 2;
/// Documents of one who does more.
const MAX_OPERATOR_BODIES: usize = 8;

/// Callers whose documents are worked on. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct BodyPermits {
    by_token: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
}

impl BodyPermits {
    /// Waits until it is the caller's turn, which it is until what this gives is dropped.
    pub(super) async fn acquire(&self, caller: &Caller) -> Option<OwnedSemaphorePermit> {
        let many = if caller.scope == Scope::Read { MAX_READER_BODIES } else { MAX_OPERATOR_BODIES };
        // Nobody closes them.
        self.semaphore(caller.token.as_deref().unwrap_or_default(), many).acquire_owned().await.ok()
    }

    fn semaphore(&self, token: &str, many: usize) -> Arc<Semaphore> {
        let mut by = self.by_token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = by.get(token).and_then(Weak::upgrade) {
            return turns;
        }
        by.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Semaphore::new(many));
        by.insert(token.to_owned(), Arc::downgrade(&turns));
        turns
    }
}
