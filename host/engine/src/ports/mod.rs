//! What the engine needs from the outside, as traits. `occopus-runtime` implements [`Plugins`] with sandboxed
//! components, `occopus-store` implements [`Store`] with SQLite.

mod clock;
mod fault;
mod plugins;
mod store;

pub use clock::{Clock, SystemClock};
pub use fault::{Detail, Fault, Reaction};
pub use plugins::{
    Address, CallContext, ConfigManager, ContextRequest, Contextualiser, CreateRequest, Driver, Handle, HealthChecker,
    HealthTarget, InstanceFacts, OUTPUT_BYTES, OUTPUT_LINES, Observation, Observed, Offline, Openings, Owned,
    OwnedPage, Phase, Plugins, Progress, Rendered, Renderers, Scope, Verdict, Warning,
};
pub use store::{Change, Changes, Committed, Compare, Entry, LeaseId, Revision, Store, StoreError, Transaction, Write};
