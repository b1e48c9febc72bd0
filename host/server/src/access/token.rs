//! The text of a token: `occ_ID_SECRET`. The id identifies the record; the secret proves possession of the token. The
//! text of a session has the same form.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

const TOKEN_PREFIX: &str = "occ_";
/// Length of an id, in characters.
const ID_CHARS: usize = 12;
/// Length of a secret, in random bytes.
const SECRET_BYTES: usize = 32;

/// A text `PREFIX_ID_SECRET`, with the id of a token and a secret of 256 random bits. All prefixes are equally long.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SecretText(String);

impl SecretText {
    /// Generates a text with a random secret, and with this id or a random one. Fails if the operating system gives no
    /// random numbers.
    pub(super) fn random(prefix: &'static str, id: Option<&str>) -> Result<Self, RandomnessError> {
        let source = rustls::crypto::ring::default_provider().secure_random;
        let (mut random_id, mut secret) = ([0; ID_CHARS / 2], [0; SECRET_BYTES]);
        source.fill(&mut random_id).and_then(|()| source.fill(&mut secret)).map_err(|_| RandomnessError)?;
        let random_id: String = random_id.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self(format!("{prefix}{}_{}", id.unwrap_or(&random_id), URL_SAFE_NO_PAD.encode(secret))))
    }

    /// Parses a text that a client sent; `None` unless it has this form.
    pub(super) fn parse(prefix: &'static str, text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(prefix)?.split_once('_')?;
        let is_valid =
            is_token_id(id) && URL_SAFE_NO_PAD.decode(secret).is_ok_and(|secret| secret.len() == SECRET_BYTES);
        is_valid.then(|| Self(text.to_owned()))
    }

    /// Returns the whole text, including the secret. For its owner only.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the id, which identifies the record. Not a secret.
    pub(super) fn id(&self) -> &str {
        self.0.get(TOKEN_PREFIX.len()..TOKEN_PREFIX.len() + ID_CHARS).unwrap_or_default()
    }

    /// Returns the secret part.
    pub(super) fn secret(&self) -> &[u8] {
        self.0.as_bytes().get(TOKEN_PREFIX.len() + ID_CHARS + 1..).unwrap_or_default()
    }
}

/// Returns the digest that is stored in place of a secret, or of a text with one. A secret of 256 random bits can't be
/// guessed, so the hash need not be slow.
pub(super) fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// The text of a token. `Debug` hides the secret; only [`TokenText::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(SecretText);

impl TokenText {
    /// Generates a token. Fails if the operating system gives no random numbers.
    pub(super) fn random() -> Result<Self, RandomnessError> {
        SecretText::random(TOKEN_PREFIX, None).map(Self)
    }

    /// Returns a stand-in for a text that does not have the form of a token: verification rejects it, and counts it as an
    /// invalid token.
    pub(crate) fn malformed() -> Self {
        Self(SecretText(String::new()))
    }

    /// Parses a text that a client sent; `None` unless it has the form of a token.
    pub fn parse(text: &str) -> Option<Self> {
        SecretText::parse(TOKEN_PREFIX, text).map(Self)
    }

    /// Returns the whole text, including the secret. For its owner only.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// Returns the id, which identifies the record. Not a secret.
    pub fn id(&self) -> &str {
        self.0.id()
    }

    /// Returns the secret, which proves possession of the token.
    pub(super) fn secret(&self) -> &[u8] {
        self.0.secret()
    }

    /// Returns the digest of the text, under which a verified token is cached without its text.
    pub(super) fn digest(&self) -> [u8; 32] {
        digest(self.reveal().as_bytes())
    }
}

/// Returns true if the text has the form of a token's id.
pub(super) fn is_token_id(text: &str) -> bool {
    text.len() == ID_CHARS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Failure of the operating system to give random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the operating system has no random numbers")]
pub(super) struct RandomnessError;

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TOKEN_PREFIX}{}_…", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_its_secret_does_not_show() {
        let token = TokenText::random().unwrap();
        assert_eq!(TokenText::parse(token.reveal()), Some(token.clone()));
        let secret = std::str::from_utf8(token.secret()).unwrap();
        assert_eq!(token.reveal(), format!("occ_{}_{secret}", token.id()));
        assert!(!format!("{token:?}").contains(secret));
        assert_ne!(token, TokenText::random().unwrap());
    }

    #[test]
    fn what_has_not_the_form_is_no_token() {
        let valid = TokenText::random().unwrap().reveal().to_owned();
        let with_id = |id: &str| format!("occ_{id}{}", &valid[16..]);
        assert!(TokenText::parse(&with_id("0123456789ab")).is_some());
        for wrong in [
            String::new(),
            "occ_".into(),
            "occ__".into(),
            valid.to_uppercase(),
            format!("{valid}="),
            format!("{valid}A"),
            format!(" {valid}"),
            format!("{valid}\n"),
            valid[..valid.len() - 1].to_owned(),
            valid.replacen("occ_", "occ-", 1),
            with_id("0123456789aB"),
            with_id("../../../../"),
            with_id("0123456789äx"),
            with_id("0123456789a"),
            "x".repeat(1 << 16),
        ] {
            assert_eq!(TokenText::parse(&wrong), None, "{wrong}");
        }
    }
}
