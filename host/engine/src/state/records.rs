//! The records.

use std::hash::Hasher;
use std::sync::Arc;

use jiff::Timestamp;
use occopus_model::{HealthCheck, Implementation, Infrastructure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::EngineError;
use crate::event::Event;
use crate::ports::{Address, Handle, ObservedMachine, Phase, StoreError};
use crate::request::Scale;
use crate::status::{InfrastructureState, InstanceState, Owner};

/// Of every record that this program writes.
pub(crate) const RECORD_VERSION: u32 = 1;

/// A record with its version.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    /// Version of the record's format.
    v: u32,
    #[serde(flatten)]
    record: T,
}

/// For lists.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InfrastructureRecord {
    pub(crate) name: String,
    pub(crate) state: InfrastructureState,
    pub(crate) message: Option<String>,
    pub(crate) created: Timestamp,
}

/// What should exist.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DesiredRecord {
    pub(crate) infrastructure: Infrastructure,
}

/// What was there before a change that has not succeeded yet. A change that fails goes back to it, also when the process that
/// began it died.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PreviousRecord {
    /// Absent when there was nothing.
    pub(crate) infrastructure: Option<InfrastructureRecord>,
    /// Absent when there was nothing.
    pub(crate) desired: Option<Infrastructure>,
}

/// The last events of an infrastructure that was rolled back, for those who look for the cause afterwards.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RolledBackRecord {
    pub(crate) at: Timestamp,
    pub(crate) events: Vec<Event>,
}

/// How many instances of a node there are to be, since it was scaled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetRecord {
    pub(crate) count: u32,
    /// Instances that are to go first.
    #[serde(default)]
    pub(crate) victims: Vec<String>,
}

/// What somebody asked for, until the owner takes it in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScaleRecord {
    pub(crate) node: String,
    pub(crate) scale: Scale,
}

/// A node that fails again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FailingRecord {
    pub(crate) failures: u32,
    /// When it failed last.
    pub(crate) failed: Timestamp,
    pub(crate) next_attempt: Timestamp,
    pub(crate) message: String,
    /// Instances whose end was counted and that are still there.
    #[serde(default)]
    pub(crate) counted: Vec<String>,
}

/// Who works on an infrastructure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OwnerRecord {
    #[serde(flatten)]
    pub(crate) owner: Owner,
    /// Tells two owners of the same name apart.
    pub(crate) token: String,
}

/// Goes along with every transaction of an owner, so that a transaction whose answer was lost is recognised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeadRecord {
    /// Number of the last event.
    pub(crate) event: u64,
    /// Number of the last transaction.
    pub(crate) transaction: u64,
}

/// How far a reader has come.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct CursorRecord {
    pub(crate) event: u64,
}

/// Node definitions of one type.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DefinitionRecord {
    pub(crate) implementations: Vec<Implementation>,
}

/// One instance of a node. It holds all that is needed to find and destroy its machine, so that this works when the
/// description has changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct InstanceRecord {
    pub(crate) id: String,
    pub(crate) node: String,
    pub(crate) state: InstanceState,
    /// What the node depended on, for the order of removal.
    #[serde(default)]
    pub(crate) depends_on: Vec<String>,
    /// Which implementation of its type was chosen.
    pub(crate) implementation: usize,
    /// The `resource` section, rendered.
    pub(crate) section: Arc<Value>,
    pub(crate) health_check: Arc<HealthCheck>,
    /// Absent until the cloud has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) handle: Option<Handle>,
    #[serde(default)]
    pub(crate) addresses: Vec<Address>,
    #[serde(default)]
    pub(crate) attributes: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failing_since: Option<Timestamp>,
    /// Why it could not be observed the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unobserved: Option<String>,
    /// Nothing exists: the last request for it is known to have had no effect.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) without_effect: bool,
    /// An answer about it was lost: a request for it may still arrive, whatever came of later ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) doubtful: bool,
    /// The instance in whose place it is made, which is removed once this one is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replaces: Option<String>,
    pub(crate) created: Timestamp,
    pub(crate) since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) running_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ready_at: Option<Timestamp>,
    /// Of the user data that the machine got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_data_digest: Option<String>,
    /// What it was made from; absent in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) made: Option<InstanceFingerprints>,
    /// Addresses of other instances that it was told of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) mentions: Vec<AddressReference>,
}

/// Fingerprints of what an instance was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstanceFingerprints {
    pub(crate) node_type: String,
    pub(crate) variables: String,
    pub(crate) definition: String,
}

/// An address of another instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct AddressReference {
    pub(crate) node: String,
    pub(crate) address: String,
}

impl InstanceRecord {
    /// The driver's keyword.
    pub(crate) fn driver(&self) -> &str {
        self.section.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it is certain that no machine belongs to it: its create failed for good, or has had no effect so far, and no
    /// answer was lost.
    pub(crate) fn has_no_machine(&self) -> bool {
        (self.state == InstanceState::Failed || self.without_effect) && self.handle.is_none() && !self.doubtful
    }

    /// Whether its machine may be there without its reference being known.
    pub(crate) fn is_unresolved(&self) -> bool {
        self.handle.is_none() && !self.has_no_machine()
    }

    /// Whether it can't become ready any more.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_observed_dead() || matches!(self.state, InstanceState::Failed | InstanceState::Destroying)
    }

    /// Whether its cloud has said that its machine does not run any more.
    pub(crate) fn is_observed_dead(&self) -> bool {
        let failed = self.state == InstanceState::Failed && self.ready_at.is_some() && self.handle.is_some();
        failed || matches!(self.state, InstanceState::Stopped | InstanceState::Vanished)
    }

    /// Whether passes observe it: what was ready once, and may be again.
    pub(crate) fn is_surveyed(&self) -> bool {
        self.was_ready() || self.is_observed_dead()
    }

    /// Since when its checks have failed for too long.
    pub(crate) fn is_past_health_timeout(&self, now: Timestamp) -> bool {
        let allowed = std::time::Duration::from_secs(self.health_check.timeout);
        let failing = self.failing_since.filter(|_| self.state == InstanceState::Unhealthy);
        failing.is_some_and(|since| crate::act::elapsed(since, now) > allowed)
    }

    /// Whether it was ready when it was last looked at, or is ready.
    pub(crate) fn was_ready(&self) -> bool {
        matches!(self.state, InstanceState::Ready | InstanceState::Unhealthy)
    }

    /// Another state, from now on.
    pub(crate) fn set_state(&mut self, state: InstanceState, now: Timestamp) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }

    /// Takes over what the cloud said. True when that is worth writing down.
    pub(crate) fn apply_observation(&mut self, observed: ObservedMachine) -> bool {
        let ObservedMachine { handle, phase, addresses, attributes, message } = observed;
        // An answer that nothing can be concluded from, or about a machine that is gone, tells nothing of these.
        if matches!(phase, Phase::Unknown | Phase::Gone) {
            return false;
        }
        let handle = Some(handle);
        let changed = self.handle != handle
            || self.addresses != addresses
            || self.attributes != attributes
            || self.message != message;
        (self.handle, self.addresses, self.attributes, self.message) = (handle, addresses, attributes, message);
        changed
    }
}

/// Writes a record as bytes.
///
/// # Errors
/// When it can't be written as JSON: then nothing is stored in its place.
pub(crate) fn encode<T: Serialize>(record: T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(&Versioned { v: RECORD_VERSION, record }).map_err(|error| {
        let kind = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
        StoreError::Unusable { message: format!("internal error: a record ({kind}) can't be written as JSON: {error}") }
    })
}

/// A record from its bytes.
pub(crate) fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, EngineError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let corrupt = |error: serde_json::Error| EngineError::Corrupt { key: key.into(), message: error.to_string() };
    let Version { v } = serde_json::from_slice(bytes).map_err(corrupt)?;
    if v > RECORD_VERSION {
        return Err(EngineError::Newer { key: key.into(), found: v, known: RECORD_VERSION });
    }
    serde_json::from_slice(bytes).map_err(corrupt)
}

/// A short fingerprint that stays the same in later versions. Not for secrets: it is no cryptographic digest.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = FnvHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

/// FNV-1a.
pub(crate) struct FnvHasher(u64);

impl Default for FnvHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for FnvHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_written_is_an_error_and_no_empty_record() {
        #[derive(Serialize)]
        struct Odd {
            map: std::collections::HashMap<Vec<u8>, u8>,
        }
        let odd = || Odd { map: [(vec![1], 1)].into() };
        let error = encode(odd()).unwrap_err().to_string();
        assert!(error.contains("Odd") && error.contains("can't be written"), "{error}");
        let head = HeadRecord { event: 7, transaction: 2 };
        assert_eq!(decode::<HeadRecord>("head", &encode(head).unwrap()).unwrap(), head);
    }
}
