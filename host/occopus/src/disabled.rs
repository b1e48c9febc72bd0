//! Stand-ins for commands that need no plugins or no store, so that none is opened.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use occopus_engine::ports::{
    Changes, CommitOutcome, Contextualiser, CreateRequest, Driver, Entry, Fault, HealthChecker, LeaseId,
    OfflinePlugins, Plugins, Preflight, Renderers, Revision, Store, StoreError, Transaction,
};

/// An empty set of plugins.
pub(crate) struct NoPlugins;

impl Plugins for NoPlugins {
    fn driver(&self, _keyword: &str) -> Option<Arc<dyn Driver>> {
        None
    }

    fn health_checker(&self, _keyword: &str) -> Option<Arc<dyn HealthChecker>> {
        None
    }

    fn offline(&self) -> Arc<dyn OfflinePlugins> {
        Arc::new(Self)
    }
}

impl Renderers for NoPlugins {
    fn contextualiser(&self, _keyword: &str) -> Option<Arc<dyn Contextualiser>> {
        None
    }
}

#[async_trait]
impl OfflinePlugins for NoPlugins {
    async fn check(&self, _driver: &str, _request: &CreateRequest) -> Result<Preflight, Fault> {
        Ok(Preflight::default())
    }
}

/// A store that fails every call.
pub(crate) struct NoStore;

fn store_disabled<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable { message: "this command does not open the store".to_owned() })
}

#[async_trait]
impl Store for NoStore {
    async fn get(&self, _key: &str) -> Result<Option<Entry>, StoreError> {
        store_disabled()
    }

    async fn range(&self, _prefix: &str, _after: Option<&str>, _limit: usize) -> Result<Vec<Entry>, StoreError> {
        store_disabled()
    }

    async fn commit(&self, _transaction: Transaction) -> Result<CommitOutcome, StoreError> {
        store_disabled()
    }

    async fn grant_lease(&self, _ttl: Duration) -> Result<LeaseId, StoreError> {
        store_disabled()
    }

    async fn keep_alive(&self, _lease: LeaseId) -> Result<bool, StoreError> {
        store_disabled()
    }

    async fn revoke_lease(&self, _lease: LeaseId) -> Result<(), StoreError> {
        store_disabled()
    }

    async fn watch(&self, _prefix: &str, _after: Revision) -> Result<Changes, StoreError> {
        store_disabled()
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        store_disabled()
    }
}
