//! The supervisor: executes operations and maintenance, with one task for each infrastructure that has either.
//!
//! A task executes the operation that the ledger has for its infrastructure, then maintains it, if it is attached, until
//! there is another operation. The engine's lease keeps two services on one store from working on one infrastructure: the
//! one that does not get it tries again later. Whatever happens to the task or to the process, the ledger still holds the
//! work to do.

mod crash_loop;
mod maintain;
mod operate;
mod run;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use occopus::Occopus;
use occopus_engine::ports::StoreError;
use occopus_engine::{Engine, EngineError, InfrastructureId, Position, WakeSignal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::feed::Feed;
use crate::operations::{Ledger, LedgerChange, LedgerChanges, NextWork};

/// Pause before the next attempt after an error of the store, or on an infrastructure that another process owns.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Changes of the ledger that are processed in one round, at most.
const MAX_CHANGES_PER_ROUND: usize = 256;

/// The supervisor of the tasks. Clones share its state.
#[derive(Clone)]
pub(crate) struct Supervisor {
    shared: Arc<SupervisorInner>,
}

struct SupervisorInner {
    occopus: Arc<Occopus>,
    engine: Engine,
    ledger: Ledger,
    feed: Feed,
    timing: Timing,
    task_handles: Mutex<HashMap<InfrastructureId, TaskHandle>>,
    /// Lock under which suspect operations (those during which a service died) begin one after the other.
    isolation: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    /// Cancelled when the service shuts down: no work is begun; work under way may still finish.
    closing: CancellationToken,
    /// Cancelled when the grace period is over: work under way is left as it is.
    abandon: CancellationToken,
}

/// Intervals and timeouts of the supervisor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Time between two passes of maintenance.
    pub(crate) interval: Duration,
    /// Time after which work that was requested to stop is left as it is.
    pub(crate) stop_timeout: Duration,
}

/// Handle to the task of one infrastructure.
struct TaskHandle {
    wake: Arc<Notify>,
    /// Signal that wakes the engine's current run for the task.
    engine_wake: Option<WakeSignal>,
    /// Number of times that the task was woken.
    wake_count: u64,
}

impl Supervisor {
    pub(crate) fn new(occopus: Arc<Occopus>, engine: Engine, ledger: Ledger, feed: Feed, timing: Timing) -> Self {
        let shared = SupervisorInner {
            occopus,
            engine,
            ledger,
            feed,
            timing,
            task_handles: Mutex::default(),
            isolation: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            abandon: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Starts tasks for the work that earlier services left, and a task that follows what other processes write into the
    /// ledger. The latter ends when `closing` is cancelled.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub(crate) async fn start(&self) -> Result<(), StoreError> {
        let position = self.shared.engine.newest_position().await?;
        let ledger = &self.shared.ledger;
        for id in ledger.unfinished().await?.into_iter().chain(ledger.attached().await?) {
            self.wake(&id);
        }
        let this = self.clone();
        self.shared.tasks.spawn(async move {
            tokio::select! {
                () = this.shared.closing.cancelled() => {}
                () = this.follow(position) => {}
            }
        });
        Ok(())
    }

    async fn follow(&self, mut position: Position) {
        loop {
            match self.shared.ledger.watch(position.clone()).await {
                Ok(changes) => self.process_changes(changes, &mut position).await,
                Err(error) => tracing::warn!("the ledger cannot be watched: {error}"),
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Processes changes of the ledger until the watch ends; `position` is then that of the last one.
    async fn process_changes(&self, changes: LedgerChanges, position: &mut Position) {
        let mut changes = changes.ready_chunks(MAX_CHANGES_PER_ROUND);
        while let Some(round) = changes.next().await {
            let mut listed = false;
            let processed = round.into_iter().try_for_each(|change| {
                let LedgerChange { id, position: reached } = change?;
                if let Some(id) = id {
                    self.wake(&id);
                    self.shared.feed.invalidate(&id);
                    listed = true;
                }
                *position = reached;
                Ok::<_, StoreError>(())
            });
            if listed {
                self.shared.feed.note_listed_change();
            }
            if let Err(error) = processed {
                return tracing::warn!("the ledger cannot be watched: {error}");
            }
        }
    }

    /// Wakes the task of an infrastructure whose ledger entries have changed, and starts one if there is none. Does
    /// nothing when the service shuts down.
    pub(crate) fn wake(&self, id: &InfrastructureId) {
        if self.shared.closing.is_cancelled() {
            return;
        }
        let mut handles = self.shared.task_handles();
        if let Some(handle) = handles.get_mut(id) {
            handle.wake_count += 1;
            handle.wake.notify_one();
            return;
        }
        let wake = Arc::new(Notify::new());
        handles.insert(id.clone(), TaskHandle { wake: wake.clone(), engine_wake: None, wake_count: 0 });
        let (shared, id) = (self.shared.clone(), id.clone());
        self.shared.tasks.spawn(async move { shared.run_task(&id, &wake).await });
    }

    /// Wakes the engine's run on an infrastructure, since there is a request for its maintainer.
    pub(crate) fn wake_engine(&self, id: &InfrastructureId) {
        if let Some(signal) = self.shared.task_handles().get(id).and_then(|handle| handle.engine_wake.as_ref()) {
            signal.wake();
        }
    }

    /// Returns the number of infrastructures that have a task.
    pub(crate) fn task_count(&self) -> usize {
        self.shared.task_handles().len()
    }

    /// Begins nothing new, lets work under way finish within `grace`, and then leaves it as it is: the ledger and the
    /// records show the next service how to go on.
    pub(crate) async fn close(&self, grace: Duration) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(grace, self.shared.tasks.wait()).await.is_err() {
            self.shared.abandon.cancel();
            // The rest is dropped with the process; this wait only lets leases be returned.
            let _ = tokio::time::timeout(Duration::from_secs(5), self.shared.tasks.wait()).await;
        }
    }
}

impl SupervisorInner {
    fn task_handles(&self) -> MutexGuard<'_, HashMap<InfrastructureId, TaskHandle>> {
        self.task_handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_count(&self, id: &InfrastructureId) -> u64 {
        self.task_handles().get(id).map_or(0, |handle| handle.wake_count)
    }

    /// Does the work of an infrastructure until there is none, or the service shuts down.
    async fn run_task(&self, id: &InfrastructureId, wake: &Notify) {
        while !self.closing.is_cancelled() {
            let wake_count = self.wake_count(id);
            match self.ledger.next(id).await {
                Ok(NextWork::Operation(operation, work)) => self.operate(id, *operation, &work, wake).await,
                Ok(NextWork::Maintain) => self.maintain(id, wake).await,
                Ok(NextWork::Idle) => {
                    let mut handles = self.task_handles();
                    // If it was woken since, there may be new work.
                    if handles.get(id).is_none_or(|handle| handle.wake_count == wake_count) {
                        handles.remove(id);
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(infrastructure = id.as_str(), "the next operation could not be read: {error}");
                    self.pause(RETRY_INTERVAL, wake).await;
                }
            }
        }
        self.task_handles().remove(id);
    }

    /// Returns a message about another process that owns the infrastructure, if there is one.
    async fn other_owner(&self, id: &InfrastructureId) -> Option<String> {
        let owner = self.engine.owner(id).await.ok()??;
        // A dead owner is succeeded at once.
        (!occopus::holder_is_dead(&owner.holder)).then(|| EngineError::owned(id, owner).to_string())
    }

    /// Waits for this time, or until the task is woken or the service shuts down.
    async fn pause(&self, time: Duration, wake: &Notify) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = wake.notified() => {}
            () = self.closing.cancelled() => {}
        }
    }
}
