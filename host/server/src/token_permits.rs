//! Permits that each token has for itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Semaphore;

/// Semaphores by token, each for as long as somebody holds or awaits a permit of it. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct TokenPermits {
    by_token: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
}

impl TokenPermits {
    /// Returns the semaphore of a token, of so many permits if there is none yet.
    pub(crate) fn semaphore(&self, token: &str, permits: usize) -> Arc<Semaphore> {
        let mut by_token = self.by_token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = by_token.get(token).and_then(Weak::upgrade) {
            return semaphore;
        }
        by_token.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(permits));
        by_token.insert(token.to_owned(), Arc::downgrade(&semaphore));
        semaphore
    }
}
