//! Operations on a secret whose results are not secret.

use hmac::{Hmac, KeyInit, Mac};
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::signature::SignatureEncoding;
use rsa::signature::hazmat::PrehashSigner;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::CallSecrets;
use crate::call_clock::{ComputeTimeExhausted, WorkBudget};

/// Bytes of a key of HMAC with SHA-1 or SHA-256, up to which it is used as it is.
const HMAC_BLOCK_BYTES: usize = 64;

/// Number of bytes that are processed at a time.
const CHUNK_BYTES: usize = 16 << 10;
/// Cost of a message beside its bytes: it has a key of its own.
const MESSAGE_COST_BYTES: usize = 256;

impl CallSecrets {
    /// Returns HMAC-SHA1 under a value; none if there is no such value.
    pub(crate) async fn hmac_sha1(
        &self,
        field: &str,
        message: &[u8],
        budget: &mut WorkBudget,
    ) -> Result<Option<Vec<u8>>, ComputeTimeExhausted> {
        let value = self.values.get(field);
        let Some(mut mac) = value.and_then(|value| Hmac::<Sha1>::new_from_slice(value.as_bytes()).ok()) else {
            return Ok(None);
        };
        for piece in message.chunks(CHUNK_BYTES) {
            budget.consume(piece.len()).await?;
            mac.update(piece);
        }
        Ok(Some(mac.finalize().into_bytes().to_vec()))
    }

    /// Returns chained HMAC-SHA256: the key of the first message is `prefix` + value, of each further one the result
    /// before it. Without a message the result is empty: it must not be the key.
    pub(crate) async fn hmac_sha256(
        &self,
        field: &str,
        prefix: &[u8],
        messages: &[Vec<u8>],
        budget: &mut WorkBudget,
    ) -> Result<Option<Vec<u8>>, ComputeTimeExhausted> {
        let Some(value) = self.values.get(field) else { return Ok(None) };
        let mut key = Zeroizing::new([prefix, value.as_bytes()].concat());
        for message in messages {
            budget.consume(MESSAGE_COST_BYTES).await?;
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else { return Ok(None) };
            for piece in message.chunks(CHUNK_BYTES) {
                budget.consume(piece.len()).await?;
                mac.update(piece);
            }
            key = Zeroizing::new(mac.finalize().into_bytes().to_vec());
        }
        Ok(Some(if messages.is_empty() { Vec::new() } else { key.to_vec() }))
    }

    /// Returns SHA-256 of a text with a value in it.
    pub(crate) async fn sha256(
        &self,
        field: &str,
        before: &[u8],
        after: &[u8],
        budget: &mut WorkBudget,
    ) -> Result<Option<Vec<u8>>, ComputeTimeExhausted> {
        let Some(value) = self.values.get(field) else { return Ok(None) };
        let mut digest = Sha256::new();
        for piece in before.chunks(CHUNK_BYTES).chain([value.as_bytes()]).chain(after.chunks(CHUNK_BYTES)) {
            budget.consume(piece.len()).await?;
            digest.update(piece);
        }
        Ok(Some(digest.finalize().to_vec()))
    }

    /// Returns whether the digest of this text is what HMAC takes for the key in place of the text itself, because that
    /// is long. Its holder can sign for ever.
    pub(crate) fn is_hmac_key(&self, field: &str, before: &[u8], after: &[u8]) -> bool {
        let length = self.values.get(field).map_or(0, |value| before.len() + value.len());
        after.is_empty() && length > HMAC_BLOCK_BYTES
    }

    /// Signs a digest by RSASSA-PKCS1-v1_5, under a private key in PEM. The algorithm is `sha1`, `sha256`, or empty to
    /// sign the bytes as they are. Returns none if the value is not an RSA key, the algorithm is unknown, or the digest
    /// has a wrong length.
    pub(crate) fn rsa_sign(&self, field: &str, algorithm: &str, digest: &[u8]) -> Option<Vec<u8>> {
        let pem = self.values.get(field)?.trim();
        let key = rsa::PrivateKey::from_pkcs1_pem(pem).or_else(|_| rsa::PrivateKey::from_pkcs8_pem(pem)).ok()?;
        let signature = match (algorithm, digest.len()) {
            ("", _) => SigningKey::<Sha256>::new_unprefixed(key).sign_prehash(digest),
            ("sha1", 20) => SigningKey::<Sha1>::new(key).sign_prehash(digest),
            ("sha256", 32) => SigningKey::<Sha256>::new(key).sign_prehash(digest),
            _ => return None,
        };
        signature.ok().map(|signature| signature.to_vec())
    }
}
