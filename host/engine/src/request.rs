//! What a caller asks for, and how it follows and stops what it asked for.

use std::sync::Arc;
use std::time::Duration;

use occopus_model::Infrastructure;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::event::Event;
use crate::plan::Rollout;

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The infrastructure's id; a new one is made when there is none.
    pub id: Option<String>,
    /// What should exist.
    pub infrastructure: Infrastructure,
    /// What to do when a node fails.
    pub on_failure: OnFailure,
    /// Which of the instances that work are made anew.
    pub rollout: Rollout,
    /// The id was made for this request: nothing can carry it yet. Otherwise the clouds are asked for machines that the store
    /// does not know of, before the first one is made.
    pub is_new_id: bool,
}

impl BuildRequest {
    /// A new infrastructure, that is rolled back when a node fails.
    pub fn new(infrastructure: Infrastructure) -> Self {
        Self {
            id: None,
            infrastructure,
            on_failure: OnFailure::Rollback,
            rollout: Rollout::default(),
            is_new_id: false,
        }
    }
}

/// What a failed build leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing that this build made.
    #[default]
    Rollback,
    /// Everything, to be looked at.
    Keep,
}

/// How to maintain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaintainOptions {
    /// The pause between passes; a single pass when there is none.
    pub cyclic: Option<Duration>,
    /// Ends a hold: what looks dead in the first pass is replaced, however much it is.
    pub release: bool,
}

/// How many instances a node is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// So many more, or fewer.
    By(i32),
    /// So many.
    To(u32),
    /// One less: this one, by its id or one of its addresses.
    Remove(String),
}

/// The caller's side of something that takes time.
#[derive(Debug, Clone)]
pub struct RunHandle {
    /// Gets everything that happens. Events are not lost when the receiver is slow; they are when it is gone.
    pub events: mpsc::UnboundedSender<Event>,
    /// Stops it.
    pub stop: StopSignal,
    /// Lets maintenance look at requests now.
    pub wake: WakeSignal,
}

impl RunHandle {
    /// A run, and where its events come out.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (events, receiver) = mpsc::unbounded_channel();
        (Self { events, stop: StopSignal::default(), wake: WakeSignal::default() }, receiver)
    }
}

/// Ends what maintenance waits for, so that a request that was just made (to scale, to resume) is taken in at once. Clones are
/// the same.
#[derive(Debug, Clone, Default)]
pub struct WakeSignal(Arc<Notify>);

impl WakeSignal {
    /// Something was requested.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    pub(crate) async fn woken(&self) {
        self.0.notified().await;
    }
}

/// A request to stop. Clones are the same request.
#[derive(Debug, Clone, Default)]
pub struct StopSignal {
    pub(crate) graceful: CancellationToken,
    pub(crate) immediate: CancellationToken,
}

impl StopSignal {
    /// The first time: finish the calls in progress, and roll back what this run made. The second time: stop now.
    pub fn request(&self) {
        if self.graceful.is_cancelled() {
            self.immediate.cancel();
        } else {
            self.graceful.cancel();
        }
    }

    /// Waits for the first time.
    pub async fn requested(&self) {
        self.graceful.cancelled().await;
    }

    /// How often [`Stop::request`] was called: 0, 1 or 2.
    pub fn request_count(&self) -> u8 {
        u8::from(self.graceful.is_cancelled()) + u8::from(self.immediate.is_cancelled())
    }
}
