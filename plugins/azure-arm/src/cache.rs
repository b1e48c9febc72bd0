//! Texts in the host's cache.

use std::time::Duration;

use occopus_sdk::Cache;

/// Returns the text under this key, unless it is empty or not text.
pub(crate) fn text(cache: Cache, key: &str) -> Option<String> {
    String::from_utf8(cache.get(key)?).ok().filter(|text| !text.is_empty())
}

/// Forgets what is under a key.
pub(crate) fn forget(cache: Cache, key: &str) {
    cache.put(key, b"", Duration::ZERO);
}
