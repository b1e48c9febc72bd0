//! What the engine needs from the outside, as traits. `occopus-runtime` implements [`Plugins`] with sandboxed
//! components, `occopus-store` implements [`Store`] with SQLite.

mod clock;
mod fault;
mod plugins;
mod store;

pub use clock::{Clock, SystemClock};
pub use fault::{Detail, Fault, Reaction};
pub use plugins::{
    Address, CallContext, CallScope, CheckResult, ConfigManager, ContextRequest, Contextualiser, CreateRequest, Driver,
    Handle, HealthChecker, HealthTarget, InstanceFacts, MAX_OUTPUT_BYTES, MAX_OUTPUT_LINES, ObservedMachine,
    OfflinePlugins, OpenDecisions, OwnedMachine, OwnedPage, Phase, Plugins, ProgressCallback, Rendered, Renderers,
    Verdict, Warning,
};
pub use store::{
    Change, Changes, CommitOutcome, Compare, Entry, LeaseId, Revision, Store, StoreError, Transaction, Write,
};
