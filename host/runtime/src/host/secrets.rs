//! `occopus:host/secrets` and `reveal`: the guest has names, the host has the values.

use occopus_engine::ports::{Fault, Reaction};
use wasmtime::Result;
use wasmtime::component::Resource;

use super::{Credential, Secret, State};
use crate::bindings::imports::occopus::host::{reveal, secrets};
use crate::bindings::imports::occopus::types::types as wit;
use crate::convert::fault_to;
use crate::grants::Interface;
use crate::secrets::{CallSecrets, Encoding};

impl State {
    /// What a value gives; nothing for a handle that outlived its credential, which does not happen.
    fn with_secret<T: Default>(
        &self,
        secret: &Resource<Secret>,
        work: impl FnOnce(&CallSecrets, &str) -> Option<T>,
    ) -> Result<T> {
        let field = &self.table.get(secret)?.field;
        Ok(self.call.secrets.as_ref().and_then(|secrets| work(secrets, field)).unwrap_or_default())
    }
}

impl secrets::Host for State {}

impl secrets::HostCredential for State {
    async fn fields(&mut self, _credential: Resource<Credential>) -> Result<Vec<String>> {
        Ok(self.call.secrets.as_ref().map(CallSecrets::fields).unwrap_or_default())
    }

    async fn secret(&mut self, _credential: Resource<Credential>, field: String) -> Result<Option<Resource<Secret>>> {
        if !self.call.secrets.as_ref().is_some_and(|secrets| secrets.has(&field)) {
            return Ok(None);
        }
        Ok(Some(self.push(Secret { field })?))
    }

    async fn public(&mut self, _credential: Resource<Credential>, field: String) -> Result<Option<String>> {
        Ok(self.call.secrets.as_ref().and_then(|secrets| secrets.public(&field)))
    }

    async fn drop(&mut self, credential: Resource<Credential>) -> Result<()> {
        self.table.delete(credential)?;
        Ok(())
    }
}

impl secrets::HostSecret for State {
    async fn placeholder(&mut self, secret: Resource<Secret>, encoding: secrets::Encoding) -> Result<String> {
        let encoding = match encoding {
            secrets::Encoding::Plain => Encoding::Plain,
            secrets::Encoding::Json => Encoding::Json,
            secrets::Encoding::Percent => Encoding::Percent,
        };
        self.with_secret(&secret, |secrets, field| secrets.placeholder(field, encoding))
    }

    async fn basic(&mut self, secret: Resource<Secret>, user: String) -> Result<String> {
        self.with_secret(&secret, |secrets, field| secrets.basic(field, &user))
    }

    async fn hmac_sha1(&mut self, secret: Resource<Secret>, message: Vec<u8>) -> Result<Vec<u8>> {
        self.with_secret(&secret, |secrets, field| secrets.hmac_sha1(field, &message))
    }

    async fn hmac_sha256(
        &mut self,
        secret: Resource<Secret>,
        prefix: Vec<u8>,
        messages: Vec<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        self.with_secret(&secret, |secrets, field| secrets.hmac_sha256(field, &prefix, &messages))
    }

    async fn sha256(&mut self, secret: Resource<Secret>, before: Vec<u8>, after: Vec<u8>) -> Result<Vec<u8>> {
        self.with_secret(&secret, |secrets, field| secrets.sha256(field, &before, &after))
    }

    async fn rsa_sign(
        &mut self,
        secret: Resource<Secret>,
        algorithm: String,
        digest: Vec<u8>,
    ) -> Result<Option<Vec<u8>>> {
        self.with_secret(&secret, |secrets, field| Some(secrets.rsa_sign(field, &algorithm, &digest)))
    }

    async fn drop(&mut self, secret: Resource<Secret>) -> Result<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}

impl reveal::Host for State {
    async fn reveal(&mut self, secret: Resource<Secret>) -> Result<Result<String, wit::Fault>> {
        if let Err(refusal) = self.call.grants.check_interface(Interface::Reveal) {
            return Ok(Err(fault_to(refusal.into())));
        }
        let value =
            self.with_secret(&secret, |secrets, field| Some(secrets.reveal(field).map(|value| value.to_string())))?;
        let missing = || Fault::new(Reaction::Denied, "credentials.missing-field", "the credential has no such value");
        Ok(value.ok_or_else(missing).map_err(fault_to))
    }
}
