//! A driver whose answers are heard, so that secrets in them are found.

use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::{CreateRequest, Driver, Fault, Handle, Observed, OwnedPage, Scope};

use crate::meter::Meter;

pub(crate) struct Recording {
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) meter: Meter,
}

impl Recording {
    fn hear<T: std::fmt::Debug>(&self, answer: Result<T, Fault>) -> Result<T, Fault> {
        self.meter.hear(&answer);
        answer
    }
}

#[async_trait]
impl Driver for Recording {
    async fn create(&self, request: &CreateRequest) -> Result<Observed, Fault> {
        self.hear(self.driver.create(request).await)
    }

    async fn find(&self, scope: &Scope, instance_id: &str) -> Result<Option<Observed>, Fault> {
        self.hear(self.driver.find(scope, instance_id).await)
    }

    async fn observe(&self, scope: &Scope, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        self.hear(self.driver.observe(scope, handles).await)
    }

    async fn destroy(&self, scope: &Scope, handle: &Handle) -> Result<(), Fault> {
        self.hear(self.driver.destroy(scope, handle).await)
    }

    async fn list_owned(&self, scope: &Scope, cursor: Option<&str>) -> Result<OwnedPage, Fault> {
        self.hear(self.driver.list_owned(scope, cursor).await)
    }
}
