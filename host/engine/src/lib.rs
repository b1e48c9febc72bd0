//! The engine of Occopus: observe, plan, act, for one infrastructure at a time.
//!
//! It knows about order, state, retries and time, and nothing about any cloud, database or sandbox: those are behind the
//! traits in [`ports`].
//!
//! [`Engine`] is the way in. `dispatch` decides what may start, `act` does the slow things, `session` owns an
//! infrastructure and writes its state, `state` says what is stored.

mod derived_state;
mod drift;
mod error;
mod event;
mod plan;
mod request;
mod settings;
mod status;

pub mod ports;

mod act;
mod dispatch;
mod engine;
mod lease;
mod state;

#[cfg(feature = "testing")]
pub mod testing;

pub use engine::Engine;
pub use error::{EngineError, FailureReason, LocatedMessage, NodeFailure};
pub use event::{Event, EventKind, StoredEvent};
pub use plan::{Action, ActionKind, Plan, Rollout};
pub use request::{BuildRequest, MaintainOptions, OnFailure, RunHandle, Scale, StopSignal, WakeSignal};
pub use settings::{OwnerProbe, Settings};
pub use status::{
    DestroyReport, FailingNode, InfrastructureState, InstanceState, InstanceStatus, Leftover, NodeStatus, Orphan,
    Owner, Preview, PreviewWarning, Status, Summary,
};
