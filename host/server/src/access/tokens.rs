//! The tokens in the store: made, listed, revoked, checked.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::{Argon2, PasswordVerifier};
use jiff::Timestamp;
use occopus_engine::ports::{CommitOutcome, Compare, Entry, Store, StoreError, Transaction, Write};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::record::{self, SecretCheck, TokenRecord};
use super::sessions::{self, SessionText, Sessions};
use super::token::{RandomnessError, TokenText, is_token_id};
use super::token_cache::{CacheLookup, TokenCache};
use super::{Scope, TokenInfo};

/// Secrets of older records that are checked at a time. Each takes a core for tens of milliseconds, and 19 MiB.
const MAX_ARGON2_CHECKS: usize = 2;
/// How long it need not be looked again whether there are tokens.
const PRESENCE_TTL: Duration = Duration::from_secs(1);
/// How often it is looked whether a token is still good for whom an answer is being sent without end.
const STREAM_RECHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Records that are read at a time.
const PAGE_SIZE: usize = 500;
/// Of a name.
const MAX_NAME_CHARS: usize = 64;

/// A token that is to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What people call it. Two good tokens have not the same name.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// The infrastructures that it is for; none: all.
    pub infrastructures: Option<BTreeSet<String>>,
    /// When it ends; none: never.
    pub expires: Option<Timestamp>,
}

/// Why something could not be done with tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A token can't have this name.
    #[error("a token can't be called `{name}`: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Another one has this name.
    #[error("there is a token called `{name}` already: {id}")]
    Taken {
        /// The name.
        name: String,
        /// The other one.
        id: String,
    },
    /// It would be of no use.
    #[error("a token that ends at {expires} is of no use: that is past")]
    Past {
        /// When it would end.
        expires: Timestamp,
    },
    /// There is none.
    #[error("there is no token with the id or name `{which}`")]
    Unknown {
        /// What was asked for.
        which: String,
    },
    /// Another process changed it at the same moment.
    #[error("another process changed the token {id} at the same moment; try again")]
    Changed {
        /// The token.
        id: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The secret could not be made or checked.
    #[error("the secret of a token could not be worked on: {message}")]
    Secret {
        /// Why.
        message: String,
    },
}

impl TokenError {
    /// For programs.
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

    pub(super) fn secret(reason: impl ToString) -> Self {
        Self::Secret { message: reason.to_string() }
    }
}

impl From<RandomnessError> for TokenError {
    fn from(error: RandomnessError) -> Self {
        Self::secret(error)
    }
}

/// The tokens in the store. Clones are the same.
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

/// Whether there are tokens, when somebody looked last. Records are never removed, so that a yes holds for ever.
#[derive(Clone, Copy)]
enum TokenPresence {
    Present,
    Absent { checked_at: Instant },
    Unknown,
}

impl Tokens {
    /// Of this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let (remembered, checks) = (TokenCache::default(), Semaphore::new(MAX_ARGON2_CHECKS));
        Self {
            shared: Arc::new(TokensInner {
                store,
                cache: remembered,
                checks,
                presence: Mutex::new(TokenPresence::Unknown),
            }),
        }
    }

    /// Sessions of those who have signed in by one of these tokens.
    pub(super) fn sessions(&self) -> Sessions {
        Sessions::new(self.clone(), self.shared.store.clone())
    }

    /// Makes a token. Its text is given once; the store keeps a digest of the secret.
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

    /// All tokens, the oldest first, also those that are no good any more.
    pub async fn list(&self) -> Result<Vec<TokenInfo>, TokenError> {
        let mut tokens = Vec::new();
        let mut after = None;
        loop {
            let page = self.shared.store.range(record::KEY_PREFIX, after.as_deref(), PAGE_SIZE).await?;
            tokens.extend(page.iter().filter_map(|entry| {
                let id = entry.key.strip_prefix(record::KEY_PREFIX)?;
                Some(decode_record(id, entry)?.info(id))
            }));
            match page.into_iter().last() {
                Some(last) => after = Some(last.key),
                None => break,
            }
        }
        tokens.sort_by_key(|token| token.created);
        Ok(tokens)
    }

    /// Lets a token open nothing any more: the one with this id, or those that are called so. Gives them.
    pub async fn revoke(&self, which: &str) -> Result<Vec<TokenInfo>, TokenError> {
        let mut found = self.list().await?;
        let now = Timestamp::now();
        found.retain(|token| if is_token_id(which) { token.id == which } else { token.name == which });
        // A name may have been that of others before.
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

    /// Whether a token was ever made here. What another process made is seen a second later.
    pub async fn has_any(&self) -> Result<bool, TokenError> {
        match *self.shared.presence.lock().unwrap_or_else(PoisonError::into_inner) {
            TokenPresence::Present => return Ok(true),
            TokenPresence::Absent { checked_at: looked } if looked.elapsed() < PRESENCE_TTL => return Ok(false),
            TokenPresence::Absent { .. } | TokenPresence::Unknown => {}
        }
        let looked = Instant::now();
        let any = !self.shared.store.range(record::KEY_PREFIX, None, 1).await?.is_empty();
        let mut known = self.shared.presence.lock().unwrap_or_else(PoisonError::into_inner);
        // A slower look that saw less does not count.
        if !matches!(*known, TokenPresence::Present) {
            *known = if any { TokenPresence::Present } else { TokenPresence::Absent { checked_at: looked } };
        }
        Ok(any)
    }

    /// Whether there is a token that opens doors.
    pub async fn has_valid(&self) -> Result<bool, TokenError> {
        let now = Timestamp::now();
        Ok(self.list().await?.iter().any(|token| token.is_valid(now)))
    }

    /// What is known of a token that was checked less than a minute ago. Costs next to nothing.
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

    /// What is known of a token, if it is good.
    pub async fn verify(&self, text: &str) -> Result<Option<TokenInfo>, TokenError> {
        self.verify_limited(text, || Ok(())).await
    }

    /// As [`Tokens::verify`], with leave to be taken where checking takes a while: for a token of an older version that was not
    /// used since. Its record is written anew, so that it happens once.
    pub(super) async fn verify_limited<E: From<TokenError>>(
        &self,
        text: &str,
        leave: impl FnOnce() -> Result<(), E>,
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
        let good = match record.check_secret(token.secret()) {
            SecretCheck::Decided(good) => good,
            SecretCheck::NeedsArgon2(hash) => {
                leave()?;
                let good = self.verify_argon2(&token, hash.to_owned()).await?;
                if good {
                    // Another one may have done so, or revoked it: then it is read again.
                    let _ =
                        self.write(token.id(), entry.modified, &TokenRecord::new(&info, token.secret()), None).await;
                }
                good
            }
        };
        if good {
            self.shared.cache.insert(token.digest(), info.clone(), entry.modified);
        }
        Ok(good.then_some(info))
    }

    async fn verify_argon2(&self, token: &TokenText, hash: String) -> Result<bool, TokenError> {
        let _permit = self.shared.checks.acquire().await.map_err(TokenError::secret)?;
        let secret = token.secret().to_vec();
        run_blocking(move || Argon2::default().verify_password(&secret, hash.as_str()).is_ok()).await
    }

    /// Returns what is known of the token with this id, if it is good.
    pub(super) async fn find_valid(&self, id: &str) -> Result<Option<TokenInfo>, TokenError> {
        let entry = self.shared.store.get(&record::key(id)).await?;
        let info = entry.and_then(|entry| Some(decode_record(id, &entry)?.info(id)));
        Ok(info.filter(|info| info.is_valid(Timestamp::now())))
    }

    /// Ends when this token is no good any more, or the session by which it is used, some seconds later at most: for answers
    /// without end.
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
                // It is asked again; who has the answer had a good token.
                Err(error) => tracing::debug!(%error, "a token could not be looked at again"),
            }
        }
    }

    /// Ends when there is a token, some seconds later at most: for answers without end to those who needed none.
    pub(super) async fn wait_for_first(self) {
        loop {
            tokio::time::sleep(STREAM_RECHECK_INTERVAL).await;
            match self.has_any().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "tokens could not be looked for again"),
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
        let (key, value) = (record::key(id), record.encode().map_err(TokenError::secret)?);
        let compares = vec![Compare::Modified(key.clone(), modified)];
        let writes = [Write::Put { key, value, lease: None }].into_iter().chain(also).collect();
        match self.shared.store.commit(Transaction { compares, writes }).await? {
            CommitOutcome::Committed(_) => Ok(()),
            CommitOutcome::Conflict => Err(TokenError::Changed { id: id.to_owned() }),
        }
    }
}

/// Computes off the asynchronous threads.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, TokenError> {
    tokio::task::spawn_blocking(work).await.map_err(TokenError::secret)
}

/// A record that can't be read opens no door, and shuts none.
fn decode_record(id: &str, entry: &Entry) -> Option<TokenRecord> {
    TokenRecord::decode(&entry.value)
        .inspect_err(|error| tracing::warn!(token = id, error, "the record of a token can't be read"))
        .ok()
}

/// Why a token can't have this name.
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
