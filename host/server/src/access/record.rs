//! The record of a token in the store. It holds a digest of the secret, never the secret.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use occopus_engine::ports::{Entry, Write};
use occopus_engine::{RecordError, RecordFormat, VersionField};
use serde::{Deserialize, Serialize};

use super::Scope;
use super::token::digest;

/// Prefix of the records' keys.
pub(super) const KEY_PREFIX: &str = "service/token/";

/// Format of the records.
const FORMAT: RecordFormat = RecordFormat::new(1, VersionField::Version);

/// Prefix of a digest in a record.
const SHA256_PREFIX: &str = "sha256:";

fn hash_secret(secret: &[u8]) -> String {
    format!("{SHA256_PREFIX}{}", URL_SAFE_NO_PAD.encode(digest(secret)))
}

/// Returns the key of a token's record.
pub(super) fn key(id: &str) -> String {
    format!("{KEY_PREFIX}{id}")
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenInfo {
    /// Id of the token, which is part of its text.
    pub id: String,
    /// Name that its creator gave it.
    pub name: String,
    /// Scope that it grants.
    pub scope: Scope,
    /// Ids of the infrastructures that it is limited to; `None` for all.
    pub infrastructures: Option<BTreeSet<String>>,
    /// Time of its creation.
    pub created: Timestamp,
    /// Time at which it expires; `None` for never.
    pub expires: Option<Timestamp>,
    /// Time at which it was revoked.
    pub revoked: Option<Timestamp>,
}

impl TokenInfo {
    /// Returns true if the token is neither revoked nor expired.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }
}

/// A token's record in the store.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TokenRecord {
    pub(super) name: String,
    pub(super) scope: Scope,
    pub(super) infrastructures: Option<BTreeSet<String>>,
    pub(super) created: Timestamp,
    pub(super) expires: Option<Timestamp>,
    pub(super) revoked: Option<Timestamp>,
    /// `sha256:` and the digest of the secret; older records have Argon2id over it, as a PHC string.
    hash: String,
}

/// Result of comparing a secret with a record.
pub(super) enum SecretCheck<'a> {
    /// Compared; true if the secret matches.
    Decided(bool),
    /// Pending: the secret must be verified against this PHC string, which takes tens of milliseconds.
    NeedsArgon2(&'a str),
}

impl TokenRecord {
    /// Creates the record of a token, with the digest of its secret.
    pub(super) fn new(info: &TokenInfo, secret: &[u8]) -> Self {
        let hash = hash_secret(secret);
        let TokenInfo { name, scope, infrastructures, created, expires, revoked, .. } = info.clone();
        Self { name, scope, infrastructures, created, expires, revoked, hash }
    }

    /// Decodes a record; fails if it is malformed or of a newer version.
    pub(super) fn decode(entry: &Entry) -> Result<Self, RecordError> {
        FORMAT.decode_entry(entry)
    }

    /// Compares a secret with that of the record.
    pub(super) fn check_secret(&self, secret: &[u8]) -> SecretCheck<'_> {
        match self.hash.starts_with(SHA256_PREFIX) {
            // The time of comparing digests reveals nothing about the secret.
            true => SecretCheck::Decided(self.hash == hash_secret(secret)),
            false => SecretCheck::NeedsArgon2(&self.hash),
        }
    }

    /// Returns the write of the record of the token with this id.
    pub(super) fn put(&self, id: &str) -> Result<Write, RecordError> {
        FORMAT.put(key(id), self)
    }

    /// Returns the record without its hash.
    pub(super) fn info(&self, id: &str) -> TokenInfo {
        TokenInfo {
            id: id.to_owned(),
            name: self.name.clone(),
            scope: self.scope,
            infrastructures: self.infrastructures.clone(),
            created: self.created,
            expires: self.expires,
            revoked: self.revoked,
        }
    }
}
