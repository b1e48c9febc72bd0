//! Inputs of a dispatcher, one at a time: finished tasks and signals.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::lease::JournalError;
use crate::request::StopSignal;

/// An input that a dispatcher handles.
pub(super) enum Input<T> {
    /// A finished task, by its tag, with its result; `None` if it panicked, which is a bug.
    Finished(usize, Option<T>),
    /// The user requested a graceful stop.
    StopGracefully,
    /// The user requested an immediate stop.
    StopNow,
    /// Another process owns the infrastructure.
    LeaseLost,
    /// The absence of running tasks.
    Idle,
}

/// The end of a dispatcher's run.
#[derive(Debug, Clone)]
pub(crate) enum RunEnd {
    /// All tasks finished.
    Done,
    /// The user stopped it, and the tasks in progress have ended.
    Stopped,
    /// The user stopped it at once; calls in progress may have had their effect.
    Aborted,
    /// State cannot be written any more.
    JournalFailed(JournalError),
}

/// Running tasks, and the signals that a dispatcher handles beside them. Dropping it aborts the tasks.
pub(super) struct Inbox<T> {
    tasks: JoinSet<(usize, Option<T>)>,
    stop: StopSignal,
    lease_lost: CancellationToken,
    stopping: bool,
}

impl<T: Send + 'static> Inbox<T> {
    pub(super) fn new(stop: StopSignal, lease_lost: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), stop, lease_lost, stopping: false }
    }

    /// Starts a task; `tag` is returned with its result.
    pub(super) fn start(&mut self, tag: usize, task: impl Future<Output = T> + Send + 'static) {
        let task = async move { (tag, AssertUnwindSafe(task).catch_unwind().await.ok()) };
        self.tasks.spawn(task.in_current_span());
    }

    /// Returns a task that has ended already, without waiting, so that a dispatcher can handle all results before it
    /// starts more.
    pub(super) fn try_next_finished(&mut self) -> Option<(usize, Option<T>)> {
        self.tasks.try_join_next().and_then(Result::ok)
    }

    pub(super) async fn next(&mut self) -> Input<T> {
        if self.tasks.is_empty() {
            return Input::Idle;
        }
        tokio::select! {
            biased;
            () = self.lease_lost.cancelled() => Input::LeaseLost,
            () = self.stop.immediate.cancelled() => Input::StopNow,
            () = self.stop.graceful.cancelled(), if !self.stopping => {
                self.stopping = true;
                Input::StopGracefully
            }
            finished = self.tasks.join_next() => match finished {
                Some(Ok((tag, outcome))) => Input::Finished(tag, outcome),
                // Panics are caught in the task, and a task is aborted only when the inbox is dropped.
                Some(Err(_)) | None => Input::Idle,
            },
        }
    }
}
