//! Report of the healthy instances that have drifted.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;
use occopus_model::{Infrastructure, Node, dependency_depths, dependency_positions};

use super::Fingerprints;
use crate::request::Rollout;
use crate::state::InstanceRecord;

/// Returns the drifted instances by id: the parts that have changed, and the addresses they refer to that are gone.
pub(crate) fn drift_by_instance(
    desired: &Infrastructure,
    actual: &[InstanceRecord],
) -> HashMap<String, (Vec<String>, Vec<String>)> {
    let mut by_node = IndexMap::<&str, Vec<&InstanceRecord>>::new();
    for record in actual {
        by_node.entry(&record.node).or_default().push(record);
    }
    let all = DriftReport::of(desired, &by_node, Rollout::default()).by_instance;
    all.into_iter().map(|(id, drift)| (id.to_owned(), (drift.changed, drift.stale))).collect()
}

/// Drift of each healthy instance that has any.
pub(crate) struct DriftReport<'a> {
    pub(crate) by_instance: HashMap<&'a str, InstanceDrift>,
}

pub(crate) struct InstanceDrift {
    pub(crate) changed: Vec<String>,
    pub(crate) stale: Vec<String>,
    /// Set if the instance is selected for replacement.
    pub(crate) is_rolled_out: bool,
}

impl<'a> DriftReport<'a> {
    pub(crate) fn of(
        desired: &Infrastructure,
        by_node: &IndexMap<&str, Vec<&'a InstanceRecord>>,
        rollout: Rollout,
    ) -> Self {
        let alive = |record: &&&InstanceRecord| !record.is_dead();
        // An address that now belongs to another node counts as gone.
        let addresses_of = |record: &'a InstanceRecord| {
            record.addresses.iter().map(|address| (record.node.as_str(), address.value.as_str()))
        };
        let mut existing: HashSet<_> =
            by_node.values().flatten().filter(alive).copied().flat_map(addresses_of).collect();
        let fingerprints = Fingerprints::of(desired);
        let mut by_instance = HashMap::new();
        // Dependents come after their dependencies: the addresses of replaced instances will be gone.
        for node in dependency_order(&desired.nodes) {
            let records = by_node.get(node.name.as_str()).map(Vec::as_slice).unwrap_or_default();
            for record in records.iter().filter(|record| record.was_ready()) {
                let changed: Vec<_> =
                    fingerprints.changes(desired, node, record).into_iter().map(str::to_owned).collect();
                let gone = record
                    .address_references
                    .iter()
                    .filter(|reference| !existing.contains(&(reference.node.as_str(), reference.address.as_str())));
                let stale: Vec<_> = gone.map(|reference| reference.address.clone()).collect();
                if changed.is_empty() && stale.is_empty() {
                    continue;
                }
                let is_rolled_out =
                    (rollout.changed && !changed.is_empty()) || (rollout.dependents && !stale.is_empty());
                if is_rolled_out {
                    for address in addresses_of(record) {
                        existing.remove(&address);
                    }
                }
                by_instance.insert(record.id.as_str(), InstanceDrift { changed, stale, is_rolled_out });
            }
        }
        Self { by_instance }
    }
}

impl InstanceDrift {
    pub(crate) fn reason(&self) -> String {
        let mut parts = Vec::new();
        if !self.changed.is_empty() {
            parts.push(format!("changed since it was created: {}", self.changed.join(", ")));
        }
        if !self.stale.is_empty() {
            parts.push(format!("it refers to {}, which is gone or about to be", self.stale.join(", ")));
        }
        parts.join("; ")
    }
}

/// Returns the nodes, each after those that it depends on.
pub(crate) fn dependency_order(nodes: &[Node]) -> Vec<&Node> {
    let links: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), &node.depends_on[..])).collect();
    let depths = dependency_depths(&dependency_positions(&links));
    let mut ordered: Vec<_> = nodes.iter().zip(depths).collect();
    ordered.sort_by_key(|(_, depth)| *depth);
    ordered.into_iter().map(|(node, _)| node).collect()
}
