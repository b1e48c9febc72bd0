//! Operations on a secret whose results are no secrets.

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

impl CallSecrets {
    /// HMAC-SHA1 under a value.
    pub fn hmac_sha1(&self, field: &str, message: &[u8]) -> Option<Vec<u8>> {
        let mut mac = Hmac::<Sha1>::new_from_slice(self.values.get(field)?.as_bytes()).ok()?;
        mac.update(message);
        Some(mac.finalize().into_bytes().to_vec())
    }

    /// HMAC-SHA256 chained: the key of the first message is `prefix` + value, of each further one the result before it.
    /// Without a message the result is empty: it must not be the key.
    pub fn hmac_sha256(&self, field: &str, prefix: &[u8], messages: &[Vec<u8>]) -> Option<Vec<u8>> {
        let value = self.values.get(field)?;
        let mut key = Zeroizing::new([prefix, value.as_bytes()].concat());
        for message in messages {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
            mac.update(message);
            key = Zeroizing::new(mac.finalize().into_bytes().to_vec());
        }
        Some(if messages.is_empty() { Vec::new() } else { key.to_vec() })
    }

    /// SHA-256 of a text with a value in it.
    pub fn sha256(&self, field: &str, before: &[u8], after: &[u8]) -> Option<Vec<u8>> {
        let value = self.values.get(field)?;
        let digest = Sha256::new().chain_update(before).chain_update(value.as_bytes()).chain_update(after);
        Some(digest.finalize().to_vec())
    }

    /// RSASSA-PKCS1-v1_5 over a digest, under a private key in PEM. The algorithm is `sha1`, `sha256`, or empty to sign the
    /// bytes as they are. None when the value is no RSA key, the algorithm is unknown, or the digest has a wrong length.
    pub fn rsa_sign(&self, field: &str, algorithm: &str, digest: &[u8]) -> Option<Vec<u8>> {
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
