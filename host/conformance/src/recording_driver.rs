//! A driver whose answers are recorded, so that secrets in them are found.

use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::{CallScope, CreateRequest, Driver, Fault, Handle, LabelledPage, ObservedMachine, Reaction};
use tokio_util::task::TaskTracker;

use crate::meter::Meter;

pub(crate) struct RecordingDriver {
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) meter: Meter,
    /// Creations in flight, also those that nobody waits for any more.
    pub(crate) creations: TaskTracker,
}

impl RecordingDriver {
    fn record<T: std::fmt::Debug>(&self, answer: Result<T, Fault>) -> Result<T, Fault> {
        self.meter.record(&answer);
        answer
    }
}

#[async_trait]
impl Driver for RecordingDriver {
    /// Creates a machine in a task that outlives an interrupted caller: otherwise a machine that is created after the
    /// final removal would stay.
    async fn create(&self, request: &CreateRequest) -> Result<ObservedMachine, Fault> {
        let (driver, request) = (Arc::clone(&self.driver), request.clone());
        let creation = self.creations.spawn(async move { driver.create(&request).await });
        let crashed = |error| Fault::new(Reaction::UnknownOutcome, "conformance.crashed", format!("{error}"));
        self.record(creation.await.unwrap_or_else(|error| Err(crashed(error))))
    }

    async fn find(&self, scope: &CallScope, instance_id: &str) -> Result<Option<ObservedMachine>, Fault> {
        self.record(self.driver.find(scope, instance_id).await)
    }

    async fn observe(&self, scope: &CallScope, handles: &[Handle]) -> Result<Vec<ObservedMachine>, Fault> {
        self.record(self.driver.observe(scope, handles).await)
    }

    async fn destroy(&self, scope: &CallScope, handle: &Handle) -> Result<(), Fault> {
        self.record(self.driver.destroy(scope, handle).await)
    }

    async fn list_owned(&self, scope: &CallScope, cursor: Option<&str>) -> Result<LabelledPage, Fault> {
        self.record(self.driver.list_owned(scope, cursor).await)
    }
}
