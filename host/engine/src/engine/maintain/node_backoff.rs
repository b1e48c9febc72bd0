//! The back-off of nodes that fail again and again: they are tried with growing pauses. Their records are in the store,
//! so that they outlive the process and are part of the status.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::act::elapsed;
use crate::derived_state::FailingNodes;
use crate::error::NodeFailure;
use crate::event::EventKind;
use crate::id::InfrastructureId;
use crate::ports::{StoreError, Write};
use crate::settings::Settings;
use crate::state::{FailingRecord, InstanceRecord, encode, keys};
use crate::status::InstanceState;

use super::super::existing::put;

/// Failing nodes, and the names of those whose records have to be written.
pub(super) struct NodeBackoff {
    nodes: FailingNodes,
    changed: Vec<String>,
}

/// A dead instance, with the reason.
pub(super) struct DeadInstance<'a> {
    pub(super) record: &'a InstanceRecord,
    pub(super) reason: &'a str,
}

impl NodeBackoff {
    pub(super) fn new(nodes: FailingNodes) -> Self {
        Self { nodes, changed: Vec::new() }
    }

    pub(super) fn nodes(&self) -> &FailingNodes {
        &self.nodes
    }

    /// Returns whether a node is in a pause at this time.
    pub(super) fn is_backing_off(&self, node: &str, now: Timestamp) -> bool {
        self.nodes.get(node).is_some_and(|record| record.next_attempt > now)
    }

    /// Ends the pauses of these nodes, since another attempt was requested. Their failures stay counted.
    pub(super) fn end_pauses<'a>(&mut self, nodes: impl Iterator<Item = &'a str>, now: Timestamp) {
        for node in nodes {
            if let Some(record) = self.nodes.get_mut(node).filter(|record| record.next_attempt > now) {
                record.next_attempt = now;
                self.changed.push(node.to_owned());
            }
        }
    }

    /// Counts instances that died soon after they were ready: each once, and several of a node in one survey as one
    /// failure. Returns the events of pauses that begin.
    pub(super) fn count_deaths<'a>(
        &mut self,
        settings: &Settings,
        dead: impl Iterator<Item = DeadInstance<'a>>,
        now: Timestamp,
    ) -> Vec<EventKind> {
        let mut by_node = BTreeMap::<&str, (&str, Vec<String>)>::new();
        for DeadInstance { record, reason } in dead {
            let Some(ready_at) = record.ready_at else { continue };
            let end = record.failing_since.unwrap_or(record.since);
            if elapsed(ready_at, end) >= settings.stable_after || self.has_counted(record) {
                continue;
            }
            by_node.entry(&record.node).or_insert_with(|| (reason, Vec::new())).1.push(record.id.clone());
        }
        let mut events = Vec::new();
        for (node, (reason, ids)) in by_node {
            // The first failure costs no pause: a replacement is created at once.
            events.extend(self.count_failure(settings, node, reason, 1, now));
            if let Some(record) = self.nodes.get_mut(node) {
                record.counted.extend(ids);
                self.changed.push(node.to_owned());
            }
        }
        events
    }

    /// Counts nodes of which an instance could not be created. Returns the events of pauses that begin.
    pub(super) fn count_failed_creates(
        &mut self,
        settings: &Settings,
        failures: &[NodeFailure],
        now: Timestamp,
    ) -> Vec<EventKind> {
        let by_node: BTreeMap<_, _> = failures.iter().rev().map(|failure| (failure.node.as_str(), failure)).collect();
        let failed = |(node, failure): (&str, &NodeFailure)| {
            self.count_failure(settings, node, &failure.reason.to_string(), 0, now)
        };
        by_node.into_iter().filter_map(failed).collect()
    }

    /// Counts one more failure of a node, unless it is in a pause. The first `free` failures cost no pause; later
    /// pauses double. Returns the event of the pause that begins.
    fn count_failure(
        &mut self,
        settings: &Settings,
        node: &str,
        reason: &str,
        free: u32,
        now: Timestamp,
    ) -> Option<EventKind> {
        if self.is_backing_off(node, now) {
            return None;
        }
        let record = self.nodes.entry(node.to_owned()).or_insert_with(|| FailingRecord {
            failures: 0,
            failed: now,
            next_attempt: now,
            message: String::new(),
            counted: Vec::new(),
        });
        record.failures = record.failures.saturating_add(1);
        let doubled = record.failures.saturating_sub(1 + free).min(16);
        let pause = settings.failing_delay_min.saturating_mul(1 << doubled).min(settings.failing_delay_max);
        let pause = if record.failures <= free { Duration::ZERO } else { pause };
        record.failed = now;
        record.next_attempt = now.checked_add(pause).unwrap_or(now);
        reason.clone_into(&mut record.message);
        self.changed.push(node.to_owned());
        (!pause.is_zero()).then(|| EventKind::NodeFailing {
            node_name: node.to_owned(),
            failures: record.failures,
            seconds: pause.as_secs_f64(),
            message: reason.to_owned(),
        })
    }

    fn has_counted(&self, record: &InstanceRecord) -> bool {
        self.nodes.get(&record.node).is_some_and(|failing| failing.counted.contains(&record.id))
    }

    /// Removes nodes all of whose instances have been ready for long enough, and nodes that are no longer described.
    pub(super) fn clear_recovered<'a>(
        &mut self,
        settings: &Settings,
        instances: impl Iterator<Item = &'a InstanceRecord>,
        is_described: impl Fn(&str) -> bool,
        now: Timestamp,
    ) {
        if self.nodes.is_empty() {
            return;
        }
        let mut stable = BTreeMap::<&str, bool>::new();
        let mut known = HashSet::new();
        for record in instances {
            known.insert(record.id.as_str());
            let is_stable = record.state == InstanceState::Ready && elapsed(record.since, now) >= settings.stable_after;
            *stable.entry(&record.node).or_insert(true) &= is_stable;
        }
        for record in self.nodes.values_mut() {
            record.counted.retain(|id| known.contains(id.as_str()));
        }
        let recovered: Vec<_> = self
            .nodes
            .keys()
            .filter(|node| !is_described(node) || stable.get(node.as_str()) == Some(&true))
            .cloned()
            .collect();
        for node in recovered {
            self.nodes.remove(&node);
            self.changed.push(node);
        }
    }

    /// Shifts all times after a jump of the wall clock.
    pub(super) fn shift_times(&mut self, jump: SignedDuration) {
        for record in self.nodes.values_mut() {
            for time in [&mut record.failed, &mut record.next_attempt] {
                *time = time.checked_add(jump).unwrap_or(*time);
            }
        }
        self.changed.extend(self.nodes.keys().cloned());
    }

    /// Returns the writes for all changes since the last call.
    ///
    /// # Errors
    /// Fails if a record can't be serialised as JSON.
    pub(super) fn take_writes(&mut self, id: &InfrastructureId) -> Result<Vec<Write>, StoreError> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort();
        changed.dedup();
        let write = |node: String| match self.nodes.get(&node) {
            Some(record) => Ok(put(keys::failing(id, &node), encode(record)?)),
            None => Ok(Write::Delete { key: keys::failing(id, &node) }),
        };
        changed.into_iter().map(write).collect()
    }
}
