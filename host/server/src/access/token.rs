//! The text of a token: `occ_ID_SECRET`. The id finds the record; the secret proves that the token is good. That of a session
//! has the same form.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

const TOKEN_PREFIX: &str = "occ_";
/// Characters of an id.
const ID_CHARS: usize = 12;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// `PREFIX_ID_SECRET`, with the id of a token and a secret of 256 random bits. All prefixes are equally long.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SecretText(String);

impl SecretText {
    /// A text that nobody knows, with this id or another that nobody has. Fails where the operating system has no random numbers.
    pub(super) fn random(prefix: &'static str, id: Option<&str>) -> Result<Self, RandomnessError> {
        let source = rustls::crypto::ring::default_provider().secure_random;
        let (mut fresh, mut secret) = ([0; ID_CHARS / 2], [0; SECRET_BYTES]);
        source.fill(&mut fresh).and_then(|()| source.fill(&mut secret)).map_err(|_| RandomnessError)?;
        let fresh: String = fresh.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self(format!("{prefix}{}_{}", id.unwrap_or(&fresh), URL_SAFE_NO_PAD.encode(secret))))
    }

    /// Reads a text that somebody sent, if it has this form.
    pub(super) fn parse(prefix: &'static str, text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(prefix)?.split_once('_')?;
        let whole = is_token_id(id) && URL_SAFE_NO_PAD.decode(secret).is_ok_and(|secret| secret.len() == SECRET_BYTES);
        whole.then(|| Self(text.to_owned()))
    }

    /// The whole text, for the one who is to use it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// By which the record is found. No secret.
    pub(super) fn id(&self) -> &str {
        self.0.get(TOKEN_PREFIX.len()..TOKEN_PREFIX.len() + ID_CHARS).unwrap_or_default()
    }

    /// Digest that proves that it is good.
    pub(super) fn secret(&self) -> &[u8] {
        self.0.as_bytes().get(TOKEN_PREFIX.len() + ID_CHARS + 1..).unwrap_or_default()
    }
}

/// Returns what is kept of a secret, or of a text with one, in its place. Nobody finds 256 random bits by trying, so it need not be slow.
pub(super) fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// The text of a token. It is shown on purpose only: see [`TokenText::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(SecretText);

impl TokenText {
    /// A token that nobody knows. Fails where the operating system has no random numbers.
    pub(super) fn random() -> Result<Self, RandomnessError> {
        SecretText::random(TOKEN_PREFIX, None).map(Self)
    }

    /// Stands for a text that has not the form of a token: it is wrong wherever it is verified, and counts as that.
    pub(crate) fn malformed() -> Self {
        Self(SecretText(String::new()))
    }

    /// What somebody sent, if it has the form of a token.
    pub fn parse(text: &str) -> Option<Self> {
        SecretText::parse(TOKEN_PREFIX, text).map(Self)
    }

    /// The whole text, for the one who is to use it.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// By which the record is found. No secret.
    pub fn id(&self) -> &str {
        self.0.id()
    }

    /// What proves that the token is good.
    pub(super) fn secret(&self) -> &[u8] {
        self.0.secret()
    }

    /// By which a token that was good is recognised, without its text in memory.
    pub(super) fn digest(&self) -> [u8; 32] {
        digest(self.reveal().as_bytes())
    }
}

/// Whether this may be the id of a token.
pub(super) fn is_token_id(text: &str) -> bool {
    text.len() == ID_CHARS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The operating system gave no random numbers.
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
        let good = TokenText::random().unwrap().reveal().to_owned();
        let with_id = |id: &str| format!("occ_{id}{}", &good[16..]);
        assert!(TokenText::parse(&with_id("0123456789ab")).is_some());
        for wrong in [
            String::new(),
            "occ_".into(),
            "occ__".into(),
            good.to_uppercase(),
            format!("{good}="),
            format!("{good}A"),
            format!(" {good}"),
            format!("{good}\n"),
            good[..good.len() - 1].to_owned(),
            good.replacen("occ_", "occ-", 1),
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
