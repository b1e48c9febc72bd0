//! A cache of tokens that were verified lately: reading the record, and for older records checking Argon2id for tens of
//! milliseconds on one core, is too slow for every request.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use occopus_engine::ports::Revision;
use tokio::time::Instant;

use super::TokenInfo;

/// Time for which a verified secret is not checked again.
const VERIFIED_TTL: Duration = Duration::from_secs(60);
/// Time for which a record is not read again: the maximum delay until a revocation takes effect.
const RECORD_TTL: Duration = Duration::from_secs(1);

/// Tokens that were verified lately, by the digest of their text. Bounded by the number of valid tokens.
#[derive(Default)]
pub(super) struct TokenCache {
    tokens: Mutex<HashMap<[u8; 32], CachedToken>>,
}

struct CachedToken {
    info: TokenInfo,
    /// Revision of the record.
    modified: Revision,
    verified: Instant,
    read: Instant,
}

/// Result of a lookup.
pub(super) enum CacheLookup {
    /// A token that needs no check.
    Valid(TokenInfo),
    /// A token that was valid at this revision of its record; the caller must read the record again.
    Stale(TokenInfo, Revision),
    /// Absence of an entry.
    Miss,
}

impl TokenCache {
    /// Returns the entry of a token. A caller that gets `Stale` reads the record; the others get `Valid` in the meantime.
    pub(super) fn lookup(&self, digest: &[u8; 32]) -> CacheLookup {
        let now = Instant::now();
        let mut tokens = self.lock();
        let Some(cached) = tokens.get_mut(digest).filter(|cached| now - cached.verified < VERIFIED_TTL) else {
            return CacheLookup::Miss;
        };
        if now - cached.read < RECORD_TTL {
            return CacheLookup::Valid(cached.info.clone());
        }
        cached.read = now;
        CacheLookup::Stale(cached.info.clone(), cached.modified)
    }

    /// Adds a token whose secret has been verified, and drops expired entries.
    pub(super) fn insert(&self, digest: [u8; 32], info: TokenInfo, modified: Revision) {
        let now = Instant::now();
        let mut tokens = self.lock();
        tokens.retain(|_, cached| now - cached.verified < VERIFIED_TTL);
        tokens.insert(digest, CachedToken { info, modified, verified: now, read: now });
    }

    /// Removes a token whose record has changed or can't be read.
    pub(super) fn remove(&self, digest: &[u8; 32]) {
        self.lock().remove(digest);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], CachedToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
