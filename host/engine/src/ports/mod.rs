//! Ports of the engine: traits for plugins, store and clock. `occopus-runtime` implements [`Plugins`] with sandboxed
//! components, `occopus-store` implements [`Store`] with SQLite. The implementations must not be known here.

mod clock;
mod fault;
mod plugins;
mod store;

pub use clock::{Clock, SystemClock};
pub use fault::{Detail, Fault, Reaction};
pub use plugins::{
    Address, CallContext, CallScope, CheckResult, ConfigManager, ContextRequest, Contextualiser, CreateRequest, Driver,
    Handle, HealthChecker, HealthTarget, InstanceFacts, LabelledMachine, LabelledPage, MAX_OUTPUT_BYTES,
    MAX_OUTPUT_LINES, ObservedMachine, OfflinePlugins, OpenDecisions, Phase, Plugins, Preflight, ProgressCallback,
    Rendered, Renderers, Verdict, Warning,
};
pub use store::{
    Change, Changes, CommitOutcome, Compare, Entry, LeaseId, Revision, Store, StoreError, Transaction, Write,
};
