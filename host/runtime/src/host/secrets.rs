//! `occopus:host/secrets` and `reveal`: the guest holds names, the host holds the values.

use jiff::Timestamp;
use occopus_engine::ports::{Fault, Reaction};
use wasmtime::component::Resource;
use wasmtime::{Error, Result, Trap};

use super::{Call, CredentialHandle, HostState, SecretHandle};
use crate::bindings::imports::occopus::host::{reveal, secrets};
use crate::bindings::imports::occopus::types::types as wit;
use crate::call_clock::ComputeTimeExhausted;
use crate::convert::fault_to_wit;
use crate::grants::Interface;
use crate::secrets::{AWS_KEY_PREFIX, AwsRequest, CallSecrets, Encoding};

/// Error of a request whose result would be a key: its holder could sign for ever, or for others.
#[derive(Debug, thiserror::Error)]
#[error("{operation} gives a key, not a signature")]
pub(crate) struct KeyDisclosureRefused {
    operation: &'static str,
}

impl HostState {
    /// Returns what `work` returns for a value; the default for a handle that outlived its credential, which does not
    /// happen.
    fn with_secret<T: Default>(
        &self,
        secret: &Resource<SecretHandle>,
        work: impl FnOnce(&CallSecrets, &str) -> Option<T>,
    ) -> Result<T> {
        let field = &self.table.get(secret)?.field;
        Ok(self.call.secrets.as_ref().and_then(|secrets| work(secrets, field)).unwrap_or_default())
    }
}

impl secrets::Host for HostState {}

impl secrets::HostCredential for HostState {
    async fn fields(&mut self, _credential: Resource<CredentialHandle>) -> Result<Vec<String>> {
        Ok(self.call.secrets.as_ref().map(CallSecrets::fields).unwrap_or_default())
    }

    async fn secret(
        &mut self,
        _credential: Resource<CredentialHandle>,
        field: String,
    ) -> Result<Option<Resource<SecretHandle>>> {
        if !self.call.secrets.as_ref().is_some_and(|secrets| secrets.has_field(&field)) {
            return Ok(None);
        }
        Ok(Some(self.push(SecretHandle { field })?))
    }

    async fn public(&mut self, _credential: Resource<CredentialHandle>, field: String) -> Result<Option<String>> {
        Ok(self.call.secrets.as_ref().and_then(|secrets| secrets.public(&field)))
    }

    async fn drop(&mut self, credential: Resource<CredentialHandle>) -> Result<()> {
        self.table.delete(credential)?;
        Ok(())
    }
}

impl secrets::HostSecret for HostState {
    async fn placeholder(&mut self, secret: Resource<SecretHandle>, encoding: secrets::Encoding) -> Result<String> {
        let encoding = match encoding {
            secrets::Encoding::Plain => Encoding::Plain,
            secrets::Encoding::Json => Encoding::Json,
            secrets::Encoding::Percent => Encoding::Percent,
        };
        self.with_secret(&secret, |secrets, field| secrets.placeholder(field, encoding))
    }

    async fn basic(&mut self, secret: Resource<SecretHandle>, user: String) -> Result<String> {
        self.with_secret(&secret, |secrets, field| secrets.basic(field, &user))
    }

    async fn hmac_sha1(&mut self, secret: Resource<SecretHandle>, message: Vec<u8>) -> Result<Vec<u8>> {
        let (Some(secrets), field) = (&self.call.secrets, &self.table.get(&secret)?.field) else {
            return Ok(Vec::new());
        };
        let signed =
            secrets.hmac_sha1(field, &message, &mut self.call.work_budget()).await.map_err(compute_time_trap)?;
        Ok(signed.unwrap_or_default())
    }

    async fn hmac_sha256(
        &mut self,
        secret: Resource<SecretHandle>,
        prefix: Vec<u8>,
        messages: Vec<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        if prefix == AWS_KEY_PREFIX {
            return Err(key_refused_trap("hmac-sha256 with the prefix AWS4"));
        }
        let (Some(secrets), field) = (&self.call.secrets, &self.table.get(&secret)?.field) else {
            return Ok(Vec::new());
        };
        let signed = secrets
            .hmac_sha256(field, &prefix, &messages, &mut self.call.work_budget())
            .await
            .map_err(compute_time_trap)?;
        Ok(signed.unwrap_or_default())
    }

    async fn sha256(&mut self, secret: Resource<SecretHandle>, before: Vec<u8>, after: Vec<u8>) -> Result<Vec<u8>> {
        let (Some(secrets), field) = (&self.call.secrets, &self.table.get(&secret)?.field) else {
            return Ok(Vec::new());
        };
        if secrets.is_hmac_key(field, &before, &after) {
            return Err(key_refused_trap("sha256 of a long text that ends with the secret"));
        }
        let digest =
            secrets.sha256(field, &before, &after, &mut self.call.work_budget()).await.map_err(compute_time_trap)?;
        Ok(digest.unwrap_or_default())
    }

    async fn aws_sign(
        &mut self,
        secret: Resource<SecretHandle>,
        request: secrets::AwsRequest,
    ) -> Result<std::result::Result<secrets::AwsSignature, wit::Fault>> {
        let (Some(values), field) = (&self.call.secrets, &self.table.get(&secret)?.field) else {
            return Ok(Err(fault_to_wit(missing_field())));
        };
        Ok(sign_aws_request(&self.call, values, field, request).map_err(fault_to_wit))
    }

    async fn rsa_sign(
        &mut self,
        secret: Resource<SecretHandle>,
        algorithm: String,
        digest: Vec<u8>,
    ) -> Result<Option<Vec<u8>>> {
        self.with_secret(&secret, |secrets, field| Some(secrets.rsa_sign(field, &algorithm, &digest)))
    }

    async fn drop(&mut self, secret: Resource<SecretHandle>) -> Result<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}

/// Signs a request to a host to which the call may send its secrets.
fn sign_aws_request(
    call: &Call,
    values: &CallSecrets,
    field: &str,
    request: secrets::AwsRequest,
) -> std::result::Result<secrets::AwsSignature, Fault> {
    let invalid = |reason: String| {
        Fault::new(Reaction::GiveUp, "host.aws-request", format!("the request is not signed: {reason}"))
    };
    let request = AwsRequest {
        method: request.method,
        url: request.url,
        headers: request.headers,
        payload: request.payload,
        region: request.region,
        service: request.service,
    };
    let url = request.url.parse().map_err(|error| invalid(format!("the URL is not valid: {error}")))?;
    let host = crate::http::host_for_secrets(&url, &call.grants).map_err(|error| {
        call.record_refusal(&error.to_string());
        Fault::new(Reaction::GiveUp, "host.not-granted", "no request is signed for a host that is not granted")
    })?;
    let signed =
        values.aws_sign(field, &request, &host, Timestamp::now()).map_err(invalid)?.ok_or_else(missing_field)?;
    Ok(secrets::AwsSignature {
        date: signed.date,
        scope: signed.scope,
        signed_headers: signed.signed_headers,
        signature: signed.signature,
    })
}

fn missing_field() -> Fault {
    Fault::new(Reaction::Denied, "credentials.missing-field", "the credential has no such value")
}

/// Returns the trap that ends a call without compute time left, as in its own code.
fn compute_time_trap(_: ComputeTimeExhausted) -> Error {
    Trap::Interrupt.into()
}

/// Returns the error that ends a call which requested a key in place of a signature.
fn key_refused_trap(operation: &'static str) -> Error {
    KeyDisclosureRefused { operation }.into()
}

impl reveal::Host for HostState {
    async fn reveal(&mut self, secret: Resource<SecretHandle>) -> Result<Result<String, wit::Fault>> {
        if let Err(refusal) = self.call.grants.check_interface(Interface::Reveal) {
            return Ok(Err(fault_to_wit(refusal.into())));
        }
        let value =
            self.with_secret(&secret, |secrets, field| Some(secrets.reveal(field).map(|value| value.to_string())))?;
        Ok(value.ok_or_else(missing_field).map_err(fault_to_wit))
    }
}
