//! Credentials by handle.

use crate::{Fault, platform};

pub use crate::bindings::imports::occopus::host::secrets::{AwsRequest, AwsSignature, Encoding};

/// The credential that the user's rules give for the section at hand.
pub struct Credential(pub(crate) platform::Credential);

/// Value of a [`Credential`]. It stays with the host.
pub struct Secret(pub(crate) platform::Secret);

impl Credential {
    /// Returns the names of its values, sorted.
    pub fn fields(&self) -> Vec<String> {
        self.0.fields()
    }

    /// Returns a value, if the credential has it.
    pub fn secret(&self, field: &str) -> Option<Secret> {
        self.0.secret(field).map(Secret)
    }

    /// Returns a value that the plugin can't do without.
    ///
    /// # Errors
    /// `denied` if the credential has no such value.
    pub fn require(&self, field: &str) -> Result<Secret, Fault> {
        self.secret(field).ok_or_else(|| {
            Fault::denied("credentials.missing-field", format!("the credential for this resource has no `{field}`"))
        })
    }

    /// Returns a value that is not secret by its schema (`"x-public": true`).
    pub fn public(&self, field: &str) -> Option<String> {
        self.0.public(field)
    }
}

impl Secret {
    /// Returns a text that the host's HTTP client replaces by the value, in headers, queries and bodies, to granted
    /// targets.
    pub fn placeholder(&self, encoding: Encoding) -> String {
        self.0.placeholder(encoding)
    }

    /// Returns a placeholder for base64(user + ":" + value): HTTP basic authentication (RFC 7617), after `Basic `.
    pub fn basic(&self, user: &str) -> String {
        self.0.basic(user)
    }

    /// Computes an HMAC-SHA1 (RFC 2104).
    pub fn hmac_sha1(&self, message: &[u8]) -> Vec<u8> {
        self.0.hmac_sha1(message)
    }

    /// Computes a chain of HMAC-SHA256: the first key is `prefix` + value, each further key the result before it. The
    /// host ends a call with the prefix `AWS4`; see [`Secret::aws_sign`].
    pub fn hmac_sha256(&self, prefix: &[u8], messages: &[Vec<u8>]) -> Vec<u8> {
        self.0.hmac_sha256(prefix, messages)
    }

    /// Computes the SHA-256 of `before` + value + `after`.
    pub fn sha256(&self, before: &[u8], after: &[u8]) -> Vec<u8> {
        self.0.sha256(before, after)
    }

    /// Computes RSASSA-PKCS1-v1_5 over a digest; see `wit/host/host.wit`.
    pub fn rsa_sign(&self, digest_algorithm: &str, digest: &[u8]) -> Option<Vec<u8>> {
        self.0.rsa_sign(digest_algorithm, digest)
    }

    /// Signs a request by AWS Signature Version 4, where the value is the secret access key. The host takes its own
    /// time, and signs for granted hosts only.
    ///
    /// # Errors
    /// Fails if the host is not granted, if the request is not one, or if the URL is signed for others.
    pub fn aws_sign(&self, request: &AwsRequest) -> Result<AwsSignature, Fault> {
        self.0.aws_sign(request)
    }

    /// Returns the value itself, if the operator granted `reveal`.
    ///
    /// # Errors
    /// `denied` if it is not granted.
    pub fn reveal(&self) -> Result<String, Fault> {
        self.0.reveal()
    }
}
