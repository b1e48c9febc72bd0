//! Instances that work, and are not what they would be if they were made now.

use std::collections::{HashMap, HashSet, VecDeque};

use indexmap::IndexMap;
use occopus_model::{Infrastructure, Node};

use super::Fingerprints;
use crate::plan::Rollout;
use crate::state::InstanceRecord;

/// Of each instance that differs from what it would be if it were made now: what has changed, and which addresses that it
/// was told of are gone.
pub(crate) fn drift_by_instance(
    desired: &Infrastructure,
    actual: &[InstanceRecord],
) -> HashMap<String, (Vec<String>, Vec<String>)> {
    let mut by_node = IndexMap::<&str, Vec<&InstanceRecord>>::new();
    for record in actual {
        by_node.entry(&record.node).or_default().push(record);
    }
    let all = DriftReport::of(desired, &by_node, Rollout::default()).by_instance;
    all.into_iter().map(|(id, it)| (id.to_owned(), (it.changed, it.stale))).collect()
}

/// What differs between instances that work and what they would be if they were made now.
pub(crate) struct DriftReport<'a> {
    pub(crate) by_instance: HashMap<&'a str, InstanceDrift>,
}

pub(crate) struct InstanceDrift {
    pub(crate) changed: Vec<String>,
    pub(crate) stale: Vec<String>,
    /// It is to be made anew.
    pub(crate) is_rolled_out: bool,
}

impl<'a> DriftReport<'a> {
    pub(crate) fn of(
        desired: &Infrastructure,
        by_node: &IndexMap<&str, Vec<&'a InstanceRecord>>,
        renew: Rollout,
    ) -> Self {
        let alive = |record: &&&InstanceRecord| !record.is_dead();
        // An address that belongs to another node by now is as good as gone.
        let of = |record: &'a InstanceRecord| {
            record.addresses.iter().map(|address| (record.node.as_str(), address.value.as_str()))
        };
        let mut exists: HashSet<_> = by_node.values().flatten().filter(alive).copied().flat_map(of).collect();
        let fingerprints = Fingerprints::of(desired);
        let mut by_instance = HashMap::new();
        // What needs others comes after them: when they are made anew, their addresses go.
        for node in dependency_order(&desired.nodes) {
            let records = by_node.get(node.name.as_str()).map(Vec::as_slice).unwrap_or_default();
            for record in records.iter().filter(|record| record.was_ready()) {
                let changed: Vec<_> =
                    fingerprints.changes(desired, node, record).into_iter().map(str::to_owned).collect();
                let gone = record
                    .mentions
                    .iter()
                    .filter(|mention| !exists.contains(&(mention.node.as_str(), mention.address.as_str())));
                let stale: Vec<_> = gone.map(|mention| mention.address.clone()).collect();
                if changed.is_empty() && stale.is_empty() {
                    continue;
                }
                let renew = (renew.changed && !changed.is_empty()) || (renew.dependents && !stale.is_empty());
                if renew {
                    for address in of(record) {
                        exists.remove(&address);
                    }
                }
                by_instance.insert(record.id.as_str(), InstanceDrift { changed, stale, is_rolled_out: renew });
            }
        }
        Self { by_instance }
    }
}

impl InstanceDrift {
    pub(crate) fn reason(&self) -> String {
        let mut parts = Vec::new();
        if !self.changed.is_empty() {
            parts.push(format!("changed since it was made: {}", self.changed.join(", ")));
        }
        if !self.stale.is_empty() {
            parts.push(format!("it was told of {}, which is gone or goes", self.stale.join(", ")));
        }
        parts.join("; ")
    }
}

/// Each node after those that it depends on.
pub(crate) fn dependency_order(nodes: &[Node]) -> Vec<&Node> {
    let index: HashMap<_, _> = nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
    let mut waits_for: Vec<_> = nodes.iter().map(|node| node.depends_on.len()).collect();
    let mut dependents = vec![Vec::new(); nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        for dependee in node.depends_on.iter().filter_map(|name| index.get(name.as_str())) {
            dependents[*dependee].push(at);
        }
    }
    let mut free: VecDeque<_> = (0..nodes.len()).filter(|at| waits_for[*at] == 0).collect();
    let mut ordered = Vec::with_capacity(nodes.len());
    while let Some(at) = free.pop_front() {
        ordered.push(&nodes[at]);
        for dependent in &dependents[at] {
            waits_for[*dependent] -= 1;
            if waits_for[*dependent] == 0 {
                free.push_back(*dependent);
            }
        }
    }
    ordered
}
