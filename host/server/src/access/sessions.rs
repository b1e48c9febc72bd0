//! Sessions of people who have signed in with a browser. The cookie holds the text of a session and not the token: a
//! stolen cookie gives access to the page only, until the session ends, and none after the token is revoked.
//!
//! `service/session/TOKEN/DIGEST` is a session: the id of its token, and the SHA-256 of its secret.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use occopus_engine::ports::{Entry, Store, StoreError, Transaction, Write};
use occopus_engine::{RecordFormat, VersionField};
use serde::{Deserialize, Serialize};

use super::token::{SecretText, digest};
use super::{TokenError, TokenInfo, Tokens};

/// Prefix of the records' keys.
pub(super) const KEY_PREFIX: &str = "service/session/";
/// Format of the records.
const FORMAT: RecordFormat = RecordFormat::new(1, VersionField::Version);
/// Lifetime of a session.
pub(super) const SESSION_TTL: Duration = Duration::from_secs(12 * 60 * 60);
/// Sessions of one token. Beginning another one ends the oldest.
const MAX_SESSIONS_PER_TOKEN: usize = 32;

/// The text of a session: `ocs_TOKEN_SECRET`. Accepted in a cookie only.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionText(SecretText);

impl SessionText {
    /// Parses a text that a client sent; `None` unless it has the form of a session.
    pub(super) fn parse(text: &str) -> Option<Self> {
        SecretText::parse("ocs_", text).map(Self)
    }

    /// Returns the whole text, for the browser.
    pub(super) fn reveal(&self) -> &str {
        self.0.reveal()
    }

    fn key(&self) -> String {
        let digest: String = digest(self.0.secret()).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}{digest}", key_prefix(self.0.id()))
    }
}

impl fmt::Debug for SessionText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ocs_{}_…", self.0.id())
    }
}

#[derive(Serialize, Deserialize)]
struct SessionRecord {
    created: Timestamp,
    expires: Timestamp,
}

/// The sessions in the store. Clones share it.
#[derive(Clone)]
pub(super) struct Sessions {
    tokens: Tokens,
    store: Arc<dyn Store>,
}

/// Returns the prefix of the keys of a token's sessions.
pub(super) fn key_prefix(id: &str) -> String {
    format!("{KEY_PREFIX}{id}/")
}

/// Decodes a session. An unreadable one admits nobody.
fn decode(entry: &Entry) -> Option<SessionRecord> {
    FORMAT
        .decode_entry(entry)
        .inspect_err(|error| tracing::warn!("the record of a session can't be read: {error}"))
        .ok()
}

impl Sessions {
    pub(super) fn new(tokens: Tokens, store: Arc<dyn Store>) -> Self {
        Self { tokens, store }
    }

    /// Begins a session of this token, and ends expired sessions and the oldest over the limit.
    pub(super) async fn begin(&self, token: &TokenInfo) -> Result<SessionText, TokenError> {
        let text = SessionText(SecretText::random("ocs_", Some(&token.id))?);
        let now = Timestamp::now();
        let expires = now.checked_add(SESSION_TTL).unwrap_or(now);
        let put = FORMAT.put(text.key(), &SessionRecord { created: now, expires }).map_err(StoreError::from)?;
        let mut others: Vec<_> = self
            .store
            .range(&key_prefix(&token.id), None, 2 * MAX_SESSIONS_PER_TOKEN)
            .await?
            .into_iter()
            .map(|entry| (decode(&entry).filter(|record| now < record.expires).map(|record| record.created), entry.key))
            .collect();
        // Expired sessions sort first, then the oldest; the newest come last.
        others.sort();
        let expired = others.iter().filter(|(created, _)| created.is_none()).count();
        let excess = expired.max((others.len() + 1).saturating_sub(MAX_SESSIONS_PER_TOKEN));
        let old = others.into_iter().take(excess).map(|(_, key)| Write::Delete { key });
        let writes = [put].into_iter().chain(old).collect();
        self.store.commit(Transaction { compares: Vec::new(), writes }).await?;
        Ok(text)
    }

    /// Returns the token of a session, if both are valid.
    pub(super) async fn verify(&self, text: &SessionText) -> Result<Option<TokenInfo>, TokenError> {
        let Some(entry) = self.store.get(&text.key()).await? else { return Ok(None) };
        match decode(&entry) {
            Some(record) if Timestamp::now() < record.expires => self.tokens.find_valid(text.0.id()).await,
            _ => Ok(None),
        }
    }

    /// Ends a session.
    pub(super) async fn end(&self, text: &SessionText) -> Result<(), TokenError> {
        let writes = vec![Write::Delete { key: text.key() }];
        self.store.commit(Transaction { compares: Vec::new(), writes }).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use occopus_engine::ports::SystemClock;
    use occopus_engine::testing::MemoryStore;

    use super::*;
    use crate::access::{NewToken, Scope};

    fn reader(name: &str) -> NewToken {
        NewToken { name: name.to_owned(), scope: Scope::Read, infrastructures: None, expires: None }
    }

    #[tokio::test]
    async fn a_session_is_good_as_long_as_its_token_and_no_longer() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let tokens = Tokens::new(Arc::new(store.clone()));
        let sessions = Sessions::new(tokens.clone(), Arc::new(store.clone()));
        let (token, info) = tokens.create(reader("ci")).await.unwrap();
        let (one, two) = (sessions.begin(&info).await.unwrap(), sessions.begin(&info).await.unwrap());
        assert_ne!(one, two);
        assert_eq!(sessions.verify(&one).await.unwrap(), Some(info.clone()));
        // A session text is not a token, nor the reverse, and the store holds neither secret.
        assert_eq!(SessionText::parse(token.reveal()), None);
        assert_eq!(tokens.verify(one.reveal()).await.unwrap(), None);
        assert!(!store.values_as_text().contains(std::str::from_utf8(one.0.secret()).unwrap()));
        assert!(!format!("{one:?}").contains(std::str::from_utf8(one.0.secret()).unwrap()));
        sessions.end(&one).await.unwrap();
        assert_eq!(sessions.verify(&one).await.unwrap(), None);
        assert!(sessions.verify(&two).await.unwrap().is_some());
        tokens.revoke("ci").await.unwrap();
        assert_eq!(sessions.verify(&two).await.unwrap(), None);
        assert!(!store.keys().iter().any(|key| key.starts_with(KEY_PREFIX)), "sessions are removed with their token");
    }

    #[tokio::test]
    async fn there_are_few_sessions_of_a_token_and_the_oldest_end() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let tokens = Tokens::new(Arc::new(store.clone()));
        let sessions = Sessions::new(tokens.clone(), Arc::new(store.clone()));
        let (_, info) = tokens.create(reader("ci")).await.unwrap();
        let (_, other) = tokens.create(reader("other")).await.unwrap();
        let elsewhere = sessions.begin(&other).await.unwrap();
        let mut all = Vec::new();
        for _ in 0..MAX_SESSIONS_PER_TOKEN + 5 {
            all.push(sessions.begin(&info).await.unwrap());
        }
        assert_eq!(sessions.verify(&all[4]).await.unwrap(), None);
        for session in &all[5..] {
            assert!(sessions.verify(session).await.unwrap().is_some());
        }
        assert!(sessions.verify(&elsewhere).await.unwrap().is_some());
        let past =
            serde_json::json!({"version": 1, "created": Timestamp::UNIX_EPOCH, "expires": Timestamp::UNIX_EPOCH});
        let put = Write::Put { key: all[7].key(), value: past.to_string().into_bytes(), lease: None };
        store.commit(Transaction { compares: Vec::new(), writes: vec![put] }).await.unwrap();
        assert_eq!(sessions.verify(&all[7]).await.unwrap(), None, "it has expired");
        sessions.begin(&info).await.unwrap();
        assert!(sessions.verify(&all[6]).await.unwrap().is_some(), "the expired one was removed instead");
    }
}
