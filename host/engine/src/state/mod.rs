//! What is stored, under which keys. Every record carries a version; readers ignore fields that they don't know and refuse
//! records that are newer than they are.
//!
//! No secrets are in here: the description has none, credentials never reach the engine, and what a contextualiser rendered
//! is kept as a digest.

pub(crate) mod keys;
mod load;
mod records;

pub(crate) use load::{load_instances, load_record, range_all};
pub(crate) use records::{
    AddressReference, CursorRecord, DefinitionRecord, DesiredRecord, FailingRecord, FnvHasher, HeadRecord,
    InfrastructureRecord, InstanceFingerprints, InstanceRecord, OwnerRecord, PreviousRecord, RolledBackRecord,
    ScaleRecord, TargetRecord, decode, digest, encode,
};
