//! A run of the engine for the supervisor: its preparation, its events and its stop.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use occopus::model::Webhook;
use occopus::{Need, OpenError};
use occopus_engine::{EngineError, Event, InfrastructureId, RunHandle, StopSignal};
use tokio::sync::Notify;

use super::SupervisorInner;
use crate::operations::NextWork;

/// Events that the history of a run keeps.
const MAX_HISTORY_EVENTS: usize = 200;

/// The work that a run does on an infrastructure. It is superseded when the ledger has other work.
#[derive(Debug, Clone, Copy)]
pub(super) enum Assignment<'a> {
    /// Maintenance.
    Maintenance,
    /// Operation with this id.
    Operation(&'a str),
}

/// Input of a run, apart from the work itself.
pub(super) struct EngineJob<'a> {
    pub(super) task: Assignment<'a>,
    pub(super) needs: Vec<Need>,
    pub(super) webhooks: &'a [Webhook],
    /// Shutdown stops the run only after the grace period, because stopping would roll back what was made.
    pub(super) waits_for_grace: bool,
    /// History that keeps the latest events.
    pub(super) history: Option<&'a EventHistory>,
}

/// The latest events of a run. Clones share them.
#[derive(Clone, Default)]
pub(super) struct EventHistory(Arc<Mutex<VecDeque<Event>>>);

impl EventHistory {
    fn add(&self, event: &Event) {
        if event.kind.is_transient() {
            return;
        }
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() >= MAX_HISTORY_EVENTS {
            events.pop_front();
        }
        events.push_back(event.clone());
    }

    /// Takes all events, the oldest first.
    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

/// Cause of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopCause {
    /// Absence of a stop.
    NotStopped,
    /// Other work in the ledger.
    Superseded,
    /// Shutdown of the service.
    Shutdown,
}

/// Failure of a run.
pub(super) enum RunError {
    /// Failure of the preparation.
    Open(Box<OpenError>),
    /// Failure of the engine or its store.
    Engine(Box<EngineError>),
}

impl From<OpenError> for RunError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Engine(error) => Self::Engine(Box::new(error)),
            OpenError::Store(error) => Self::Engine(Box::new(error.into())),
            other => Self::Open(Box::new(other)),
        }
    }
}

impl From<EngineError> for RunError {
    fn from(error: EngineError) -> Self {
        Self::Engine(Box::new(error))
    }
}

impl SupervisorInner {
    /// Runs work of the engine until it ends or is stopped, after plugins were compiled and webhooks started.
    ///
    /// The run is requested to stop when it was woken and the ledger has other work, and when the service shuts down: at
    /// once, or, with `waits_for_grace`, when the grace period is over. If it has not ended after `stop_timeout` or the
    /// grace period, it is requested to stop immediately, without a rollback.
    pub(super) async fn run<T, F: Future<Output = Result<T, EngineError>> + Send>(
        &self,
        id: &InfrastructureId,
        EngineJob { task, needs, webhooks, waits_for_grace, history }: EngineJob<'_>,
        wake: &Notify,
        work: impl FnOnce(RunHandle) -> F + Send,
    ) -> (Result<T, RunError>, StopCause) {
        let preparation = async {
            self.occopus.credentials().await?;
            self.occopus.preload(needs, |plugin| tracing::info!("compiling the plugin {plugin}")).await?;
            let (run, events) = RunHandle::new();
            let (mut events, notifier) = self.occopus.start_webhooks(id, webhooks, events).await?;
            let (publisher, history) = (self.feed.publisher(id), history.cloned());
            let forwarding = tokio::spawn(async move {
                while let Some(event) = events.recv().await {
                    history.iter().for_each(|history| history.add(&event));
                    publisher.publish(event);
                }
            });
            Ok::<_, OpenError>((run, notifier, forwarding))
        };
        let (run, notifier, forwarding) = match preparation.await {
            Ok(prepared) => prepared,
            Err(error) => return (Err(error.into()), StopCause::NotStopped),
        };
        let stop = run.stop.clone();
        if let Some(handle) = self.task_handles().get_mut(id) {
            handle.engine_wake = Some(run.wake.clone());
        }
        let mut work = std::pin::pin!(work(run));
        let mut stopped = StopCause::NotStopped;
        let outcome = {
            let mut watching = std::pin::pin!(self.stop_when_needed(id, task, &stop, wake, waits_for_grace));
            tokio::select! {
                outcome = &mut work => Some(outcome),
                cause = &mut watching => {
                    stopped = cause;
                    None
                }
            }
        };
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => tokio::select! {
                outcome = &mut work => outcome,
                () = self.wait_for_stop_timeout() => {
                    request_immediate_stop(&stop);
                    work.await
                }
            },
        };
        if !notifier.flush(std::time::Duration::from_secs(1)).await {
            tracing::info!(
                infrastructure = id.as_str(),
                "some events were not delivered to webhooks; the next run delivers them"
            );
        }
        if history.is_some() {
            // All events exist when the run has ended; this only waits until they were forwarded.
            let _ = tokio::time::timeout(std::time::Duration::from_secs(1), forwarding).await;
        }
        (outcome.map_err(RunError::from), stopped)
    }

    async fn is_superseded(&self, id: &str, task: Assignment<'_>) -> bool {
        match (self.ledger.next(id).await, task) {
            (Ok(NextWork::Maintain), Assignment::Maintenance) | (Err(_), _) => false,
            (Ok(NextWork::Operation(found, _)), Assignment::Operation(current)) => found.id != current,
            _ => true,
        }
    }

    async fn wait_for_stop_timeout(&self) {
        tokio::select! {
            () = tokio::time::sleep(self.timing.stop_timeout) => {}
            () = self.abandon.cancelled() => {}
        }
    }

    /// Waits for a cause to stop the run, requests the stop, and returns the cause.
    async fn stop_when_needed(
        &self,
        id: &str,
        task: Assignment<'_>,
        stop: &StopSignal,
        wake: &Notify,
        waits_for_grace: bool,
    ) -> StopCause {
        loop {
            tokio::select! {
                () = wake.notified() => {
                    if self.is_superseded(id, task).await {
                        stop.request();
                        return StopCause::Superseded;
                    }
                }
                () = self.closing.cancelled(), if !waits_for_grace => {
                    stop.request();
                    return StopCause::Shutdown;
                }
                () = self.abandon.cancelled() => {
                    request_immediate_stop(stop);
                    return StopCause::Shutdown;
                }
            }
        }
    }
}

/// Requests an immediate stop, without a rollback.
fn request_immediate_stop(stop: &StopSignal) {
    while stop.request_count() < 2 {
        stop.request();
    }
}
