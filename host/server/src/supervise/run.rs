//! Work of the engine, while somebody may want it to stop.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use occopus::model::Webhook;
use occopus::{Need, OpenError};
use occopus_engine::{EngineError, Event, RunHandle, StopSignal};
use tokio::sync::Notify;

use super::SupervisorInner;
use crate::operations::NextWork;

/// Events that are kept of a run.
const MAX_HISTORY_EVENTS: usize = 200;

/// As what somebody works on an infrastructure. When the ledger says something else, it is out of date.
#[derive(Debug, Clone, Copy)]
pub(super) enum Assignment<'a> {
    /// As its maintainer.
    Maintenance,
    /// At the operation with this id.
    Operation(&'a str),
}

/// What goes with a piece of work.
pub(super) struct EngineJob<'a> {
    pub(super) task: Assignment<'a>,
    pub(super) needs: Vec<Need>,
    pub(super) webhooks: &'a [Webhook],
    pub(super) waits_for_grace: bool,
    /// Where the latest events are to be kept.
    pub(super) history: Option<&'a EventHistory>,
}

/// The latest events of a run. Clones are the same.
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

    /// All of them, the oldest first.
    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

/// Why it was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopCause {
    /// It was not.
    NotStopped,
    /// There is something else to be done.
    Superseded,
    /// The service ends.
    Shutdown,
}

/// What may come of an error.
pub(super) enum RunError {
    Open(Box<OpenError>),
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
    /// Does something, with webhooks told and plugins compiled before, until it ends or is stopped: in good order when
    /// the ledger says, after something new has come up, that something else is to be done; and when the service ends, in
    /// good order or, if it is patient because that would take back what was made, not before its grace is over.
    pub(super) async fn run<T, F: Future<Output = Result<T, EngineError>> + Send>(
        &self,
        id: &str,
        EngineJob { task, needs, webhooks, waits_for_grace: patient, history }: EngineJob<'_>,
        wake: &Notify,
        work: impl FnOnce(RunHandle) -> F + Send,
    ) -> (Result<T, RunError>, StopCause) {
        let prepared = async {
            self.occopus.credentials().await?;
            self.occopus.preload(needs, |plugin| tracing::info!("compiling the plugin {plugin}")).await?;
            let (run, events) = RunHandle::new();
            let (mut events, notifier) = self.occopus.start_webhooks(id, webhooks, events).await?;
            let (telling, history) = (self.feed.publisher(id), history.cloned());
            let told = tokio::spawn(async move {
                while let Some(event) = events.recv().await {
                    history.iter().for_each(|history| history.add(&event));
                    telling.publish(event);
                }
            });
            Ok::<_, OpenError>((run, notifier, told))
        };
        let (run, notifier, told) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return (Err(error.into()), StopCause::NotStopped),
        };
        let stop = run.stop.clone();
        if let Some(runner) = self.task_handles().get_mut(id) {
            runner.nudge = Some(run.wake.clone());
        }
        let mut work = std::pin::pin!(work(run));
        let mut stopped = StopCause::NotStopped;
        let outcome = {
            let mut watching = std::pin::pin!(self.stop_when_needed(id, task, &stop, wake, patient));
            tokio::select! {
                outcome = &mut work => Some(outcome),
                why = &mut watching => {
                    stopped = why;
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
            tracing::info!(infrastructure = id, "webhooks could not be told of everything; the next run tells them");
        }
        if history.is_some() {
            // They are all there when the run has ended; this only waits until they were passed on.
            let _ = tokio::time::timeout(std::time::Duration::from_secs(1), told).await;
        }
        (outcome.map_err(RunError::from), stopped)
    }

    async fn is_superseded(&self, id: &str, task: Assignment<'_>) -> bool {
        match (self.ledger.next(id).await, task) {
            (Ok(NextWork::Maintain), Assignment::Maintenance) | (Err(_), _) => false,
            (Ok(NextWork::Operation(found, _)), Assignment::Operation(ours)) => found.id != ours,
            _ => true,
        }
    }

    async fn wait_for_stop_timeout(&self) {
        tokio::select! {
            () = tokio::time::sleep(self.timing.stop_timeout) => {}
            () = self.abandon.cancelled() => {}
        }
    }

    /// Returns after it has asked for a stop.
    async fn stop_when_needed(
        &self,
        id: &str,
        task: Assignment<'_>,
        stop: &StopSignal,
        wake: &Notify,
        patient: bool,
    ) -> StopCause {
        loop {
            tokio::select! {
                () = wake.notified() => {
                    if self.is_superseded(id, task).await {
                        stop.request();
                        return StopCause::Superseded;
                    }
                }
                () = self.closing.cancelled(), if !patient => {
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

/// At once, without taking anything back.
fn request_immediate_stop(stop: &StopSignal) {
    while stop.request_count() < 2 {
        stop.request();
    }
}
