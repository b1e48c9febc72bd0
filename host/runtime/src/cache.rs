//! Short-lived tokens that plugins obtain, in memory, apart for each plugin and credential.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The longest lifetime.
const LONGEST: Duration = Duration::from_secs(3600);
/// The most bytes of one entry, and the most entries of all.
const MOST_BYTES: usize = 64 << 10;
const MOST_ENTRIES: usize = 4_096;

/// Plugin and credential, and the plugin's own key.
type Place = (String, String);

#[derive(Default)]
pub(crate) struct TokenCache {
    entries: Mutex<HashMap<Place, (Instant, Vec<u8>)>>,
}

impl TokenCache {
    pub(crate) fn get(&self, scope: &str, key: &str) -> Option<Vec<u8>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, value) = entries.get(&(scope.to_owned(), key.to_owned()))?;
        (*until > Instant::now()).then(|| value.clone())
    }

    pub(crate) fn put(&self, scope: &str, key: &str, value: Vec<u8>, lifetime: Duration) {
        if value.len() > MOST_BYTES || key.len() > MOST_BYTES {
            return;
        }
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MOST_ENTRIES {
            entries.retain(|_, (until, _)| *until > now);
        }
        if entries.len() < MOST_ENTRIES {
            entries.insert((scope.to_owned(), key.to_owned()), (now + lifetime.min(LONGEST), value));
        }
    }
}
