//! The credential of one call: the guest holds placeholders, the host holds the values.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

/// How a secret is written where its placeholder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// As it is.
    Plain,
    /// As the inside of a JSON string.
    Json,
    /// Percent-encoded.
    Percent,
}

/// The credential of one call. Share it by `Arc`: all methods take `&self`.
pub struct CallSecrets {}

impl CallSecrets {
    /// From the values by name, and the names of those that are not secret (`x-public` in the schema).
    pub fn new(values: impl IntoIterator<Item = (String, Zeroizing<String>)>, public: BTreeSet<String>) -> Self {
        let _ = (values.into_iter(), public);
        todo!()
    }

    /// Names of the values, sorted.
    pub fn fields(&self) -> Vec<String> {
        todo!()
    }

    /// Is there a value of this name?
    pub fn has(&self, field: &str) -> bool {
        let _ = field;
        todo!()
    }

    /// A value that is not secret.
    pub fn public(&self, field: &str) -> Option<String> {
        let _ = field;
        todo!()
    }

    /// The value itself, for the `reveal` interface alone.
    pub fn reveal(&self, field: &str) -> Option<Zeroizing<String>> {
        let _ = field;
        todo!()
    }

    /// A placeholder for a value.
    pub fn placeholder(&self, field: &str, encoding: Encoding) -> Option<String> {
        let _ = (field, encoding);
        todo!()
    }

    /// A placeholder for base64(user:value).
    pub fn basic(&self, field: &str, user: &str) -> Option<String> {
        let _ = (field, user);
        todo!()
    }

    /// HMAC-SHA1 under a value.
    pub fn hmac_sha1(&self, field: &str, message: &[u8]) -> Option<Vec<u8>> {
        let _ = (field, message);
        todo!()
    }

    /// HMAC-SHA256 chained, as in the contract.
    pub fn hmac_sha256(&self, field: &str, prefix: &[u8], messages: &[Vec<u8>]) -> Option<Vec<u8>> {
        let _ = (field, prefix, messages);
        todo!()
    }

    /// RSASSA-PKCS1-v1_5 over a digest; the algorithm is empty, `sha1` or `sha256`.
    pub fn rsa_sign(&self, field: &str, algorithm: &str, digest: &[u8]) -> Option<Vec<u8>> {
        let _ = (field, algorithm, digest);
        todo!()
    }

    /// Takes the values out of any text that leaves the call: faults, logs, progress.
    pub fn redact(&self, text: &str) -> String {
        let _ = text;
        todo!()
    }
}
