//! The engine of Occopus: observe, plan, act, for one infrastructure at a time.
//!
//! It knows about order, state, retries and time, and nothing about any cloud, database or sandbox: those are behind the
//! traits in [`ports`].
//!
//! [`Engine`] is the way in. `dispatch` decides what may start, `act` does the slow things, `session` owns an
//! infrastructure and writes its state, `state` says what is stored.

mod change;
mod error;
mod event;
mod plan;
mod request;
mod settings;
mod standing;
mod status;

pub mod ports;

mod act;
mod dispatch;
mod engine;
mod session;
mod state;

#[cfg(feature = "testing")]
pub mod testing;

pub use engine::Engine;
pub use error::{EngineError, NodeFailure, Pointed, Reason};
pub use event::{Event, StoredEvent, What};
pub use plan::{Action, ActionKind, Plan, Renew};
pub use request::{BuildRequest, MaintainOptions, Nudge, OnFailure, Run, Scale, Stop};
pub use settings::{HolderProbe, Settings};
pub use status::{
    DestroyReport, Doubt, Failing, InfrastructureState, InstanceState, InstanceStatus, Leftover, NodeStatus, Orphan,
    Owner, Preview, Status, Summary,
};
