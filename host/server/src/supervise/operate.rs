//! Execution of one operation, and the record of its outcome.

use jiff::Timestamp;
use occopus::{needs_of_description, needs_of_status};
use occopus_api::{Operation, OperationState};
use occopus_engine::{BuildRequest, EngineError, InfrastructureId, Leftover, MaintainOptions, OnFailure, Rollout};
use occopus_model::Webhook;
use tokio::sync::Notify;

use super::crash_loop::ClaimOutcome;
use super::run::{Assignment, EngineJob, EventHistory, RunError, StopCause};
use super::{RETRY_INTERVAL, SupervisorInner};
use crate::operations::{FailedBuild, Work};
use crate::problem::ApiError;

/// Instances that a message names.
const MAX_NAMED_LEFTOVERS: usize = 3;

/// Outcome of an attempt.
enum OperationOutcome {
    Done,
    Failed(Box<ApiError>),
    /// Postponed for this reason; to be tried again.
    Retry(String),
    /// Stopped, since the service shuts down or another operation has superseded this one.
    Abandoned,
}

impl SupervisorInner {
    /// Executes an operation once, and records its end, or why it waits.
    pub(super) async fn operate(&self, id: &InfrastructureId, mut operation: Operation, work: &Work, wake: &Notify) {
        if let Some(reason) = self.other_owner(id).await {
            return self.postpone(operation, reason).await;
        }
        operation.set_state(OperationState::Running);
        operation.message = None;
        let isolation = match self.claim(id, &operation).await {
            Ok(ClaimOutcome::Claimed { isolation }) => isolation,
            Ok(ClaimOutcome::SetAside(error)) => {
                let failed = FailedBuild::of(work, Vec::new(), !matches!(self.engine.exists(id).await, Ok(false)));
                return self.end(operation, Some(error), true, failed).await;
            }
            Ok(ClaimOutcome::Superseded) => return,
            Err(error) => {
                tracing::warn!(infrastructure = id.as_str(), "an operation could not be started: {error}");
                return self.sleep().await;
            }
        };
        tracing::info!(infrastructure = id.as_str(), operation = operation.id, "{:?} started", operation.kind);
        let history = EventHistory::default();
        let attempt = tokio::select! {
            attempt = self.attempt(id, &operation, work, &history, wake) => attempt,
            () = self.record_survival(&operation, isolation) => OperationOutcome::Abandoned,
        };
        match attempt {
            OperationOutcome::Done => self.end(operation, None, matches!(work, Work::Destroy), None).await,
            OperationOutcome::Failed(error) => {
                // After a build that left nothing there is nothing to maintain; and what a build was to keep stays as it
                // is.
                let kept = matches!(work, Work::Build { keep: true, .. });
                let gone = matches!(self.engine.exists(id).await, Ok(false));
                let failed = FailedBuild::of(work, history.take(), !gone);
                self.end(operation, Some(*error), gone || kept, failed).await;
            }
            OperationOutcome::Retry(reason) => {
                self.release_claim(&operation).await;
                self.postpone(operation, reason).await;
            }
            OperationOutcome::Abandoned => self.release_claim(&operation).await,
        }
    }

    /// Records why an operation waits, and waits before the next attempt.
    async fn postpone(&self, mut operation: Operation, reason: String) {
        // An operation that another service executes is running, and not recorded as waiting.
        if operation.state != OperationState::Running && operation.message.as_ref() != Some(&reason) {
            operation.message = Some(reason);
            // The message is only for display: a failure to write it is ignored.
            let _ = self.ledger.update(&operation).await;
        }
        self.sleep().await;
    }

    /// Waits before the next attempt. Ignores wakes: writes by this task to the ledger cause them.
    async fn sleep(&self) {
        tokio::select! {
            () = tokio::time::sleep(RETRY_INTERVAL) => {}
            () = self.closing.cancelled() => {}
        }
    }

    /// Records the end of an operation, and retries that until it succeeds or the service shuts down.
    async fn end(&self, mut operation: Operation, error: Option<ApiError>, forget: bool, failed: Option<FailedBuild>) {
        let state = if error.is_some() { OperationState::Failed } else { OperationState::Done };
        let (ended, error) = (Some(Timestamp::now()), error.map(ApiError::into_details));
        operation.set_state(state);
        let ended = Operation { ended, message: None, error, ..operation };
        tracing::info!(infrastructure = ended.infraid, operation = ended.id, "{:?} ended: {state:?}", ended.kind);
        // A client that sees the end of the operation must not get an answer that was cached before.
        self.feed.invalidate(&ended.infraid);
        while let Err(error) = self.ledger.end(&ended, forget, failed.as_ref()).await {
            tracing::warn!(infrastructure = ended.infraid, "the end of an operation could not be written: {error}");
            if self.closing.is_cancelled() {
                return;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Executes the work of an operation once.
    async fn attempt(
        &self,
        id: &InfrastructureId,
        operation: &Operation,
        work: &Work,
        history: &EventHistory,
        wake: &Notify,
    ) -> OperationOutcome {
        let task = Assignment::Operation(&operation.id);
        let (outcome, stopped) = match work {
            Work::Build { infrastructure, keep, renew_changed, renew_dependents, .. } => {
                let request = BuildRequest {
                    id: Some(id.clone()),
                    infrastructure: (**infrastructure).clone(),
                    on_failure: if *keep { OnFailure::Keep } else { OnFailure::Rollback },
                    rollout: Rollout { changed: *renew_changed, dependents: *renew_dependents },
                    is_new_id: false,
                };
                let needs = needs_of_description(infrastructure);
                let build = |run| async { self.engine.build(request, run).await.map(|_| Vec::new()) };
                let job = EngineJob {
                    task,
                    needs,
                    webhooks: &infrastructure.webhooks,
                    waits_for_grace: true,
                    history: Some(history),
                };
                self.run(id, job, wake, build).await
            }
            Work::Destroy => match self.engine.status(id, false).await {
                Ok(status) => {
                    let webhooks = self.webhooks(id).await;
                    let destroy = |run| async { self.engine.destroy(id, run).await.map(|report| report.left) };
                    let needs = needs_of_status(&status);
                    let job = EngineJob { task, needs, webhooks: &webhooks, waits_for_grace: false, history: None };
                    self.run(id, job, wake, destroy).await
                }
                Err(EngineError::UnknownInfrastructure { .. }) => return OperationOutcome::Done,
                Err(error) => (Err(error.into()), StopCause::NotStopped),
            },
            Work::Maintain => match self.engine.status(id, false).await {
                Ok(status) => {
                    let mut needs = needs_of_status(&status);
                    let desired = self.engine.desired(id).await.ok().flatten();
                    needs.extend(desired.iter().flat_map(needs_of_description));
                    let webhooks = desired.map(|desired| desired.webhooks).unwrap_or_default();
                    let once = MaintainOptions::default();
                    let maintain = |run| async { self.engine.maintain(id, once, run).await.map(|_| Vec::new()) };
                    let job = EngineJob { task, needs, webhooks: &webhooks, waits_for_grace: false, history: None };
                    self.run(id, job, wake, maintain).await
                }
                Err(error) => (Err(error.into()), StopCause::NotStopped),
            },
        };
        match outcome {
            Ok(_) if stopped == StopCause::Shutdown => OperationOutcome::Abandoned,
            Ok(left) if left.is_empty() => OperationOutcome::Done,
            Ok(left) => {
                let error = ApiError::new(http::StatusCode::BAD_GATEWAY, "engine.left", describe_leftovers(&left))
                    .with_leftovers(&left);
                OperationOutcome::Failed(Box::new(
                    error.with_help("DELETE the infrastructure again; its record stays until all is gone"),
                ))
            }
            Err(RunError::Open(error)) => OperationOutcome::Failed(Box::new((*error).into())),
            Err(RunError::Engine(error)) => match *error {
                EngineError::Owned { .. } | EngineError::LeaseLost { .. } | EngineError::Store { .. } => {
                    OperationOutcome::Retry(error.to_string())
                }
                EngineError::Stopped { .. } if stopped != StopCause::NotStopped => OperationOutcome::Abandoned,
                error => OperationOutcome::Failed(Box::new(error.into())),
            },
        }
    }

    /// Returns the webhooks of an infrastructure; none if its description can't be read, which must not prevent its
    /// removal.
    async fn webhooks(&self, id: &InfrastructureId) -> Vec<Webhook> {
        self.engine.desired(id).await.ok().flatten().map(|desired| desired.webhooks).unwrap_or_default()
    }
}

/// Describes what is left and why, the first [`MAX_NAMED_LEFTOVERS`] instances in full.
fn describe_leftovers(left: &[Leftover]) -> String {
    let count = if left.len() == 1 { "1 instance".to_owned() } else { format!("{} instances", left.len()) };
    let named: Vec<_> = left.iter().take(MAX_NAMED_LEFTOVERS).map(ToString::to_string).collect();
    let more = left.len().saturating_sub(MAX_NAMED_LEFTOVERS);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("{count} could not be removed: {}{more}", named.join("; "))
}
