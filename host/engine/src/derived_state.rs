//! Where an infrastructure stands: one pure function of what is stored, which `status`, lists, plans, maintenance and the end of a
//! build all use.
//!
//! The first of these that applies is its state: destroying, building, held, failing, degraded, unreachable, ready.

use std::collections::HashMap;

use indexmap::IndexMap;
use occopus_model::Infrastructure;

use crate::plan::{Targets, target_count};
use crate::state::{FailingRecord, InfrastructureRecord, InstanceRecord};
use crate::status::{InfrastructureState, InstanceState, describe_failures};

/// Nodes that fail again and again, by name.
pub(crate) type FailingNodes = HashMap<String, FailingRecord>;

/// So many findings are told in a message.
const MAX_FINDINGS: usize = 4;

/// Everything that decides, beside the instances.
pub(crate) struct StateInputs<'a> {
    pub(crate) id: &'a str,
    /// What its owner concluded last. Its message is the cause of what is wrong, not what is wrong.
    pub(crate) recorded: &'a InfrastructureRecord,
    /// Whether somebody works on it.
    pub(crate) is_owned: bool,
    pub(crate) described: Option<&'a Infrastructure>,
    /// Including requests that nobody has taken in.
    pub(crate) targets: &'a Targets,
    pub(crate) failing: &'a FailingNodes,
}

/// The instances of a node, counted.
#[derive(Default)]
struct NodeTally {
    by_state: IndexMap<InstanceState, usize>,
    alive: usize,
    all: usize,
}

/// The instances of an infrastructure, counted.
#[derive(Default)]
struct Tallies<'a> {
    nodes: IndexMap<&'a str, NodeTally>,
    all: usize,
    unobserved: usize,
    /// Why the first of them could not be observed.
    unobserved_reason: Option<&'a str>,
    has_dead: bool,
}

/// Computes the state, and why it is not better.
pub(crate) fn derive_state<'a>(
    known: &StateInputs<'a>,
    instances: impl Iterator<Item = &'a InstanceRecord>,
) -> (InfrastructureState, Option<String>) {
    let concluded = known.recorded;
    let cause = || concluded.message.clone();
    match concluded.state {
        InfrastructureState::Destroying => return (InfrastructureState::Destroying, cause()),
        InfrastructureState::Building if known.is_owned => return (InfrastructureState::Building, cause()),
        InfrastructureState::Building => {
            let message = format!("interrupted: nobody works on it; `occopus build -i {}` finishes it", known.id);
            return (InfrastructureState::Building, Some(message));
        }
        InfrastructureState::Held
        | InfrastructureState::Failing
        | InfrastructureState::Degraded
        | InfrastructureState::Unreachable
        | InfrastructureState::Ready => {}
    }
    let tallies = Tallies::of(instances);
    if concluded.state == InfrastructureState::Held && tallies.has_dead {
        let what = cause().unwrap_or_else(|| "too many instances look dead at once, so nothing is replaced".into());
        let message = format!("{what}; `occopus maintain -i {} --release` replaces them", known.id);
        return (InfrastructureState::Held, Some(message));
    }
    let (findings, failing) = findings(known, &tallies);
    if let Some(failing) = failing {
        return (InfrastructureState::Failing, Some(failing));
    }
    let unobserved = tallies.unobserved();
    if findings.is_empty() {
        let state = if unobserved.is_some() { InfrastructureState::Unreachable } else { InfrastructureState::Ready };
        return (state, unobserved);
    }
    let more = findings.len().saturating_sub(MAX_FINDINGS);
    let mut told: Vec<_> = findings.into_iter().take(MAX_FINDINGS).chain(unobserved).collect();
    if more > 0 {
        told.push(format!("{more} more nodes are not as they should be"));
    }
    let told = told.join("; ");
    let has_cause = matches!(concluded.state, InfrastructureState::Degraded | InfrastructureState::Failing);
    let message = match cause().filter(|_| has_cause) {
        Some(cause) => format!("{told}: {cause}"),
        None => told,
    };
    (InfrastructureState::Degraded, Some(message))
}

/// What is not as it should be, node by node; and what to say of the first that fails again and again.
fn findings(known: &StateInputs<'_>, tallies: &Tallies<'_>) -> (Vec<String>, Option<String>) {
    let (mut findings, mut failing) = (Vec::new(), None);
    let nothing = NodeTally::default();
    let Some(described) = known.described else { return (findings, None) };
    for node in &described.nodes {
        let tally = tallies.nodes.get(node.name.as_str()).unwrap_or(&nothing);
        let wanted = target_count(node, known.targets.get(&node.name), tally.alive) as usize;
        let Some(finding) = tally.finding(&node.name, wanted) else { continue };
        findings.push(finding);
        if let Some(record) = known.failing.get(&node.name).filter(|record| record.is_pausing()) {
            failing.get_or_insert_with(|| record.describe(&node.name));
        }
    }
    for (name, tally) in &tallies.nodes {
        if described.node(name).is_none() {
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
            if let Some(why) = &record.unobserved {
                tallies.unobserved += 1;
                tallies.unobserved_reason.get_or_insert(why);
            }
        }
        tallies
    }

    fn unobserved(&self) -> Option<String> {
        let why = self.unobserved_reason?;
        Some(format!("{} of {} could not be observed: {why}", self.unobserved, instances(self.all)))
    }
}

impl NodeTally {
    /// What is wrong with a node; nothing when it has as many ready instances as it should, and no others.
    fn finding(&self, node: &str, wanted: usize) -> Option<String> {
        let mut parts = Vec::new();
        // What is dead and will be replaced is told by its state.
        if self.alive > wanted || self.all < wanted {
            let number = if self.alive > wanted { self.alive } else { self.all };
            parts.push(format!("node {node} has {}, {wanted} {} wanted", instances(number), are(wanted)));
        }
        for (state, number) in self.by_state.iter().filter(|(state, _)| **state != InstanceState::Ready) {
            parts.push(format!("{} of node {node}: {state}", instances(*number)));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

impl FailingRecord {
    /// Whether it waits, or waited, before another attempt.
    pub(crate) fn is_pausing(&self) -> bool {
        self.next_attempt > self.failed
    }

    /// In a sentence.
    fn describe(&self, node: &str) -> String {
        let times = describe_failures(self.failures);
        let at = self.next_attempt.strftime("%F %T UTC");
        format!("node {node} failed {times}, next attempt at {at}: {}", self.message)
    }
}

fn instances(number: usize) -> String {
    if number == 1 { "1 instance".to_owned() } else { format!("{number} instances") }
}

fn are(number: usize) -> &'static str {
    if number == 1 { "is" } else { "are" }
}
