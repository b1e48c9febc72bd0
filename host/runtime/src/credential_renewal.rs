//! Renewal of credentials: expired ones are read again before a call, and a call that a cloud denied is repeated once
//! if there are other credentials by then.

use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::{
    CallScope, CreateRequest, Driver, Fault, Handle, LabelledPage, ObservedMachine, Preflight, Reaction,
};
use occopus_model::{Credential, SectionKind};
use serde_json::Value;

use crate::credential_source::CredentialSource;

/// A driver whose credentials may change. Every method of [`Driver`] must be forwarded here, also those with a default.
pub(crate) struct RenewingDriver<D> {
    pub(crate) driver: D,
    pub(crate) credentials: Arc<dyn CredentialSource>,
}

impl<D: Driver> RenewingDriver<D> {
    /// Refreshes the credentials, and returns the one that the next call will use.
    async fn refreshed_credential(&self, section: &Value) -> Option<Credential> {
        self.credentials.refresh().await;
        self.credentials.credential(SectionKind::Resource, section).ok().flatten()
    }

    /// Returns whether a call is to be repeated: it was denied, and there are other credentials now.
    async fn should_retry<T>(&self, outcome: &Result<T, Fault>, section: &Value, used: Option<&Credential>) -> bool {
        match (outcome, used) {
            (Err(fault), Some(used)) if fault.reaction == Reaction::Denied => {
                self.credentials.renew(SectionKind::Resource, section, used).await
            }
            _ => false,
        }
    }
}

#[async_trait]
impl<D: Driver> Driver for RenewingDriver<D> {
    async fn create(&self, request: &CreateRequest) -> Result<ObservedMachine, Fault> {
        let section = &request.scope.section;
        let used = self.refreshed_credential(section).await;
        let created = self.driver.create(request).await;
        if !self.should_retry(&created, section, used.as_ref()).await {
            return created;
        }
        // A creation of several requests may have been denied after the one that makes the machine.
        match self.driver.find(&request.scope, &request.instance_id).await {
            Ok(Some(observed)) => Ok(observed),
            Ok(None) => self.driver.create(&CreateRequest { repeated: true, ..request.clone() }).await,
            // The other credential is denied as well: the creation had no effect.
            Err(fault) if fault.reaction == Reaction::Denied => created,
            Err(fault) => Err(Fault { reaction: Reaction::UnknownOutcome, ..fault }),
        }
    }

    async fn find(&self, scope: &CallScope, instance_id: &str) -> Result<Option<ObservedMachine>, Fault> {
        let used = self.refreshed_credential(&scope.section).await;
        let found = self.driver.find(scope, instance_id).await;
        match self.should_retry(&found, &scope.section, used.as_ref()).await {
            true => self.driver.find(scope, instance_id).await,
            false => found,
        }
    }

    async fn observe(&self, scope: &CallScope, handles: &[Handle]) -> Result<Vec<ObservedMachine>, Fault> {
        let used = self.refreshed_credential(&scope.section).await;
        let observed = self.driver.observe(scope, handles).await;
        match self.should_retry(&observed, &scope.section, used.as_ref()).await {
            true => self.driver.observe(scope, handles).await,
            false => observed,
        }
    }

    async fn destroy(&self, scope: &CallScope, handle: &Handle) -> Result<(), Fault> {
        let used = self.refreshed_credential(&scope.section).await;
        let destroyed = self.driver.destroy(scope, handle).await;
        match self.should_retry(&destroyed, &scope.section, used.as_ref()).await {
            true => self.driver.destroy(scope, handle).await,
            false => destroyed,
        }
    }

    async fn list_owned(&self, scope: &CallScope, cursor: Option<&str>) -> Result<LabelledPage, Fault> {
        let used = self.refreshed_credential(&scope.section).await;
        let page = self.driver.list_owned(scope, cursor).await;
        match self.should_retry(&page, &scope.section, used.as_ref()).await {
            true => self.driver.list_owned(scope, cursor).await,
            false => page,
        }
    }

    /// Forwards the call without renewal: a check uses no credentials.
    async fn check(&self, request: &CreateRequest) -> Result<Preflight, Fault> {
        self.driver.check(request).await
    }

    async fn tail(&self, scope: &CallScope, handle: &Handle, lines: u32) -> Result<String, Fault> {
        let used = self.refreshed_credential(&scope.section).await;
        let text = self.driver.tail(scope, handle, lines).await;
        match self.should_retry(&text, &scope.section, used.as_ref()).await {
            true => self.driver.tail(scope, handle, lines).await,
            false => text,
        }
    }
}

#[cfg(test)]
mod tests;
