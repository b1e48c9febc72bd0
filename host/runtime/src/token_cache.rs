//! Short-lived tokens that plugins obtain, in memory, apart for each plugin and credential.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lifetime of a token, at most.
const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// Bytes of one key or value.
const MAX_ENTRY_BYTES: usize = 64 << 10;
/// Number of entries of one plugin with one credential.
const MAX_ENTRIES_PER_SCOPE: usize = 64;
/// Bytes of all entries of one plugin with one credential.
const MAX_BYTES_PER_SCOPE: usize = 1 << 20;
/// Number of pairs of plugin and credential. They follow from the user's rules; no plugin can make one.
const MAX_SCOPES: usize = 4_096;

/// Tokens of one plugin with one credential, by its own keys.
#[derive(Default)]
struct ScopeTokens {
    entries: HashMap<String, (Instant, Vec<u8>)>,
}

impl ScopeTokens {
    fn bytes(&self) -> usize {
        self.entries.iter().map(|(key, (_, value))| key.len() + value.len()).sum()
    }

    /// Stores a value. The entries that expire first make room for it.
    fn put(&mut self, key: &str, value: Vec<u8>, expires: Instant) {
        self.entries.remove(key);
        let bytes = key.len() + value.len();
        while self.entries.len() >= MAX_ENTRIES_PER_SCOPE || self.bytes() + bytes > MAX_BYTES_PER_SCOPE {
            let first = self.entries.iter().min_by_key(|(_, (expires, _))| *expires).map(|(key, _)| key.clone());
            let Some(key) = first else { return };
            self.entries.remove(&key);
        }
        self.entries.insert(key.to_owned(), (expires, value));
    }
}

#[derive(Default)]
pub(crate) struct TokenCache {
    scopes: Mutex<HashMap<String, ScopeTokens>>,
}

impl TokenCache {
    pub(crate) fn get(&self, scope: &str, key: &str) -> Option<Vec<u8>> {
        let scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        let (expires, value) = scopes.get(scope)?.entries.get(key)?;
        (*expires > Instant::now()).then(|| value.clone())
    }

    pub(crate) fn put(&self, scope: &str, key: &str, value: Vec<u8>, lifetime: Duration) {
        if value.len() > MAX_ENTRY_BYTES || key.len() > MAX_ENTRY_BYTES {
            return;
        }
        let now = Instant::now();
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        if scopes.len() >= MAX_SCOPES && !scopes.contains_key(scope) {
            scopes.retain(|_, own| own.entries.values().any(|(expires, _)| *expires > now));
            if scopes.len() >= MAX_SCOPES {
                return;
            }
        }
        scopes.entry(scope.to_owned()).or_default().put(key, value, now + lifetime.min(MAX_TOKEN_LIFETIME));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn who_fills_the_cache_takes_nothing_from_others() {
        let cache = TokenCache::default();
        cache.put("nova", "token", b"kept".to_vec(), MINUTE);
        for number in 0..10_000 {
            cache.put("hostile", &number.to_string(), vec![0; 1 << 10], MAX_TOKEN_LIFETIME);
        }
        assert_eq!(cache.get("nova", "token").as_deref(), Some(b"kept".as_slice()));
        cache.put("nova", "other", b"new".to_vec(), MINUTE);
        assert_eq!(cache.get("nova", "other").as_deref(), Some(b"new".as_slice()));
        assert_eq!(cache.scopes.lock().unwrap()["hostile"].entries.len(), MAX_ENTRIES_PER_SCOPE);
        for number in 0..100 {
            cache.put("hostile", &number.to_string(), vec![0; MAX_ENTRY_BYTES], MAX_TOKEN_LIFETIME);
        }
        assert!(cache.scopes.lock().unwrap()["hostile"].bytes() <= MAX_BYTES_PER_SCOPE);
    }

    #[test]
    fn what_ends_first_makes_room() {
        let cache = TokenCache::default();
        cache.put("one", "long", vec![1], 2 * MINUTE);
        for number in 0..MAX_ENTRIES_PER_SCOPE {
            cache.put("one", &number.to_string(), vec![0], MINUTE);
        }
        assert!(cache.get("one", "long").is_some());
        assert_eq!(
            (0..MAX_ENTRIES_PER_SCOPE).filter(|key| cache.get("one", &key.to_string()).is_some()).count(),
            MAX_ENTRIES_PER_SCOPE - 1
        );
    }
}
