//! Credentials by handle: a plugin never holds a secret.

use crate::{Fault, host};

/// How a secret is written where its placeholder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Plain,
    /// As the inside of a JSON string.
    Json,
    /// Percent-encoded, for forms and queries.
    Percent,
}

/// The credential that the host chose for the section at hand.
#[derive(Debug)]
pub struct Credential(pub(crate) host::Credential);

impl Credential {
    /// The names of its values, sorted.
    pub fn fields(&self) -> Vec<String> {
        self.0.fields()
    }

    /// One value by name.
    pub fn secret(&self, field: &str) -> Option<Secret> {
        self.0.secret(field).map(Secret)
    }

    /// A value that is not secret by its schema.
    pub fn public(&self, field: &str) -> Option<String> {
        self.0.public(field)
    }
}

/// One value of a credential.
#[derive(Debug)]
pub struct Secret(host::Secret);

impl Secret {
    /// Text to put into a request; the host replaces it on the way out.
    pub fn placeholder(&self, encoding: Encoding) -> String {
        self.0.placeholder(encoding)
    }

    /// A placeholder for what stands after `Basic ` in HTTP basic authentication.
    pub fn basic(&self, user: &str) -> String {
        self.0.basic(user)
    }

    /// HMAC-SHA1 of the message under the secret.
    pub fn hmac_sha1(&self, message: &[u8]) -> Vec<u8> {
        self.0.hmac_sha1(message)
    }

    /// HMAC-SHA256 chained; see the contract.
    pub fn hmac_sha256(&self, prefix: &[u8], messages: &[Vec<u8>]) -> Vec<u8> {
        self.0.hmac_sha256(prefix, messages)
    }

    /// RSASSA-PKCS1-v1_5 over a digest; `algorithm` is empty, `sha1` or `sha256`.
    pub fn rsa_sign(&self, algorithm: &str, digest: &[u8]) -> Option<Vec<u8>> {
        self.0.rsa_sign(algorithm, digest)
    }

    /// The secret itself. Refused unless the operator grants `reveal`.
    ///
    /// # Errors
    /// `denied` when not granted.
    pub fn reveal(&self) -> Result<String, Fault> {
        self.0.reveal()
    }
}
