//! Doing an operation, and writing down what came of it.

use jiff::Timestamp;
use occopus::{needs_of_description, needs_of_status};
use occopus_engine::{BuildRequest, EngineError, Leftover, MaintainOptions, OnFailure, Renew};
use occopus_model::Webhook;
use tokio::sync::Notify;

use super::run::{Failed, History, Job, Stopped, Task};
use super::suspect::Beginning;
use super::{AGAIN, Shared};
use crate::operations::{FailedBuild, Operation, Progress, Work};
use crate::problem::Problem;

/// Instances that are told of by name.
const TOLD: usize = 3;

/// What came of an attempt.
enum Attempt {
    Done,
    Failed(Box<Problem>),
    /// Not now, and why; it is tried again.
    Later(String),
    /// The service ends, or something else is to be done.
    Left,
}

impl Shared {
    pub(super) async fn operate(&self, mut operation: Operation, work: &Work, wake: &Notify) {
        let id = operation.infraid.clone();
        if let Some(why) = self.other_owner(&id).await {
            return self.wait(operation, why).await;
        }
        operation.state = Progress::Running;
        operation.message = None;
        let apart = match self.begin(&operation).await {
            Ok(Beginning::Begun { apart }) => apart,
            Ok(Beginning::SetAside(problem)) => {
                let failed = FailedBuild::of(work, Vec::new(), !matches!(self.engine.exists(&id).await, Ok(false)));
                return self.end(operation, Some(problem), true, failed).await;
            }
            // Another request has taken its place.
            Ok(Beginning::Overtaken) => return,
            Err(error) => {
                tracing::warn!(infrastructure = id, "an operation could not be begun: {error}");
                return self.sleep().await;
            }
        };
        tracing::info!(infrastructure = id, operation = operation.id, "{:?} begins", operation.kind);
        let history = History::default();
        let attempt = tokio::select! {
            attempt = self.attempt(&operation, work, &history, wake) => attempt,
            () = self.survive(&operation, apart) => Attempt::Left,
        };
        match attempt {
            Attempt::Done => self.end(operation, None, matches!(work, Work::Destroy), None).await,
            Attempt::Failed(problem) => {
                // A build that left nothing leaves nothing to maintain, and what it was to keep is to stay as it is.
                let kept = matches!(work, Work::Build { keep: true, .. });
                let gone = matches!(self.engine.exists(&id).await, Ok(false));
                let failed = FailedBuild::of(work, history.take(), !gone);
                self.end(operation, Some(*problem), gone || kept, failed).await;
            }
            Attempt::Later(why) => {
                self.let_go(&operation).await;
                self.wait(operation, why).await;
            }
            Attempt::Left => self.let_go(&operation).await,
        }
    }

    /// It can't be done now.
    async fn wait(&self, mut operation: Operation, why: String) {
        // Another service may be the one that does it. Then it is not for us to say that it waits.
        if operation.state != Progress::Running && operation.message.as_ref() != Some(&why) {
            operation.message = Some(why);
            // It is only for those who ask.
            let _ = self.ledger.tell(&operation).await;
        }
        self.sleep().await;
    }

    /// Not to be woken: what is written here wakes us.
    async fn sleep(&self) {
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = self.closing.cancelled() => {}
        }
    }

    async fn end(&self, operation: Operation, problem: Option<Problem>, forget: bool, failed: Option<FailedBuild>) {
        let state = if problem.is_some() { Progress::Failed } else { Progress::Done };
        let (ended, error) = (Some(Timestamp::now()), problem.map(Problem::into_details));
        let ended = Operation { state, ended, message: None, error, ..operation };
        tracing::info!(infrastructure = ended.infraid, operation = ended.id, "{:?} is {state:?}", ended.kind);
        // Whoever sees that it has ended sees what came of it.
        self.feed.touch(&ended.infraid);
        while let Err(error) = self.ledger.end(&ended, forget, failed.as_ref()).await {
            tracing::warn!(infrastructure = ended.infraid, "the end of an operation could not be written: {error}");
            if self.closing.is_cancelled() {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn attempt(&self, operation: &Operation, work: &Work, history: &History, wake: &Notify) -> Attempt {
        let id = operation.infraid.as_str();
        let task = Task::Operation(&operation.id);
        let (outcome, stopped) = match work {
            Work::Build { infrastructure, keep, renew_changed, renew_dependents, .. } => {
                let request = BuildRequest {
                    id: Some(id.to_owned()),
                    infrastructure: (**infrastructure).clone(),
                    on_failure: if *keep { OnFailure::Keep } else { OnFailure::Rollback },
                    renew: Renew { changed: *renew_changed, dependents: *renew_dependents },
                    is_new_id: false,
                };
                let needs = needs_of_description(infrastructure);
                let build = |run| async { self.engine.build(request, run).await.map(|_| Vec::new()) };
                let job =
                    Job { task, needs, webhooks: &infrastructure.webhooks, patient: true, history: Some(history) };
                self.run(id, job, wake, build).await
            }
            Work::Destroy => match self.engine.status(id, false).await {
                Ok(status) => {
                    let webhooks = self.webhooks(id).await;
                    let destroy = |run| async { self.engine.destroy(id, run).await.map(|report| report.left) };
                    let needs = needs_of_status(&status);
                    let job = Job { task, needs, webhooks: &webhooks, patient: false, history: None };
                    self.run(id, job, wake, destroy).await
                }
                Err(EngineError::UnknownInfrastructure { .. }) => return Attempt::Done,
                Err(error) => (Err(error.into()), Stopped::No),
            },
            Work::Maintain => match self.engine.status(id, false).await {
                Ok(status) => {
                    let mut needs = needs_of_status(&status);
                    let desired = self.engine.desired(id).await.ok().flatten();
                    needs.extend(desired.iter().flat_map(needs_of_description));
                    let webhooks = desired.map(|desired| desired.webhooks).unwrap_or_default();
                    let once = MaintainOptions::default();
                    let maintain = |run| async { self.engine.maintain(id, once, run).await.map(|_| Vec::new()) };
                    let job = Job { task, needs, webhooks: &webhooks, patient: false, history: None };
                    self.run(id, job, wake, maintain).await
                }
                Err(error) => (Err(error.into()), Stopped::No),
            },
        };
        match outcome {
            Ok(_) if stopped == Stopped::ForGood => Attempt::Left,
            Ok(left) if left.is_empty() => Attempt::Done,
            Ok(left) => {
                let problem =
                    Problem::new(http::StatusCode::BAD_GATEWAY, "engine.left", not_removed(&left)).left(&left);
                Attempt::Failed(Box::new(
                    problem.help("DELETE the infrastructure again; its record stays until all is gone"),
                ))
            }
            Err(Failed::Open(error)) => Attempt::Failed(Box::new((*error).into())),
            Err(Failed::Engine(error)) => match *error {
                EngineError::Owned { holder, since, .. } => {
                    Attempt::Later(format!("{holder} works on it, since {since}"))
                }
                EngineError::LeaseLost { .. } | EngineError::Store { .. } => Attempt::Later(error.to_string()),
                EngineError::Stopped { .. } if stopped != Stopped::No => Attempt::Left,
                error => Attempt::Failed(Box::new(error.into())),
            },
        }
    }

    /// A description that can't be read must not keep it from being removed.
    async fn webhooks(&self, id: &str) -> Vec<Webhook> {
        self.engine.desired(id).await.ok().flatten().map(|desired| desired.webhooks).unwrap_or_default()
    }
}

/// What is left and why, the first few of it in full.
fn not_removed(left: &[Leftover]) -> String {
    let number = if left.len() == 1 { "1 instance".to_owned() } else { format!("{} instances", left.len()) };
    let told: Vec<_> = left.iter().take(TOLD).map(ToString::to_string).collect();
    let more = left.len().saturating_sub(TOLD);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("{number} could not be removed: {}{more}", told.join("; "))
}
