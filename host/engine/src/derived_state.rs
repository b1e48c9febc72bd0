//! The state of an infrastructure: one pure function of the stored records, which `status`, lists, plans, maintenance
//! and the end of a build all use.
//!
//! The first of these that applies is the state: destroying, building, held, failing, degraded, unreachable, ready.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;
use occopus_model::Infrastructure;

use crate::plan::{Targets, target_count};
use crate::state::{FailingRecord, InfrastructureRecord, InstanceRecord};
use crate::status::{InfrastructureState, InstanceState, describe_failures};

/// Nodes that fail again and again, by name.
pub(crate) type FailingNodes = HashMap<String, FailingRecord>;

/// Findings that a message lists at most.
const MAX_FINDINGS: usize = 4;

/// Everything that determines the state, beside the instances.
pub(crate) struct StateInputs<'a> {
    pub(crate) id: &'a str,
    /// Record that the owner wrote last. Its message is the cause of what is wrong, not what is wrong.
    pub(crate) recorded: &'a InfrastructureRecord,
    /// Set while a process holds the lease.
    pub(crate) is_owned: bool,
    pub(crate) described: Option<&'a Infrastructure>,
    /// Targets with the requests that no owner has applied yet.
    pub(crate) targets: &'a Targets,
    pub(crate) failing: &'a FailingNodes,
}

/// Counts of a node's instances.
#[derive(Default)]
struct NodeTally {
    by_state: IndexMap<InstanceState, usize>,
    alive: usize,
    all: usize,
}

/// Counts of an infrastructure's instances.
#[derive(Default)]
struct Tallies<'a> {
    nodes: IndexMap<&'a str, NodeTally>,
    all: usize,
    unobserved: usize,
    /// Reason why the first of them could not be observed.
    unobserved_reason: Option<&'a str>,
    has_dead: bool,
}

/// Computes the state, and the reason why it is not better.
pub(crate) fn derive_state<'a>(
    inputs: &StateInputs<'a>,
    instances: impl Iterator<Item = &'a InstanceRecord>,
) -> (InfrastructureState, Option<String>) {
    let recorded = inputs.recorded;
    let cause = || recorded.message.clone();
    match recorded.state {
        InfrastructureState::Destroying => return (InfrastructureState::Destroying, cause()),
        InfrastructureState::Building if inputs.is_owned => return (InfrastructureState::Building, cause()),
        InfrastructureState::Building => {
            let message = format!("interrupted: no process owns it; run `occopus build -i {}` to finish it", inputs.id);
            return (InfrastructureState::Building, Some(message));
        }
        InfrastructureState::Held
        | InfrastructureState::Failing
        | InfrastructureState::Degraded
        | InfrastructureState::Unreachable
        | InfrastructureState::Ready => {}
    }
    let tallies = Tallies::of(instances);
    if recorded.state == InfrastructureState::Held && tallies.has_dead {
        let reason = cause().unwrap_or_else(|| "too many instances look dead at once, so none is replaced".into());
        let message = format!("{reason}; run `occopus maintain -i {} --release` to replace them", inputs.id);
        return (InfrastructureState::Held, Some(message));
    }
    let (findings, failing) = findings(inputs, &tallies);
    if let Some(failing) = failing {
        return (InfrastructureState::Failing, Some(failing));
    }
    let unobserved = tallies.unobserved();
    if findings.is_empty() {
        let state = if unobserved.is_some() { InfrastructureState::Unreachable } else { InfrastructureState::Ready };
        return (state, unobserved);
    }
    let more = findings.len().saturating_sub(MAX_FINDINGS);
    let mut listed: Vec<_> = findings.into_iter().take(MAX_FINDINGS).chain(unobserved).collect();
    if more > 0 {
        listed.push(format!("{more} more nodes differ from the desired state"));
    }
    let listed = listed.join("; ");
    let has_cause = matches!(recorded.state, InfrastructureState::Degraded | InfrastructureState::Failing);
    let message = match cause().filter(|_| has_cause) {
        Some(cause) => format!("{listed}: {cause}"),
        None => listed,
    };
    (InfrastructureState::Degraded, Some(message))
}

/// Returns the differences from the desired state, node by node, and a description of the first node that fails again
/// and again.
fn findings(inputs: &StateInputs<'_>, tallies: &Tallies<'_>) -> (Vec<String>, Option<String>) {
    let (mut findings, mut failing) = (Vec::new(), None);
    let nothing = NodeTally::default();
    let Some(described) = inputs.described else { return (findings, None) };
    for node in &described.nodes {
        let tally = tallies.nodes.get(node.name.as_str()).unwrap_or(&nothing);
        let target = target_count(node, inputs.targets.get(&node.name), tally.alive) as usize;
        let Some(finding) = tally.finding(&node.name, target) else { continue };
        findings.push(finding);
        if let Some(record) = inputs.failing.get(&node.name).filter(|record| record.is_pausing()) {
            failing.get_or_insert_with(|| record.describe(&node.name));
        }
    }
    // Not `Infrastructure::node`, which searches: there may be ten thousands of both.
    let names: HashSet<_> = described.nodes.iter().map(|node| node.name.as_str()).collect();
    for (name, tally) in &tallies.nodes {
        if !names.contains(name) {
            findings.push(format!("node {name} is no longer described, and has {}", instances(tally.all)));
        }
    }
    (findings, failing)
}

impl<'a> Tallies<'a> {
    fn of(instances: impl Iterator<Item = &'a InstanceRecord>) -> Self {
        let mut tallies = Self::default();
        for record in instances {
            let tally = tallies.nodes.entry(&record.node).or_default();
            *tally.by_state.entry(record.state).or_default() += 1;
            tally.all += 1;
            tally.alive += usize::from(!record.is_dead());
            tallies.all += 1;
            tallies.has_dead |= record.is_dead() || record.state == InstanceState::Unhealthy;
            if let Some(reason) = &record.unobserved {
                tallies.unobserved += 1;
                tallies.unobserved_reason.get_or_insert(reason);
            }
        }
        tallies
    }

    fn unobserved(&self) -> Option<String> {
        let reason = self.unobserved_reason?;
        Some(format!("{} of {} could not be observed: {reason}", self.unobserved, instances(self.all)))
    }
}

impl NodeTally {
    /// Returns how a node differs from the desired state; none if it has as many ready instances as its target, and no
    /// others.
    fn finding(&self, node: &str, target: usize) -> Option<String> {
        let mut parts = Vec::new();
        // A dead instance that will be replaced is reported by its state.
        if self.alive > target || self.all < target {
            let number = if self.alive > target { self.alive } else { self.all };
            parts.push(format!("node {node} has {} instead of {target}", instances(number)));
        }
        for (state, number) in self.by_state.iter().filter(|(state, _)| **state != InstanceState::Ready) {
            parts.push(format!("{} of node {node}: {state}", instances(*number)));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

impl FailingRecord {
    /// Returns whether there is, or was, a pause before the next attempt.
    pub(crate) fn is_pausing(&self) -> bool {
        self.next_attempt > self.failed
    }

    /// Returns the failures in one sentence.
    fn describe(&self, node: &str) -> String {
        let times = describe_failures(self.failures);
        let at = self.next_attempt.strftime("%F %T UTC");
        format!("node {node} failed {times}, next attempt at {at}: {}", self.message)
    }
}

fn instances(number: usize) -> String {
    if number == 1 { "1 instance".to_owned() } else { format!("{number} instances") }
}
