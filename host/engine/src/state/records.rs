//! Types of the records, and their format.

use std::hash::Hasher;
use std::sync::Arc;

use jiff::Timestamp;
use occopus_model::{HealthCheck, Implementation, Infrastructure, section_type};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{RecordError, RecordFormat, VersionField};
use crate::event::Event;
use crate::ports::{Address, Handle, ObservedMachine, Phase, StoreError};
use crate::request::Scale;
use crate::status::{InfrastructureState, InstanceState, Owner};

/// Format of all of the engine's records.
const FORMAT: RecordFormat = RecordFormat::new(1, VersionField::V);

/// Summary of an infrastructure, for lists.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InfrastructureRecord {
    pub(crate) name: String,
    pub(crate) state: InfrastructureState,
    pub(crate) message: Option<String>,
    pub(crate) created: Timestamp,
}

/// Desired state of an infrastructure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DesiredRecord {
    pub(crate) infrastructure: Infrastructure,
}

/// State before a change that has not succeeded yet. A change that fails rolls back to it, also if the process that
/// began it died.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PreviousRecord {
    /// Absent when there was nothing.
    pub(crate) infrastructure: Option<InfrastructureRecord>,
    /// Absent when there was nothing.
    pub(crate) desired: Option<Infrastructure>,
}

/// Last events of an infrastructure that was rolled back, to find the cause afterwards.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RolledBackRecord {
    pub(crate) at: Timestamp,
    pub(crate) events: Vec<Event>,
}

/// Target of a node that was scaled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetRecord {
    pub(crate) count: u32,
    /// Ids of instances that are to be removed first.
    #[serde(default)]
    pub(crate) victims: Vec<String>,
}

/// A request to scale a node, until the owner applies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScaleRecord {
    pub(crate) node: String,
    pub(crate) scale: Scale,
}

/// A node that fails again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FailingRecord {
    pub(crate) failures: u32,
    /// Time of the last failure.
    pub(crate) failed: Timestamp,
    pub(crate) next_attempt: Timestamp,
    pub(crate) message: String,
    /// Ids of instances whose deaths are counted and whose records still exist.
    #[serde(default)]
    pub(crate) counted: Vec<String>,
}

/// Owner of an infrastructure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OwnerRecord {
    #[serde(flatten)]
    pub(crate) owner: Owner,
    /// Random text that distinguishes two owners of the same name.
    pub(crate) token: String,
}

/// Counters that every transaction of an owner rewrites, so that a transaction whose answer was lost is recognised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeadRecord {
    /// Number of the last event.
    pub(crate) event: u64,
    /// Number of the last transaction.
    pub(crate) transaction: u64,
}

/// Position of a reader of events.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct CursorRecord {
    pub(crate) event: u64,
}

/// Node definitions of one type.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DefinitionRecord {
    pub(crate) implementations: Vec<Implementation>,
}

/// Record of an instance. It holds all that is needed to find and destroy the machine, also after the
/// description has changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct InstanceRecord {
    pub(crate) id: String,
    pub(crate) node: String,
    pub(crate) state: InstanceState,
    /// Names of the nodes that the node depended on, for the order of removal.
    #[serde(default)]
    pub(crate) depends_on: Vec<String>,
    /// Index of the chosen implementation in the list of its type.
    pub(crate) implementation: usize,
    /// The `resource` section, rendered.
    pub(crate) section: Arc<Value>,
    pub(crate) health_check: Arc<HealthCheck>,
    /// Reference of the machine; absent until the cloud has answered.
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
    /// Reason why the instance could not be observed the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unobserved: Option<String>,
    /// Set if no machine exists: the last request for it is known to have had no effect.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) without_effect: bool,
    /// Set if an answer about it was lost: a request for it may still arrive, whatever the outcome of later ones.
    #[serde(rename = "doubtful", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) has_lost_answer: bool,
    /// Id of the instance that this one replaces, which is removed once this one is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replaces: Option<String>,
    pub(crate) created: Timestamp,
    pub(crate) since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) running_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ready_at: Option<Timestamp>,
    /// Digest of the user data that the machine got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_data_digest: Option<String>,
    /// Fingerprints of the input; absent in records of older versions.
    #[serde(rename = "made", default, skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprints: Option<InstanceFingerprints>,
    /// Addresses of other instances in its rendered input.
    #[serde(rename = "mentions", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) address_references: Vec<AddressReference>,
}

/// Fingerprints of the input that an instance was created from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstanceFingerprints {
    pub(crate) node_type: String,
    pub(crate) variables: String,
    pub(crate) definition: String,
}

/// An address of another instance in rendered input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct AddressReference {
    pub(crate) node: String,
    pub(crate) address: String,
}

impl InfrastructureRecord {
    /// Changes the state.
    pub(crate) fn set_state(&mut self, state: InfrastructureState) {
        debug_assert!(self.state == state || self.state.can_become(state), "{} -> {state}", self.state);
        self.state = state;
    }
}

impl InstanceRecord {
    /// Returns the driver's keyword.
    pub(crate) fn driver(&self) -> &str {
        section_type(&self.section).unwrap_or_default()
    }

    /// Returns whether it is certain that no machine exists: the create call failed for good, or has had no effect so
    /// far, and no answer was lost.
    pub(crate) fn has_no_machine(&self) -> bool {
        (self.state == InstanceState::Failed || self.without_effect) && self.handle.is_none() && !self.has_lost_answer
    }

    /// Returns whether a machine may exist whose reference is not known.
    pub(crate) fn is_unresolved(&self) -> bool {
        self.handle.is_none() && !self.has_no_machine()
    }

    /// Returns whether the instance can't become ready any more.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_observed_dead() || matches!(self.state, InstanceState::Failed | InstanceState::Destroying)
    }

    /// Returns whether the cloud has reported that the machine does not run any more.
    pub(crate) fn is_observed_dead(&self) -> bool {
        let failed = self.state == InstanceState::Failed && self.ready_at.is_some() && self.handle.is_some();
        failed || matches!(self.state, InstanceState::Stopped | InstanceState::Vanished)
    }

    /// Returns whether surveys cover the instance: it was ready once, and may be again.
    pub(crate) fn is_surveyed(&self) -> bool {
        self.was_ready() || self.is_observed_dead()
    }

    /// Returns whether the health checks have failed for longer than the health check's time-out.
    pub(crate) fn is_past_health_timeout(&self, now: Timestamp) -> bool {
        let allowed = std::time::Duration::from_secs(self.health_check.timeout);
        let failing = self.failing_since.filter(|_| self.state == InstanceState::Unhealthy);
        failing.is_some_and(|since| crate::act::elapsed(since, now) > allowed)
    }

    /// Returns whether the instance is ready, or was ready before its health checks began to fail.
    pub(crate) fn was_ready(&self) -> bool {
        matches!(self.state, InstanceState::Ready | InstanceState::Unhealthy)
    }

    /// Changes the state, and the time since which it holds.
    pub(crate) fn set_state(&mut self, state: InstanceState, now: Timestamp) {
        if self.state != state {
            debug_assert!(self.state.can_become(state), "instance {}: {} -> {state}", self.id, self.state);
            self.state = state;
            self.since = now;
        }
    }

    /// Copies what a driver observed into the record, except for an inconclusive phase.
    pub(crate) fn apply_observation(&mut self, observed: ObservedMachine) {
        let ObservedMachine { handle, phase, addresses, attributes, message } = observed;
        // An inconclusive answer, or one about a machine that is gone, has no valid values.
        if matches!(phase, Phase::Unknown | Phase::Gone) {
            return;
        }
        (self.handle, self.addresses, self.attributes, self.message) = (Some(handle), addresses, attributes, message);
    }
}

/// Encodes a record with its version.
///
/// # Errors
/// Fails if the record can't be written as JSON; nothing is stored in its place then.
pub(crate) fn encode<T: Serialize>(record: T) -> Result<Vec<u8>, StoreError> {
    Ok(FORMAT.encode(&record)?)
}

/// Decodes a record.
///
/// # Errors
/// Returns [`RecordError::Newer`] for a record of a newer version, and [`RecordError::Corrupt`] for one that can't be
/// read.
pub(crate) fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, RecordError> {
    FORMAT.decode(key, bytes)
}

/// Returns a short fingerprint that stays the same in later versions. Not for secrets: it is not a cryptographic
/// digest.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = FnvHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

/// Hasher for 64-bit FNV-1a.
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
    fn stored_fields_keep_the_names_of_older_versions() {
        let stored = serde_json::json!({
            "id": "1", "node": "web", "state": "pending", "depends_on": [], "implementation": 0,
            "section": {"type": "fake"}, "health_check": {"checks": {}, "timeout": 60}, "addresses": [],
            "attributes": [], "created": "2026-01-01T00:00:00Z", "since": "2026-01-01T00:00:00Z", "doubtful": true,
            "made": {"node_type": "small", "variables": "v", "definition": "d"},
            "mentions": [{"node": "db", "address": "10.0.0.1"}],
        });
        let record: InstanceRecord = serde_json::from_value(stored.clone()).unwrap();
        assert!(record.has_lost_answer && record.fingerprints.is_some() && record.address_references.len() == 1);
        let written = serde_json::to_value(record).unwrap();
        for (key, value) in stored.as_object().unwrap() {
            assert_eq!(&written[key], value, "{key}");
        }
    }
}
