//! Fingerprints of the input that an instance was created from.

use std::collections::HashMap;
use std::hash::Hasher;
use std::io;

use occopus_model::{Implementation, Infrastructure, Node};
use serde::Serialize;

use crate::state::{FnvHasher, InstanceFingerprints, InstanceRecord};

/// Fingerprints of all implementations, by type.
pub(crate) struct Fingerprints(HashMap<String, Vec<String>>);

impl Fingerprints {
    pub(crate) fn of(infrastructure: &Infrastructure) -> Self {
        let types = infrastructure.definitions.iter();
        Self(types.map(|(name, all)| (name.clone(), all.iter().map(definition).collect())).collect())
    }

    /// Returns the fingerprints of a new instance.
    pub(crate) fn of_instance(&self, node: &Node, implementation: usize) -> InstanceFingerprints {
        let definition = self.0.get(&node.node_type).and_then(|all| all.get(implementation)).cloned();
        let definition = definition.unwrap_or_default();
        InstanceFingerprints { node_type: node.node_type.clone(), variables: fingerprint(&node.variables), definition }
    }

    /// Returns which parts have changed since an instance was created: "type", "variables", "definition". None of them
    /// if its record has no fingerprints.
    pub(crate) fn changes(&self, desired: &Infrastructure, node: &Node, record: &InstanceRecord) -> Vec<&'static str> {
        let Some(created_from) = &record.fingerprints else { return Vec::new() };
        let mut changes = Vec::new();
        if created_from.node_type != node.node_type {
            changes.push("type");
        }
        if created_from.variables != fingerprint(&node.variables) {
            changes.push("variables");
        }
        // The implementation may have moved in the list of its type.
        let all = self.0.get(&node.node_type).map(Vec::as_slice).unwrap_or_default();
        if !desired.candidates(node).any(|(at, _)| all.get(at) == Some(&created_from.definition)) {
            changes.push("definition");
        }
        changes
    }
}

/// Returns the fingerprint of an implementation, without the locations in the user's files.
fn definition(implementation: &Implementation) -> String {
    let Implementation { resource, contextualisation, config_management, health_check, .. } = implementation;
    fingerprint(&(resource, contextualisation, config_management, health_check))
}

fn fingerprint(value: &impl Serialize) -> String {
    let mut hasher = HashWriter(FnvHasher::default());
    // Neither serialising a JSON value nor hashing can fail.
    let _ = serde_json::to_writer(&mut hasher, value);
    format!("{:016x}", hasher.0.finish())
}

struct HashWriter(FnvHasher);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
