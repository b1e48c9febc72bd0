//! Work of the engine, while somebody may want it to stop.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use occopus::model::Webhook;
use occopus::{Need, OpenError};
use occopus_engine::{EngineError, Event, Run, Stop};
use tokio::sync::Notify;

use super::Shared;
use crate::operations::Next;

/// Events that are kept of a run.
const LATEST: usize = 200;

/// As what somebody works on an infrastructure. When the ledger says something else, it is out of date.
#[derive(Debug, Clone, Copy)]
pub(super) enum Task<'a> {
    /// As its maintainer.
    Maintenance,
    /// At the operation with this id.
    Operation(&'a str),
}

/// What goes with a piece of work.
pub(super) struct Job<'a> {
    pub(super) task: Task<'a>,
    pub(super) needs: Vec<Need>,
    pub(super) webhooks: &'a [Webhook],
    pub(super) patient: bool,
    /// Where the latest events are to be kept.
    pub(super) history: Option<&'a History>,
}

/// The latest events of a run. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct History(Arc<Mutex<VecDeque<Event>>>);

impl History {
    fn add(&self, event: &Event) {
        if event.what.is_fleeting() {
            return;
        }
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() >= LATEST {
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
pub(super) enum Stopped {
    /// It was not.
    No,
    /// There is something else to be done.
    ForAnother,
    /// The service ends.
    ForGood,
}

/// What may come of an error.
pub(super) enum Failed {
    Open(Box<OpenError>),
    Engine(Box<EngineError>),
}

impl From<OpenError> for Failed {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Engine(error) => Self::Engine(Box::new(error)),
            OpenError::Store(error) => Self::Engine(Box::new(error.into())),
            other => Self::Open(Box::new(other)),
        }
    }
}

impl From<EngineError> for Failed {
    fn from(error: EngineError) -> Self {
        Self::Engine(Box::new(error))
    }
}

impl Shared {
    /// Does something, with webhooks told and plugins compiled before, until it ends or is stopped: in good order when
    /// the ledger says, after something new has come up, that something else is to be done; and when the service ends, in
    /// good order or, if it is patient because that would take back what was made, not before its grace is over.
    pub(super) async fn run<T, F: Future<Output = Result<T, EngineError>> + Send>(
        &self,
        id: &str,
        Job { task, needs, webhooks, patient, history }: Job<'_>,
        wake: &Notify,
        work: impl FnOnce(Run) -> F + Send,
    ) -> (Result<T, Failed>, Stopped) {
        let prepared = async {
            self.occopus.credentials().await?;
            self.occopus.preload(needs, |plugin| tracing::info!("compiling the plugin {plugin}")).await?;
            let (run, events) = Run::new();
            let (mut events, notifier) = self.occopus.notify(id, webhooks, events).await?;
            let (telling, history) = (self.feed.telling(id), history.cloned());
            let told = tokio::spawn(async move {
                while let Some(event) = events.recv().await {
                    history.iter().for_each(|history| history.add(&event));
                    telling.tell(event);
                }
            });
            Ok::<_, OpenError>((run, notifier, told))
        };
        let (run, notifier, told) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return (Err(error.into()), Stopped::No),
        };
        let stop = run.stop.clone();
        if let Some(runner) = self.runners().get_mut(id) {
            runner.nudge = Some(run.nudge.clone());
        }
        let mut work = std::pin::pin!(work(run));
        let mut stopped = Stopped::No;
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
                () = self.out_of_patience() => {
                    leave(&stop);
                    work.await
                }
            },
        };
        if !notifier.finish(std::time::Duration::from_secs(1)).await {
            tracing::info!(infrastructure = id, "webhooks could not be told of everything; the next run tells them");
        }
        if history.is_some() {
            // They are all there when the run has ended; this only waits until they were passed on.
            let _ = tokio::time::timeout(std::time::Duration::from_secs(1), told).await;
        }
        (outcome.map_err(Failed::from), stopped)
    }

    async fn is_out_of_date(&self, id: &str, task: Task<'_>) -> bool {
        match (self.ledger.next(id).await, task) {
            (Ok(Next::Maintain), Task::Maintenance) | (Err(_), _) => false,
            (Ok(Next::Operation(found, _)), Task::Operation(ours)) => found.id != ours,
            _ => true,
        }
    }

    async fn out_of_patience(&self) {
        tokio::select! {
            () = tokio::time::sleep(self.timing.patience) => {}
            () = self.leaving.cancelled() => {}
        }
    }

    /// Returns after it has asked for a stop.
    async fn stop_when_needed(&self, id: &str, task: Task<'_>, stop: &Stop, wake: &Notify, patient: bool) -> Stopped {
        loop {
            tokio::select! {
                () = wake.notified() => {
                    if self.is_out_of_date(id, task).await {
                        stop.request();
                        return Stopped::ForAnother;
                    }
                }
                () = self.closing.cancelled(), if !patient => {
                    stop.request();
                    return Stopped::ForGood;
                }
                () = self.leaving.cancelled() => {
                    leave(stop);
                    return Stopped::ForGood;
                }
            }
        }
    }
}

/// At once, without taking anything back.
fn leave(stop: &Stop) {
    while stop.level() < 2 {
        stop.request();
    }
}
