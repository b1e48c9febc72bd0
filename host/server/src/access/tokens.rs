//! The tokens in the store: creation, listing, revocation and verification.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::{Argon2, PasswordVerifier};
use jiff::Timestamp;
use occopus_engine::Pages;
use occopus_engine::ports::{CommitOutcome, Compare, Entry, Store, StoreError, Transaction, Write};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::record::{self, SecretCheck, TokenRecord};
use super::sessions::{self, SessionText, Sessions};
use super::token::{RandomnessError, TokenText, is_token_id};
use super::token_cache::{CacheLookup, TokenCache};
use super::{Scope, TokenInfo};

/// Argon2id checks (secrets of older records) at a time. Each takes a core for tens of milliseconds, and 19 MiB.
const MAX_ARGON2_CHECKS: usize = 2;
/// Time for which the absence of tokens is not checked again.
const PRESENCE_TTL: Duration = Duration::from_secs(1);
/// Interval at which the token of an endless response is checked again.
const STREAM_RECHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum length of a token's name.
const MAX_NAME_CHARS: usize = 64;

/// Description of a token to create.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Name for people. No two valid tokens have the same name.
    pub name: String,
    /// Scope that it grants.
    pub scope: Scope,
    /// Ids of the infrastructures that it is limited to; `None` for all.
    pub infrastructures: Option<BTreeSet<String>>,
    /// Time at which it expires; `None` for never.
    pub expires: Option<Timestamp>,
}

/// Failure of an operation on tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Invalid name.
    #[error("a token can't be called `{name}`: {reason}")]
    Name {
        /// Requested name.
        name: String,
        /// Rule that it breaks.
        reason: &'static str,
    },
    /// Name of another valid token.
    #[error("a token called `{name}` already exists: {id}")]
    Taken {
        /// Requested name.
        name: String,
        /// Id of the other token.
        id: String,
    },
    /// Expiry in the past.
    #[error("a token cannot expire at {expires}: that time is past")]
    Past {
        /// Requested expiry.
        expires: Timestamp,
    },
    /// Unknown id or name.
    #[error("no token has the id or name `{which}`")]
    Unknown {
        /// Requested id or name.
        which: String,
    },
    /// Concurrent change of the record by another process.
    #[error("another process changed the token {id} at the same moment; try again")]
    Changed {
        /// Id of the token.
        id: String,
    },
    /// Failure of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Failure to create or check a secret.
    #[error("the secret of a token could not be created or checked: {message}")]
    Secret {
        /// Cause.
        message: String,
    },
}

impl TokenError {
    /// Returns the error code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "token.name",
            Self::Taken { .. } => "token.taken",
            Self::Past { .. } => "token.past",
            Self::Unknown { .. } => "token.unknown",
            Self::Changed { .. } => "token.changed",
            Self::Store(_) => "token.store",
            Self::Secret { .. } => "token.secret",
        }
    }

    pub(super) fn secret(error: impl ToString) -> Self {
        Self::Secret { message: error.to_string() }
    }
}

impl From<RandomnessError> for TokenError {
    fn from(error: RandomnessError) -> Self {
        Self::secret(error)
    }
}

/// The tokens in the store. Clones share the store and the cache.
#[derive(Clone)]
pub struct Tokens {
    shared: Arc<TokensInner>,
}

struct TokensInner {
    store: Arc<dyn Store>,
    cache: TokenCache,
    checks: Semaphore,
    presence: Mutex<TokenPresence>,
}

/// Presence of tokens in the store at the last check. Records are never removed, so `Present` holds for ever.
#[derive(Clone, Copy)]
enum TokenPresence {
    Present,
    Absent { checked_at: Instant },
    Unknown,
}

impl Tokens {
    /// Creates access to the tokens of this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let (cache, checks) = (TokenCache::default(), Semaphore::new(MAX_ARGON2_CHECKS));
        Self { shared: Arc::new(TokensInner { store, cache, checks, presence: Mutex::new(TokenPresence::Unknown) }) }
    }

    /// Returns the sessions that were begun with these tokens.
    pub(super) fn sessions(&self) -> Sessions {
        Sessions::new(self.clone(), self.shared.store.clone())
    }

    /// Creates a token. Its text is returned here only; the store keeps a digest of the secret.
    ///
    /// # Errors
    /// Returns [`TokenError::Name`], [`TokenError::Taken`] or [`TokenError::Past`] if the request is invalid,
    /// [`TokenError::Secret`] if the operating system gives no random numbers, and [`TokenError::Store`] if the store
    /// fails.
    pub async fn create(&self, new: NewToken) -> Result<(TokenText, TokenInfo), TokenError> {
        let NewToken { name, scope, infrastructures, expires } = new;
        if let Some(reason) = name_error(&name) {
            return Err(TokenError::Name { name, reason });
        }
        let created = Timestamp::now();
        if let Some(expires) = expires.filter(|expires| *expires <= created) {
            return Err(TokenError::Past { expires });
        }
        let mut others = self.list().await?.into_iter();
        if let Some(other) = others.find(|other| other.name == name && other.is_valid(created)) {
            return Err(TokenError::Taken { name, id: other.id });
        }
        let text = TokenText::random()?;
        let id = text.id().to_owned();
        let info = TokenInfo { id: id.clone(), name, scope, infrastructures, created, expires, revoked: None };
        self.write(&id, 0, &TokenRecord::new(&info, text.secret()), None).await?;
        Ok((text, info))
    }

    /// Returns all tokens, the oldest first, including expired and revoked ones. Unreadable records are left out.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub async fn list(&self) -> Result<Vec<TokenInfo>, TokenError> {
        let entries = Pages::collect(&*self.shared.store, record::KEY_PREFIX).await?;
        let decoded = entries.iter().filter_map(|entry| {
            let id = entry.key.strip_prefix(record::KEY_PREFIX)?;
            Some(decode_record(id, entry)?.info(id))
        });
        let mut tokens: Vec<_> = decoded.collect();
        tokens.sort_by_key(|token| token.created);
        Ok(tokens)
    }

    /// Revokes the token with this id, or the tokens with this name, and removes their sessions. Returns these tokens.
    /// Revoking a revoked token changes nothing.
    ///
    /// # Errors
    /// Returns [`TokenError::Unknown`] if there is no such token, [`TokenError::Changed`] if another process changes one
    /// at the same moment, and [`TokenError::Store`] if the store fails. Some of several tokens may have been revoked
    /// then.
    pub async fn revoke(&self, which: &str) -> Result<Vec<TokenInfo>, TokenError> {
        let mut found = self.list().await?;
        let now = Timestamp::now();
        found.retain(|token| if is_token_id(which) { token.id == which } else { token.name == which });
        // A name may have belonged to tokens that were revoked before.
        if found.iter().any(|token| token.revoked.is_none()) {
            found.retain(|token| token.revoked.is_none());
        }
        if found.is_empty() {
            return Err(TokenError::Unknown { which: which.to_owned() });
        }
        for token in found.iter_mut().filter(|token| token.revoked.is_none()) {
            let unknown = || TokenError::Unknown { which: which.to_owned() };
            let entry = self.shared.store.get(&record::key(&token.id)).await?.ok_or_else(unknown)?;
            let mut record = decode_record(&token.id, &entry).ok_or_else(unknown)?;
            record.revoked.get_or_insert(now);
            let sessions = Write::DeletePrefix { prefix: sessions::key_prefix(&token.id) };
            self.write(&token.id, entry.modified, &record, Some(sessions)).await?;
            *token = record.info(&token.id);
        }
        Ok(found)
    }

    /// Returns true if a token was ever created in this store. A token of another process is seen within a second.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub async fn has_any(&self) -> Result<bool, TokenError> {
        match *self.shared.presence.lock().unwrap_or_else(PoisonError::into_inner) {
            TokenPresence::Present => return Ok(true),
            TokenPresence::Absent { checked_at } if checked_at.elapsed() < PRESENCE_TTL => return Ok(false),
            TokenPresence::Absent { .. } | TokenPresence::Unknown => {}
        }
        let checked_at = Instant::now();
        let any = !self.shared.store.range(record::KEY_PREFIX, None, 1).await?.is_empty();
        let mut presence = self.shared.presence.lock().unwrap_or_else(PoisonError::into_inner);
        // A slower check that found none does not override one that found some.
        if !matches!(*presence, TokenPresence::Present) {
            *presence = if any { TokenPresence::Present } else { TokenPresence::Absent { checked_at } };
        }
        Ok(any)
    }

    /// Returns true if there is a token that is neither revoked nor expired.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub async fn has_valid(&self) -> Result<bool, TokenError> {
        let now = Timestamp::now();
        Ok(self.list().await?.iter().any(|token| token.is_valid(now)))
    }

    /// Returns a valid token that was verified less than a minute ago. Reads the store once a second at most.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub async fn find_cached(&self, text: &str) -> Result<Option<TokenInfo>, TokenError> {
        let Some(token) = TokenText::parse(text) else { return Ok(None) };
        let digest = token.digest();
        let info = match self.shared.cache.lookup(&digest) {
            CacheLookup::Valid(info) => info,
            CacheLookup::Miss => return Ok(None),
            CacheLookup::Stale(info, modified) => match self.shared.store.get(&record::key(token.id())).await {
                Ok(Some(entry)) if entry.modified == modified => info,
                changed => {
                    self.shared.cache.remove(&digest);
                    changed?;
                    return Ok(None);
                }
            },
        };
        Ok(info.is_valid(Timestamp::now()).then_some(info))
    }

    /// Returns the token with this text, if it is valid.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub async fn verify(&self, text: &str) -> Result<Option<TokenInfo>, TokenError> {
        self.verify_limited(text, || Ok(())).await
    }

    /// Verifies like [`Tokens::verify`], and calls `permit` before an expensive check: that of a token of an older
    /// version which was not used since. Its record is rewritten with a digest, so that this happens once.
    pub(super) async fn verify_limited<E: From<TokenError>>(
        &self,
        text: &str,
        permit: impl FnOnce() -> Result<(), E>,
    ) -> Result<Option<TokenInfo>, E> {
        if let Some(info) = self.find_cached(text).await? {
            return Ok(Some(info));
        }
        let Some(token) = TokenText::parse(text) else { return Ok(None) };
        let key = record::key(token.id());
        let Some(entry) = self.shared.store.get(&key).await.map_err(TokenError::from)? else { return Ok(None) };
        let Some(record) = decode_record(token.id(), &entry) else { return Ok(None) };
        let info = record.info(token.id());
        if !info.is_valid(Timestamp::now()) {
            return Ok(None);
        }
        let is_match = match record.check_secret(token.secret()) {
            SecretCheck::Decided(is_match) => is_match,
            SecretCheck::NeedsArgon2(hash) => {
                permit()?;
                let is_match = self.verify_argon2(&token, hash.to_owned()).await?;
                if is_match {
                    // On a conflict another process has rewritten or revoked it; then the next request reads it again.
                    let _ =
                        self.write(token.id(), entry.modified, &TokenRecord::new(&info, token.secret()), None).await;
                }
                is_match
            }
        };
        if is_match {
            self.shared.cache.insert(token.digest(), info.clone(), entry.modified);
        }
        Ok(is_match.then_some(info))
    }

    async fn verify_argon2(&self, token: &TokenText, hash: String) -> Result<bool, TokenError> {
        let _permit = self.shared.checks.acquire().await.map_err(TokenError::secret)?;
        let secret = token.secret().to_vec();
        run_blocking(move || Argon2::default().verify_password(&secret, hash.as_str()).is_ok()).await
    }

    /// Returns the token with this id, if it is valid.
    pub(super) async fn find_valid(&self, id: &str) -> Result<Option<TokenInfo>, TokenError> {
        let entry = self.shared.store.get(&record::key(id)).await?;
        let info = entry.and_then(|entry| Some(decode_record(id, &entry)?.info(id)));
        Ok(info.filter(|info| info.is_valid(Timestamp::now())))
    }

    /// Waits until this token, or the session that uses it, is no longer valid; returns within
    /// [`STREAM_RECHECK_INTERVAL`] of that. Errors of the store count as valid. Used for endless responses.
    pub(super) async fn wait_until_invalid(self, id: String, session: Option<SessionText>) {
        let sessions = self.sessions();
        loop {
            tokio::time::sleep(STREAM_RECHECK_INTERVAL).await;
            let found = match &session {
                Some(session) => sessions.verify(session).await,
                None => self.find_valid(&id).await,
            };
            match found {
                Ok(Some(_)) => {}
                Ok(None) => return,
                // The check is repeated; the token was valid when the response began.
                Err(error) => tracing::debug!(%error, "a token could not be checked again"),
            }
        }
    }

    /// Waits until there is a token; returns within [`STREAM_RECHECK_INTERVAL`] of that. Used for endless responses to
    /// callers that needed none.
    pub(super) async fn wait_for_first(self) {
        loop {
            tokio::time::sleep(STREAM_RECHECK_INTERVAL).await;
            match self.has_any().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "the presence of tokens could not be checked again"),
            }
        }
    }

    async fn write(
        &self,
        id: &str,
        modified: u64,
        record: &TokenRecord,
        also: Option<Write>,
    ) -> Result<(), TokenError> {
        let compares = vec![Compare::Modified(record::key(id), modified)];
        let put = record.put(id).map_err(StoreError::from)?;
        let writes = [put].into_iter().chain(also).collect();
        match self.shared.store.commit(Transaction { compares, writes }).await? {
            CommitOutcome::Committed(_) => Ok(()),
            CommitOutcome::Conflict => Err(TokenError::Changed { id: id.to_owned() }),
        }
    }
}

/// Runs a computation on a thread for blocking work.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, TokenError> {
    tokio::task::spawn_blocking(work).await.map_err(TokenError::secret)
}

/// Decodes a record. An unreadable one is logged and treated as absent: it admits nobody, and hides no other token.
fn decode_record(id: &str, entry: &Entry) -> Option<TokenRecord> {
    TokenRecord::decode(entry)
        .inspect_err(|error| tracing::warn!(token = id, "the record of a token can't be read: {error}"))
        .ok()
}

/// Returns the rule that a name breaks, if any.
fn name_error(name: &str) -> Option<&'static str> {
    match name {
        _ if name.trim() != name || name.is_empty() => Some("it is empty, or begins or ends with a blank"),
        _ if name.chars().count() > MAX_NAME_CHARS => Some("it has more than 64 characters"),
        _ if name.chars().any(char::is_control) => Some("it has control characters"),
        _ if is_token_id(name) => Some("it looks like the id of a token"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
