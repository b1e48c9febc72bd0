//! Doing what was promised: one task for each infrastructure that has something to be done, and nothing for the others.
//!
//! A task does the operation that the ledger has for its infrastructure, then maintains it, if it is to be maintained, until
//! there is another operation. The engine's lease keeps two services on one store from working on one infrastructure: who
//! does not get it tries again later. Whatever happens to the task or to the process, the ledger still says what to do.

mod crash_loop;
mod maintain;
mod operate;
mod run;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use occopus::Occopus;
use occopus_engine::ports::{Store, StoreError};
use occopus_engine::{Engine, Owner, WakeSignal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::feed::Feed;
use crate::operations::{ATTACHED_PREFIX, Ledger, NextWork, PENDING_PREFIX};

/// Before the store, or an infrastructure that another process works on, is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Starts and ends the tasks. Clones are the same.
#[derive(Clone)]
pub(crate) struct Supervisor {
    shared: Arc<SupervisorInner>,
}

struct SupervisorInner {
    occopus: Arc<Occopus>,
    engine: Engine,
    ledger: Ledger,
    store: Arc<dyn Store>,
    feed: Feed,
    timing: Timing,
    task_handles: Mutex<HashMap<String, TaskHandle>>,
    /// Operations over which a service may have died begin one after the other.
    isolation: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    /// No more work is begun; what is under way may come to its end.
    closing: CancellationToken,
    /// What is under way is left as it is.
    abandon: CancellationToken,
}

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Between two passes of maintenance.
    pub(crate) interval: Duration,
    /// After so long, what should have stopped is left as it is.
    pub(crate) stop_timeout: Duration,
}

/// A task, from outside.
struct TaskHandle {
    wake: Arc<Notify>,
    /// Of what the engine does for it now.
    nudge: Option<WakeSignal>,
    /// How often it was woken.
    wake_count: u64,
}

impl Supervisor {
    pub(crate) fn new(
        occopus: Arc<Occopus>,
        engine: Engine,
        ledger: Ledger,
        store: Arc<dyn Store>,
        feed: Feed,
        timing: Timing,
    ) -> Self {
        let shared = SupervisorInner {
            occopus,
            engine,
            ledger,
            store,
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

    /// Takes up what earlier services left, and follows what other processes write into the ledger.
    pub(crate) async fn start(&self) -> Result<(), StoreError> {
        let revision = self.shared.store.revision().await?;
        let ledger = &self.shared.ledger;
        for id in ledger.unfinished().await?.into_iter().chain(ledger.attached().await?) {
            self.wake(&id);
        }
        let this = self.clone();
        self.shared.tasks.spawn(async move {
            tokio::select! {
                () = this.shared.closing.cancelled() => {}
                () = this.follow(revision) => {}
            }
        });
        Ok(())
    }

    async fn follow(&self, mut revision: u64) {
        loop {
            if let Ok(mut changes) = self.shared.store.watch("service/", revision).await {
                while let Some(Ok(change)) = changes.next().await {
                    revision = change.revision;
                    let id =
                        change.key.strip_prefix(PENDING_PREFIX).or_else(|| change.key.strip_prefix(ATTACHED_PREFIX));
                    if let Some(id) = id {
                        self.wake(id);
                    }
                }
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Something has changed for this infrastructure: somebody looks after it.
    pub(crate) fn wake(&self, id: &str) {
        if self.shared.closing.is_cancelled() {
            return;
        }
        let mut runners = self.shared.task_handles();
        if let Some(runner) = runners.get_mut(id) {
            runner.wake_count += 1;
            runner.wake.notify_one();
            return;
        }
        let wake = Arc::new(Notify::new());
        runners.insert(id.to_owned(), TaskHandle { wake: wake.clone(), nudge: None, wake_count: 0 });
        let (shared, id) = (self.shared.clone(), id.to_owned());
        self.shared.tasks.spawn(async move { shared.run_task(&id, &wake).await });
    }

    /// Something was requested of whoever maintains it.
    pub(crate) fn nudge(&self, id: &str) {
        if let Some(nudge) = self.shared.task_handles().get(id).and_then(|runner| runner.nudge.as_ref()) {
            nudge.wake();
        }
    }

    /// How many infrastructures are looked after.
    pub(crate) fn task_count(&self) -> usize {
        self.shared.task_handles().len()
    }

    /// Begins nothing new, lets what is under way come to its end within the grace, and then leaves it as it is: the ledger
    /// and the records say how to go on.
    pub(crate) async fn close(&self, grace: Duration) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(grace, self.shared.tasks.wait()).await.is_err() {
            self.shared.abandon.cancel();
            // What is left is dropped with the process; this only lets leases be given back.
            let _ = tokio::time::timeout(Duration::from_secs(5), self.shared.tasks.wait()).await;
        }
    }
}

impl SupervisorInner {
    fn task_handles(&self) -> MutexGuard<'_, HashMap<String, TaskHandle>> {
        self.task_handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_count(&self, id: &str) -> u64 {
        self.task_handles().get(id).map_or(0, |runner| runner.wake_count)
    }

    async fn run_task(&self, id: &str, wake: &Notify) {
        while !self.closing.is_cancelled() {
            let woken = self.wake_count(id);
            match self.ledger.next(id).await {
                Ok(NextWork::Operation(operation, work)) => self.operate(*operation, &work, wake).await,
                Ok(NextWork::Maintain) => self.maintain(id, wake).await,
                Ok(NextWork::Idle) => {
                    let mut runners = self.task_handles();
                    // Not when somebody has woken it since.
                    if runners.get(id).is_none_or(|runner| runner.wake_count == woken) {
                        runners.remove(id);
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(infrastructure = id, "what is to be done could not be read: {error}");
                    self.pause(RETRY_INTERVAL, wake).await;
                }
            }
        }
        self.task_handles().remove(id);
    }

    /// Another process that works on it, in words.
    async fn other_owner(&self, id: &str) -> Option<String> {
        let Owner { holder, since } = self.engine.owner(id).await.ok()??;
        // Who has died is followed at once.
        (!occopus::holder_is_dead(&holder)).then(|| format!("{holder} works on it, since {since:.0}"))
    }

    /// Waits, unless there is something new.
    async fn pause(&self, time: Duration, wake: &Notify) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = wake.notified() => {}
            () = self.closing.cancelled() => {}
        }
    }
}
