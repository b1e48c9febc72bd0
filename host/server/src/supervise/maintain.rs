//! Maintenance of an infrastructure, until there is an operation.

use std::time::Duration;

use occopus::{needs_of_description, needs_of_status};
use occopus_engine::{EngineError, InfrastructureId, MaintainOptions};
use tokio::sync::Notify;

use super::run::{Assignment, EngineJob, RunError, StopCause};
use super::{RETRY_INTERVAL, SupervisorInner};

/// Pause after maintenance has failed.
const FAILED_PASS_DELAY: Duration = Duration::from_secs(10);

impl SupervisorInner {
    /// Maintains an infrastructure until it is stopped, detached or fails; waits before it returns after a failure, or if
    /// another process owns the infrastructure.
    pub(super) async fn maintain(&self, id: &InfrastructureId, wake: &Notify) {
        if self.other_owner(id).await.is_some() {
            return self.pause(RETRY_INTERVAL, wake).await;
        }
        let preparation = async {
            let mut needs = needs_of_status(&self.engine.status(id, false).await?);
            let desired = self.engine.desired(id).await?;
            needs.extend(desired.iter().flat_map(needs_of_description));
            Ok::<_, EngineError>((needs, desired.map(|desired| desired.webhooks).unwrap_or_default()))
        };
        let (outcome, stopped) = match preparation.await {
            Ok((needs, webhooks)) => {
                let options = MaintainOptions { cyclic: Some(self.timing.interval), ..MaintainOptions::default() };
                let job = EngineJob {
                    task: Assignment::Maintenance,
                    needs,
                    webhooks: &webhooks,
                    waits_for_grace: false,
                    history: None,
                };
                self.run(id, job, wake, |run| self.engine.maintain(id, options, run)).await
            }
            Err(error) => (Err(error.into()), StopCause::NotStopped),
        };
        match outcome {
            // The engine was requested to let go, but not by this task.
            Ok(_) if stopped == StopCause::NotStopped => self.detach(id).await,
            Ok(_) => {}
            Err(RunError::Engine(error)) => match *error {
                // There is nothing to maintain, or what is left is to go.
                EngineError::UnknownInfrastructure { .. } | EngineError::Destroying { .. } => self.detach(id).await,
                EngineError::Stopped { .. } => {}
                EngineError::Owned { .. } | EngineError::LeaseLost { .. } => self.pause(RETRY_INTERVAL, wake).await,
                error => {
                    tracing::warn!(infrastructure = id.as_str(), "maintenance failed: {error}");
                    self.pause(FAILED_PASS_DELAY, wake).await;
                }
            },
            Err(RunError::Open(error)) => {
                tracing::warn!(infrastructure = id.as_str(), "the infrastructure cannot be maintained: {error}");
                self.pause(FAILED_PASS_DELAY, wake).await;
            }
        }
    }

    /// Records in the ledger that the infrastructure is not to be maintained any more.
    async fn detach(&self, id: &str) {
        if let Err(error) = self.ledger.detach(id).await {
            tracing::warn!(infrastructure = id, "the infrastructure could not be detached: {error}");
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }
}
