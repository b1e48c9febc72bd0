//! A small memory across calls.

use std::time::Duration;

use crate::platform;

/// The host's memory for short-lived tokens, kept apart for each plugin and credential. An entry may vanish at any time.
#[derive(Debug, Clone, Copy)]
pub struct Cache(pub(crate) ());

impl Cache {
    /// Returns the value under this key, unless it has expired or vanished.
    pub fn get(self, key: &str) -> Option<Vec<u8>> {
        platform::cache_get(key)
    }

    /// Keeps a value, for an hour at most.
    pub fn put(self, key: &str, value: &[u8], lifetime: Duration) {
        platform::cache_put(key, value, lifetime);
    }
}
