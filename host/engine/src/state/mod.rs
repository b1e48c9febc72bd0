//! Records in the store, and their keys. Every record carries a version; readers ignore unknown fields and refuse
//! records of a newer version.
//!
//! Records hold no secrets: the description has none, credentials never reach the engine, and what a contextualiser
//! rendered is kept as a digest.

pub(crate) mod keys;
mod load;
mod records;

pub(crate) use load::{load_instances, load_record, range_all};
pub(crate) use records::{
    AddressReference, CursorRecord, DefinitionRecord, DesiredRecord, FailingRecord, FnvHasher, HeadRecord,
    InfrastructureRecord, InstanceFingerprints, InstanceRecord, OwnerRecord, PreviousRecord, RolledBackRecord,
    ScaleRecord, TargetRecord, decode, digest, encode,
};
