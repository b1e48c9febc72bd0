//! What the store keeps of a token: not its secret.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Scope;
use super::token::digest;

/// Where the records are.
pub(super) const KEY_PREFIX: &str = "service/token/";

/// Of the records that this program writes.
const RECORD_VERSION: u32 = 1;

/// The start of a digest.
const SHA256_PREFIX: &str = "sha256:";

fn hash_secret(secret: &[u8]) -> String {
    format!("{SHA256_PREFIX}{}", URL_SAFE_NO_PAD.encode(digest(secret)))
}

/// Where the record of a token is.
pub(super) fn key(id: &str) -> String {
    format!("{KEY_PREFIX}{id}")
}

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenInfo {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// The infrastructures that it is for; none: all.
    pub infrastructures: Option<BTreeSet<String>>,
    /// Since when it is there.
    pub created: Timestamp,
    /// When it ends; none: never.
    pub expires: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

impl TokenInfo {
    /// Whether it opens doors.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }
}

/// A record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TokenRecord {
    version: u32,
    pub(super) name: String,
    pub(super) scope: Scope,
    pub(super) infrastructures: Option<BTreeSet<String>>,
    pub(super) created: Timestamp,
    pub(super) expires: Option<Timestamp>,
    pub(super) revoked: Option<Timestamp>,
    /// `sha256:` and the digest of the secret; older records have Argon2id over it, as a PHC string.
    hash: String,
}

/// Comparison of a secret with that of a record.
pub(super) enum SecretCheck<'a> {
    /// At once.
    Decided(bool),
    /// By work that takes tens of milliseconds, with this PHC string.
    NeedsArgon2(&'a str),
}

/// What can be read of a record of any version.
#[derive(Deserialize)]
struct VersionField {
    version: u32,
}

impl TokenRecord {
    /// Record of a token, with the digest of its secret.
    pub(super) fn new(info: &TokenInfo, secret: &[u8]) -> Self {
        let hash = hash_secret(secret);
        let TokenInfo { name, scope, infrastructures, created, expires, revoked, .. } = info.clone();
        Self { version: RECORD_VERSION, name, scope, infrastructures, created, expires, revoked, hash }
    }

    /// Reads what the store has; otherwise says why not.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let VersionField { version } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if version != RECORD_VERSION {
            return Err(format!("it is of version {version}, and this program knows version {RECORD_VERSION}"));
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// Whether this is the secret.
    pub(super) fn check_secret(&self, secret: &[u8]) -> SecretCheck<'_> {
        match self.hash.starts_with(SHA256_PREFIX) {
            // Of digests, one learns nothing by how long it takes.
            true => SecretCheck::Decided(self.hash == hash_secret(secret)),
            false => SecretCheck::NeedsArgon2(&self.hash),
        }
    }

    /// For the store.
    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Without the hash.
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
