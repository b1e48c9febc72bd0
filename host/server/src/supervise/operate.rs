//! Doing an operation, and writing down what came of it.

use jiff::Timestamp;
use occopus::{needs_of_description, needs_of_status};
use occopus_engine::{BuildRequest, EngineError, Leftover, MaintainOptions, OnFailure, Rollout};
use occopus_model::Webhook;
use tokio::sync::Notify;

use super::crash_loop::ClaimOutcome;
use super::run::{Assignment, EngineJob, EventHistory, RunError, StopCause};
use super::{RETRY_INTERVAL, SupervisorInner};
use crate::operations::{FailedBuild, Operation, OperationState, Work};
use crate::problem::ApiError;

/// Instances that are told of by name.
const MAX_NAMED_LEFTOVERS: usize = 3;

/// What came of an attempt.
enum OperationOutcome {
    Done,
    Failed(Box<ApiError>),
    /// Not now, and why; it is tried again.
    Retry(String),
    /// The service ends, or something else is to be done.
    Abandoned,
}

impl SupervisorInner {
    pub(super) async fn operate(&self, mut operation: Operation, work: &Work, wake: &Notify) {
        let id = operation.infraid.clone();
        if let Some(why) = self.other_owner(&id).await {
            return self.postpone(operation, why).await;
        }
        operation.state = OperationState::Running;
        operation.message = None;
        let apart = match self.claim(&operation).await {
            Ok(ClaimOutcome::Claimed { isolation: apart }) => apart,
            Ok(ClaimOutcome::SetAside(problem)) => {
                let failed = FailedBuild::of(work, Vec::new(), !matches!(self.engine.exists(&id).await, Ok(false)));
                return self.end(operation, Some(problem), true, failed).await;
            }
            // Another request has taken its place.
            Ok(ClaimOutcome::Superseded) => return,
            Err(error) => {
                tracing::warn!(infrastructure = id, "an operation could not be begun: {error}");
                return self.sleep().await;
            }
        };
        tracing::info!(infrastructure = id, operation = operation.id, "{:?} begins", operation.kind);
        let history = EventHistory::default();
        let attempt = tokio::select! {
            attempt = self.attempt(&operation, work, &history, wake) => attempt,
            () = self.record_survival(&operation, apart) => OperationOutcome::Abandoned,
        };
        match attempt {
            OperationOutcome::Done => self.end(operation, None, matches!(work, Work::Destroy), None).await,
            OperationOutcome::Failed(problem) => {
                // A build that left nothing leaves nothing to maintain, and what it was to keep is to stay as it is.
                let kept = matches!(work, Work::Build { keep: true, .. });
                let gone = matches!(self.engine.exists(&id).await, Ok(false));
                let failed = FailedBuild::of(work, history.take(), !gone);
                self.end(operation, Some(*problem), gone || kept, failed).await;
            }
            OperationOutcome::Retry(why) => {
                self.release_claim(&operation).await;
                self.postpone(operation, why).await;
            }
            OperationOutcome::Abandoned => self.release_claim(&operation).await,
        }
    }

    /// It can't be done now.
    async fn postpone(&self, mut operation: Operation, why: String) {
        // Another service may be the one that does it. Then it is not for us to say that it waits.
        if operation.state != OperationState::Running && operation.message.as_ref() != Some(&why) {
            operation.message = Some(why);
            // It is only for those who ask.
            let _ = self.ledger.update(&operation).await;
        }
        self.sleep().await;
    }

    /// Not to be woken: what is written here wakes us.
    async fn sleep(&self) {
        tokio::select! {
            () = tokio::time::sleep(RETRY_INTERVAL) => {}
            () = self.closing.cancelled() => {}
        }
    }

    async fn end(&self, operation: Operation, problem: Option<ApiError>, forget: bool, failed: Option<FailedBuild>) {
        let state = if problem.is_some() { OperationState::Failed } else { OperationState::Done };
        let (ended, error) = (Some(Timestamp::now()), problem.map(ApiError::into_details));
        let ended = Operation { state, ended, message: None, error, ..operation };
        tracing::info!(infrastructure = ended.infraid, operation = ended.id, "{:?} is {state:?}", ended.kind);
        // Whoever sees that it has ended sees what came of it.
        self.feed.invalidate(&ended.infraid);
        while let Err(error) = self.ledger.end(&ended, forget, failed.as_ref()).await {
            tracing::warn!(infrastructure = ended.infraid, "the end of an operation could not be written: {error}");
            if self.closing.is_cancelled() {
                return;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    async fn attempt(
        &self,
        operation: &Operation,
        work: &Work,
        history: &EventHistory,
        wake: &Notify,
    ) -> OperationOutcome {
        let id = operation.infraid.as_str();
        let task = Assignment::Operation(&operation.id);
        let (outcome, stopped) = match work {
            Work::Build { infrastructure, keep, renew_changed, renew_dependents, .. } => {
                let request = BuildRequest {
                    id: Some(id.to_owned()),
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
                let problem = ApiError::new(http::StatusCode::BAD_GATEWAY, "engine.left", describe_leftovers(&left))
                    .with_leftovers(&left);
                OperationOutcome::Failed(Box::new(
                    problem.with_help("DELETE the infrastructure again; its record stays until all is gone"),
                ))
            }
            Err(RunError::Open(error)) => OperationOutcome::Failed(Box::new((*error).into())),
            Err(RunError::Engine(error)) => match *error {
                EngineError::Owned { holder, since, .. } => {
                    OperationOutcome::Retry(format!("{holder} works on it, since {since}"))
                }
                EngineError::LeaseLost { .. } | EngineError::Store { .. } => OperationOutcome::Retry(error.to_string()),
                EngineError::Stopped { .. } if stopped != StopCause::NotStopped => OperationOutcome::Abandoned,
                error => OperationOutcome::Failed(Box::new(error.into())),
            },
        }
    }

    /// A description that can't be read must not keep it from being removed.
    async fn webhooks(&self, id: &str) -> Vec<Webhook> {
        self.engine.desired(id).await.ok().flatten().map(|desired| desired.webhooks).unwrap_or_default()
    }
}

/// What is left and why, the first few of it in full.
fn describe_leftovers(left: &[Leftover]) -> String {
    let number = if left.len() == 1 { "1 instance".to_owned() } else { format!("{} instances", left.len()) };
    let told: Vec<_> = left.iter().take(MAX_NAMED_LEFTOVERS).map(ToString::to_string).collect();
    let more = left.len().saturating_sub(MAX_NAMED_LEFTOVERS);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("{number} could not be removed: {}{more}", told.join("; "))
}
