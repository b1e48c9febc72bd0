//! Everything that a dispatcher hears of, one at a time.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::lease::JournalError;
use crate::request::StopSignal;

/// Something that a dispatcher reacts to.
pub(super) enum Input<T> {
    /// A task has ended; `None` when it panicked, which is a bug.
    Finished(usize, Option<T>),
    /// The user asked to stop in an orderly way.
    StopGracefully,
    /// The user asked to stop now.
    StopNow,
    /// The infrastructure belongs to another process.
    LeaseLost,
    /// There is nothing to wait for.
    Idle,
}

/// How a dispatcher ended.
#[derive(Debug, Clone)]
pub(crate) enum RunEnd {
    /// Nothing was left to do.
    Done,
    /// The user stopped it, and what was in progress has come to an end.
    Stopped,
    /// The user stopped it at once; what was in progress may have happened.
    Aborted,
    /// State can't be written any more.
    JournalFailed(JournalError),
}

/// Running tasks, and the signals that matter beside them. Dropping it ends the tasks.
pub(super) struct Inbox<T> {
    tasks: JoinSet<(usize, Option<T>)>,
    stop: StopSignal,
    lease_lost: CancellationToken,
    stopping: bool,
}

impl<T: Send + 'static> Inbox<T> {
    pub(super) fn new(stop: StopSignal, lost: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), stop, lease_lost: lost, stopping: false }
    }

    /// Starts a task; `tag` comes back with its result.
    pub(super) fn start(&mut self, tag: usize, task: impl Future<Output = T> + Send + 'static) {
        let task = async move { (tag, AssertUnwindSafe(task).catch_unwind().await.ok()) };
        self.tasks.spawn(task.in_current_span());
    }

    /// A task that has ended already, without waiting. Lets a dispatcher take in all that is known before it acts on it.
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
                // Panics are caught in the task, and nobody cancels a task but by dropping this.
                Some(Err(_)) | None => Input::Idle,
            },
        }
    }
}
