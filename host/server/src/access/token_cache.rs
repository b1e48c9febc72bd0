//! Tokens that were good a moment ago: checking a secret takes a core for tens of milliseconds, too long for every request.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use occopus_engine::ports::Revision;
use tokio::time::Instant;

use super::TokenInfo;

/// How long a secret need not be checked again.
const VERIFIED_TTL: Duration = Duration::from_secs(60);
/// How long a record need not be read again. So late a revocation is seen at most.
const RECORD_TTL: Duration = Duration::from_secs(1);

/// Tokens that were good a moment ago, by the digest of their text. As many as there are good tokens, at most.
#[derive(Default)]
pub(super) struct TokenCache {
    tokens: Mutex<HashMap<[u8; 32], CachedToken>>,
}

struct CachedToken {
    info: TokenInfo,
    /// Of the record.
    modified: Revision,
    verified: Instant,
    read: Instant,
}

/// What is remembered of a token.
pub(super) enum CacheLookup {
    /// It is good.
    Valid(TokenInfo),
    /// It was good while its record was of this revision, which is to be read again.
    Stale(TokenInfo, Revision),
    /// Nothing.
    Miss,
}

impl TokenCache {
    /// What is known of a token. Who is told `Perhaps` reads the record; others are told `Good` in the meantime.
    pub(super) fn lookup(&self, digest: &[u8; 32]) -> CacheLookup {
        let now = Instant::now();
        let mut tokens = self.lock();
        let Some(known) = tokens.get_mut(digest).filter(|known| now - known.verified < VERIFIED_TTL) else {
            return CacheLookup::Miss;
        };
        if now - known.read < RECORD_TTL {
            return CacheLookup::Valid(known.info.clone());
        }
        known.read = now;
        CacheLookup::Stale(known.info.clone(), known.modified)
    }

    /// The secret has been checked.
    pub(super) fn insert(&self, digest: [u8; 32], info: TokenInfo, modified: Revision) {
        let now = Instant::now();
        let mut tokens = self.lock();
        tokens.retain(|_, known| now - known.verified < VERIFIED_TTL);
        tokens.insert(digest, CachedToken { info, modified, verified: now, read: now });
    }

    /// The record is another one now, or can't be read.
    pub(super) fn remove(&self, digest: &[u8; 32]) {
        self.lock().remove(digest);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], CachedToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
