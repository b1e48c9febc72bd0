//! A driver whose answers are heard, so that secrets in them are found.

use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::{CreateRequest, Driver, Fault, Handle, Observed, OwnedPage, Reaction, Scope};
use tokio_util::task::TaskTracker;

use crate::meter::Meter;

pub(crate) struct Recording {
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) meter: Meter,
    /// Creations on their way, also those that nobody waits for any more.
    pub(crate) creations: TaskTracker,
}

impl Recording {
    fn hear<T: std::fmt::Debug>(&self, answer: Result<T, Fault>) -> Result<T, Fault> {
        self.meter.hear(&answer);
        answer
    }
}

#[async_trait]
impl Driver for Recording {
    /// It goes on when its caller is interrupted: a machine that came after the tidying up would stay.
    async fn create(&self, request: &CreateRequest) -> Result<Observed, Fault> {
        let (driver, request) = (Arc::clone(&self.driver), request.clone());
        let creation = self.creations.spawn(async move { driver.create(&request).await });
        let crashed = |error| Fault::new(Reaction::UnknownOutcome, "conformance.crashed", format!("{error}"));
        self.hear(creation.await.unwrap_or_else(|error| Err(crashed(error))))
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
