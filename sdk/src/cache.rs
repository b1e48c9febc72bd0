//! A small memory across calls, for short-lived tokens. Kept by the host, apart for each plugin and credential.

use std::time::Duration;

use crate::host;

/// What was put under this key, unless it has vanished.
pub fn get(key: &str) -> Option<Vec<u8>> {
    host::cache_get(key)
}

/// Keeps a value for a while; at most an hour.
pub fn put(key: &str, value: &[u8], lifetime: Duration) {
    host::cache_put(key, value, u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX));
}
