//! Records in the store, and their keys. Every record carries a version; readers ignore unknown fields and refuse
//! records of a newer version. Nobody but this crate knows these keys and formats: others follow [`Change`]s.
//!
//! `codec`, `pages` and `position` know no keys. The service stores its own records with them.
//!
//! Records hold no secrets: the description has none, credentials never reach the engine, and what a contextualiser
//! rendered is kept as a digest.
//!
//! [`Change`]: crate::InfrastructureChange

mod change;
mod codec;
pub(crate) mod keys;
mod load;
mod pages;
mod position;
mod records;

pub use change::{ChangeKind, InfrastructureChange, InfrastructureChanges, Presence};
pub use codec::{RecordError, RecordFormat, VersionField};
pub use pages::Pages;
pub use position::{Position, watch_after};

pub(crate) use change::watch;
pub(crate) use load::{load_instances, load_record};
pub(crate) use records::{
    AddressReference, CursorRecord, DefinitionRecord, DesiredRecord, FailingRecord, FnvHasher, HeadRecord,
    InfrastructureRecord, InstanceFingerprints, InstanceRecord, OwnerRecord, PreviousRecord, RolledBackRecord,
    ScaleRecord, TargetRecord, decode, digest, encode,
};
