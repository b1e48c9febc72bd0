//! Requests of a caller, and the handle with which it follows and stops a run.

use std::sync::Arc;
use std::time::Duration;

use occopus_model::Infrastructure;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::event::Event;
use crate::id::InfrastructureId;

/// A request to build an infrastructure.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Id of the infrastructure; a new one is generated if there is none.
    pub id: Option<InfrastructureId>,
    /// Desired state.
    pub infrastructure: Infrastructure,
    /// Reaction to the failure of a node.
    pub on_failure: OnFailure,
    /// Selection of the ready instances to replace.
    pub rollout: Rollout,
    /// Set if the id was generated for this request, so that no machine can carry it yet. Otherwise the clouds are
    /// searched for machines without records before the first machine is created.
    pub is_new_id: bool,
}

impl BuildRequest {
    /// Creates a request for a new infrastructure, which is rolled back if a node fails.
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

/// The handling of a failed build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Removes everything that this build created.
    #[default]
    Rollback,
    /// Keeps everything for inspection.
    Keep,
}

/// Options of maintenance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaintainOptions {
    /// Pause between passes; a single pass if there is none.
    pub cyclic: Option<Duration>,
    /// Set to end a hold: all instances that seem dead in the first pass are replaced, however many they are.
    pub release: bool,
}

/// A change of a node's target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Adds this many instances; a negative number removes some.
    By(i32),
    /// Sets the number of instances.
    To(u32),
    /// Removes this instance, given by its id or one of its addresses, and lowers the number by one.
    Remove(String),
}

/// The caller's side of a run.
#[derive(Debug, Clone)]
pub struct RunHandle {
    /// Sender of all events of the run. The queue is unbounded: no event is lost while the receiver is slow, only once
    /// it is gone.
    pub events: mpsc::UnboundedSender<Event>,
    /// Stops the run.
    pub stop: StopSignal,
    /// Makes maintenance read requests now.
    pub wake: WakeSignal,
}

impl RunHandle {
    /// Creates a handle, and the receiver of its run's events.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (events, receiver) = mpsc::unbounded_channel();
        (Self { events, stop: StopSignal::default(), wake: WakeSignal::default() }, receiver)
    }
}

/// A signal that ends the pause of maintenance, so that a new request (to scale, to resume) is handled at once. Clones
/// share one signal.
#[derive(Debug, Clone, Default)]
pub struct WakeSignal(Arc<Notify>);

impl WakeSignal {
    /// Wakes maintenance after a request.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    pub(crate) async fn woken(&self) {
        self.0.notified().await;
    }
}

/// A signal to stop a run. Clones share one signal.
#[derive(Debug, Clone, Default)]
pub struct StopSignal {
    pub(crate) graceful: CancellationToken,
    pub(crate) immediate: CancellationToken,
}

impl StopSignal {
    /// Requests a stop. The first request lets calls in progress finish and rolls back what the run created; the second
    /// one stops the run at once.
    pub fn request(&self) {
        if self.graceful.is_cancelled() {
            self.immediate.cancel();
        } else {
            self.graceful.cancel();
        }
    }

    /// Waits until a stop is requested.
    pub async fn requested(&self) {
        self.graceful.cancelled().await;
    }

    /// Returns how often [`StopSignal::request`] was called: 0, 1 or 2 (also for more).
    pub fn request_count(&self) -> u8 {
        u8::from(self.graceful.is_cancelled()) + u8::from(self.immediate.is_cancelled())
    }
}

/// Selection of the healthy instances that are replaced one after the other: first a new instance is created; when it
/// is ready, the old one is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Selects instances whose type, variables or definition have changed since they were created.
    pub changed: bool,
    /// Selects instances that refer to an address that no longer exists.
    pub dependents: bool,
}
