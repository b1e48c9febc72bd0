//! The engine of Occopus: observe, plan, act, for one infrastructure at a time.
//!
//! Order, state, retries and time are handled here. Clouds, databases and sandboxes must not be known here: they are
//! behind the traits in [`ports`].
//!
//! [`Engine`] is the entry point. `plan` and `drift` compare the desired with the recorded state, `dispatch` decides
//! which task may start, `act` does the work on one instance, `lease` owns an infrastructure and writes its records and
//! events, `state` defines what is stored, and `derived_state` concludes the state of an infrastructure from its
//! instances.

mod action;
mod derived_state;
mod drift;
mod error;
mod event;
mod id;
mod plan;
mod preview;
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

pub use action::{Action, ActionKind, Plan};
pub use engine::Engine;
pub use error::{EngineError, FailureReason, LocatedMessage, NodeFailure};
pub use event::{Event, EventKind, UnknownEvent};
pub use id::{InfrastructureId, InvalidInfrastructureId};
pub use preview::{Preview, PreviewWarning};
pub use request::{BuildRequest, MaintainOptions, OnFailure, Rollout, RunHandle, Scale, StopSignal, WakeSignal};
pub use settings::{OwnerProbe, Settings};
pub use state::{
    ChangeKind, InfrastructureChange, InfrastructureChanges, Pages, Position, Presence, RecordError, RecordFormat,
    VersionField, watch_after,
};
pub use status::{
    DestroyReport, FailingNode, InfrastructureState, InstanceState, InstanceStatus, Leftover, NodeStatus, Orphan,
    Owner, Status, Summary,
};
