//! Credentials that change while calls are made: what has ended is read again before a call, and a call that was refused is made
//! once more with what there is by then.

use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::{CreateRequest, Detail, Driver, Fault, Handle, Observed, OwnedPage, Reaction, Scope};
use occopus_model::{Credential, Section};
use serde_json::Value;

use crate::runtime::CredentialSource;

/// A driver whose credentials may change. Whatever [`Driver`] gains must be passed on here.
pub(crate) struct Renewing<D> {
    pub(crate) driver: D,
    pub(crate) credentials: Arc<dyn CredentialSource>,
}

impl<D: Driver> Renewing<D> {
    /// What the next call will use.
    async fn before(&self, section: &Value) -> Option<Credential> {
        self.credentials.refresh().await;
        self.credentials.credential(Section::Resource, section).ok().flatten()
    }

    /// Whether a call is to be made once more: it was refused, and there are other credentials now.
    async fn is_worth_another<T>(
        &self,
        outcome: &Result<T, Fault>,
        section: &Value,
        used: Option<&Credential>,
    ) -> bool {
        match (outcome, used) {
            (Err(fault), Some(used)) if fault.reaction == Reaction::Denied => {
                self.credentials.renew(Section::Resource, section, used).await
            }
            _ => false,
        }
    }
}

#[async_trait]
impl<D: Driver> Driver for Renewing<D> {
    async fn create(&self, request: &CreateRequest) -> Result<Observed, Fault> {
        let section = &request.scope.section;
        let used = self.before(section).await;
        let created = self.driver.create(request).await;
        if !self.is_worth_another(&created, section, used.as_ref()).await {
            return created;
        }
        // A creation of several requests may have been refused after the one that makes the machine.
        match self.driver.find(&request.scope, &request.instance_id).await {
            Ok(Some(observed)) => Ok(observed),
            Ok(None) => self.driver.create(&CreateRequest { repeated: true, ..request.clone() }).await,
            // What else there is is refused as well: then nothing has happened.
            Err(fault) if fault.reaction == Reaction::Denied => created,
            Err(fault) => Err(Fault { reaction: Reaction::UnknownOutcome, ..fault }),
        }
    }

    async fn find(&self, scope: &Scope, instance_id: &str) -> Result<Option<Observed>, Fault> {
        let used = self.before(&scope.section).await;
        let found = self.driver.find(scope, instance_id).await;
        match self.is_worth_another(&found, &scope.section, used.as_ref()).await {
            true => self.driver.find(scope, instance_id).await,
            false => found,
        }
    }

    async fn observe(&self, scope: &Scope, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        let used = self.before(&scope.section).await;
        let observed = self.driver.observe(scope, handles).await;
        match self.is_worth_another(&observed, &scope.section, used.as_ref()).await {
            true => self.driver.observe(scope, handles).await,
            false => observed,
        }
    }

    async fn destroy(&self, scope: &Scope, handle: &Handle) -> Result<(), Fault> {
        let used = self.before(&scope.section).await;
        let destroyed = self.driver.destroy(scope, handle).await;
        match self.is_worth_another(&destroyed, &scope.section, used.as_ref()).await {
            true => self.driver.destroy(scope, handle).await,
            false => destroyed,
        }
    }

    async fn list_owned(&self, scope: &Scope, cursor: Option<&str>) -> Result<OwnedPage, Fault> {
        let used = self.before(&scope.section).await;
        let page = self.driver.list_owned(scope, cursor).await;
        match self.is_worth_another(&page, &scope.section, used.as_ref()).await {
            true => self.driver.list_owned(scope, cursor).await,
            false => page,
        }
    }

    /// Uses no credentials.
    async fn check(&self, request: &CreateRequest) -> Result<Vec<Detail>, Fault> {
        self.driver.check(request).await
    }

    async fn tail(&self, scope: &Scope, handle: &Handle, lines: u32) -> Result<String, Fault> {
        let used = self.before(&scope.section).await;
        let text = self.driver.tail(scope, handle, lines).await;
        match self.is_worth_another(&text, &scope.section, used.as_ref()).await {
            true => self.driver.tail(scope, handle, lines).await,
            false => text,
        }
    }
}

#[cfg(test)]
mod tests;
