//! Keeping an infrastructure alive, until there is something else to do.

use std::time::Duration;

use occopus::{needs_of_description, needs_of_status};
use occopus_engine::{EngineError, MaintainOptions};
use tokio::sync::Notify;

use super::run::{Failed, Job, Stopped, Task};
use super::{AGAIN, Shared};

/// After a pass that failed.
const AFTER_A_FAILURE: Duration = Duration::from_secs(10);

impl Shared {
    pub(super) async fn maintain(&self, id: &str, wake: &Notify) {
        if self.other_owner(id).await.is_some() {
            return self.pause(AGAIN, wake).await;
        }
        let before = async {
            let mut needs = needs_of_status(&self.engine.status(id, false).await?);
            let desired = self.engine.desired(id).await?;
            needs.extend(desired.iter().flat_map(needs_of_description));
            Ok::<_, EngineError>((needs, desired.map(|desired| desired.webhooks).unwrap_or_default()))
        };
        let (outcome, stopped) = match before.await {
            Ok((needs, webhooks)) => {
                let options = MaintainOptions { cyclic: Some(self.timing.interval), ..MaintainOptions::default() };
                let job = Job { task: Task::Maintenance, needs, webhooks: &webhooks, patient: false, history: None };
                self.run(id, job, wake, |run| self.engine.maintain(id, options, run)).await
            }
            Err(error) => (Err(error.into()), Stopped::No),
        };
        match outcome {
            // Somebody has detached it, not by us.
            Ok(_) if stopped == Stopped::No => self.forget(id).await,
            Ok(_) => {}
            Err(Failed::Engine(error)) => match *error {
                EngineError::UnknownInfrastructure { .. } => self.forget(id).await,
                EngineError::Stopped { .. } => {}
                EngineError::Owned { .. } | EngineError::LeaseLost { .. } => self.pause(AGAIN, wake).await,
                error => {
                    tracing::warn!(infrastructure = id, "a pass has failed: {error}");
                    self.pause(AFTER_A_FAILURE, wake).await;
                }
            },
            Err(Failed::Open(error)) => {
                tracing::warn!(infrastructure = id, "it can't be maintained: {error}");
                self.pause(AFTER_A_FAILURE, wake).await;
            }
        }
    }

    /// It is not to be maintained any more.
    async fn forget(&self, id: &str) {
        if let Err(error) = self.ledger.detach(id).await {
            tracing::warn!(infrastructure = id, "it could not be noted that it is let go: {error}");
            tokio::time::sleep(AGAIN).await;
        }
    }
}
