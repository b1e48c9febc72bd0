//! Documents of one caller are read and worked on few at a time, so that no more of them are in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Caller, Scope};

/// Documents of one who only looks.
const READING: usize = 2;
/// Documents of one who does more.
const WORKING: usize = 8;

/// Callers whose documents are worked on. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Bodies {
    by: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
}

impl Bodies {
    /// Waits until it is the caller's turn, which it is until what this gives is dropped.
    pub(super) async fn turn(&self, caller: &Caller) -> Option<OwnedSemaphorePermit> {
        let many = if caller.scope == Scope::Read { READING } else { WORKING };
        // Nobody closes them.
        self.of(caller.token.as_deref().unwrap_or_default(), many).acquire_owned().await.ok()
    }

    fn of(&self, token: &str, many: usize) -> Arc<Semaphore> {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = by.get(token).and_then(Weak::upgrade) {
            return turns;
        }
        by.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Semaphore::new(many));
        by.insert(token.to_owned(), Arc::downgrade(&turns));
        turns
    }
}
