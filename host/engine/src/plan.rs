//! The plan: an ordered graph of actions, computed by a pure function from the desired state and the instance records.
//!
//! Pure: it reads no store, calls no cloud and starts no task.

use std::collections::{HashMap, HashSet};

use indexmap::{IndexMap, IndexSet};
use occopus_model::{Infrastructure, Node, section_type};
use serde_json::Value;

pub(crate) use crate::action::{Action, ActionKind, Plan};
use crate::drift::DriftReport;
pub(crate) use crate::request::Rollout;
use crate::state::{InstanceRecord, TargetRecord};

/// Targets of nodes that were scaled, by node name.
pub(crate) type Targets = HashMap<String, TargetRecord>;

/// Input of a plan beside the desired state and the instance records.
pub(crate) struct PlanOptions<'a> {
    pub(crate) targets: &'a Targets,
    /// Number of instances that are being created already, by node: they are not among the instance records.
    pub(crate) under_way: Option<&'a HashMap<String, usize>>,
    pub(crate) rollout: Rollout,
}

impl<'a> PlanOptions<'a> {
    pub(crate) fn for_targets(targets: &'a Targets) -> Self {
        Self { targets, under_way: None, rollout: Rollout::default() }
    }
}

/// Returns the actions that lead from the instance records (oldest first) to the desired state.
///
/// Ready instances are only checked. Instances that an earlier run left unfinished are finished. Dead instances are
/// replaced. A node without a target keeps as many instances as it has, within its limits; of a surplus the youngest
/// are removed.
pub(crate) fn plan(desired: &Infrastructure, actual: &[InstanceRecord], options: &PlanOptions<'_>) -> Plan {
    let mut by_node = IndexMap::<&str, Vec<&InstanceRecord>>::new();
    for record in actual {
        by_node.entry(&record.node).or_default().push(record);
    }
    let (mut actions, mut removals) = (Vec::new(), Vec::new());
    let drift = DriftReport::of(desired, &by_node, options.rollout);
    for node in &desired.nodes {
        let records = by_node.get(node.name.as_str()).map(Vec::as_slice).unwrap_or_default();
        plan_node(desired, node, options, &drift, records, &mut actions, &mut removals);
    }
    let described: HashSet<_> = desired.nodes.iter().map(|node| node.name.as_str()).collect();
    for record in by_node.iter().filter(|(name, _)| !described.contains(*name)).flat_map(|(_, records)| records) {
        removals.push((*record, "the node is no longer described"));
    }
    let mut dependents = IndexMap::<&str, IndexSet<&str>>::new();
    for (record, _) in &removals {
        for dependee in &record.depends_on {
            dependents.entry(dependee).or_default().insert(&record.node);
        }
    }
    let after = |node: &str| dependents.get(node).into_iter().flatten().map(|name| (*name).to_owned()).collect();
    actions.extend(removals.iter().map(|(record, reason)| Action {
        kind: ActionKind::Destroy,
        node: record.node.clone(),
        count: 1,
        instance: Some(record.id.clone()),
        on: vec![record.driver().to_owned()],
        reason: (*reason).into(),
        after: after(&record.node),
        changed: Vec::new(),
        stale: Vec::new(),
    }));
    Plan { actions }
}

fn plan_node<'a>(
    desired: &Infrastructure,
    node: &Node,
    options: &PlanOptions<'_>,
    drift: &DriftReport<'_>,
    records: &[&'a InstanceRecord],
    actions: &mut Vec<Action>,
    removals: &mut Vec<(&'a InstanceRecord, &'static str)>,
) {
    let scaled = options.targets.get(&node.name);
    let (mut dead, alive): (Vec<&InstanceRecord>, Vec<&InstanceRecord>) =
        records.iter().copied().partition(|record| record.is_dead());
    // An instance and its replacement count as one.
    let superseded = superseded(&alive);
    let mut alive: Vec<_> = alive.into_iter().filter(|record| !superseded.contains_key(record.id.as_str())).collect();
    let under_way = options.under_way.and_then(|all| all.get(&node.name)).copied().unwrap_or_default();
    let target = target_count(node, scaled, alive.len() + under_way) as usize;
    // Victims come last, and the surplus is taken from the end.
    alive.sort_by_key(|record| scaled.is_some_and(|scaled| scaled.victims.contains(&record.id)));
    let (mut obsolete, mut serving) = (Vec::new(), Vec::new());
    for (at, record) in alive.iter().copied().enumerate() {
        let Some(old) = superseded.values().find(|(by, _)| *by == record.id).map(|(_, old)| *old) else { continue };
        match at < target && !record.was_ready() {
            true => serving.push(old),
            false => obsolete.push(old),
        }
    }
    let step = NodeSteps::new(desired, node, drift);
    for (index, record) in alive.iter().copied().enumerate() {
        if index >= target {
            removals.push((record, "the node has more instances than its target"));
        } else if record.was_ready() {
            actions.push(step.check(record, Drifted::MayBeReplaced));
        } else {
            actions.push(step.action(ActionKind::Resume, Some(record), "an earlier run did not finish it"));
        }
    }
    // It serves until its replacement is ready.
    actions.extend(serving.into_iter().map(|old| step.check(old, Drifted::Stays)));
    removals.extend(obsolete.into_iter().map(|old| (old, "another instance has taken its place")));
    let missing = target.saturating_sub(alive.len() + under_way);
    let replaced = dead.len().min(missing);
    let rest = dead.split_off(replaced);
    for record in dead {
        actions.push(step.action(ActionKind::Replace, Some(record), record.message.as_deref().unwrap_or("it failed")));
    }
    // One action with a count, so that no plan is larger than the description and the records together.
    if let Some(count) = u32::try_from(missing - replaced).ok().filter(|count| *count > 0) {
        let reason = if count == 1 { "it does not exist" } else { "they do not exist" };
        actions.push(Action { count, ..step.action(ActionKind::Create, None, reason) });
    }
    removals.extend(rest.into_iter().map(|record| (record, "it is dead, and the node has enough other instances")));
}

/// The steps that a plan may contain for one node.
struct NodeSteps<'a> {
    node: &'a Node,
    drift: &'a DriftReport<'a>,
    /// Keywords of the drivers that a new instance may get.
    drivers: IndexSet<String>,
}

/// The treatment of a drifted instance that is selected for replacement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drifted {
    MayBeReplaced,
    Stays,
}

impl<'a> NodeSteps<'a> {
    fn new(desired: &Infrastructure, node: &'a Node, drift: &'a DriftReport<'a>) -> Self {
        let keyword = |resource: &Value| section_type(resource).map(str::to_owned);
        let drivers = desired.candidates(node).filter_map(|(_, found)| keyword(&found.resource)).collect();
        Self { node, drift, drivers }
    }

    fn action(&self, kind: ActionKind, instance: Option<&InstanceRecord>, reason: &str) -> Action {
        Action {
            kind,
            node: self.node.name.clone(),
            count: 1,
            instance: instance.map(|record| record.id.clone()),
            on: match instance {
                Some(record) if kind != ActionKind::Replace => vec![record.driver().to_owned()],
                _ => self.drivers.iter().cloned().collect(),
            },
            reason: reason.into(),
            after: self.node.depends_on.clone(),
            changed: Vec::new(),
            stale: Vec::new(),
        }
    }

    /// Returns the step of a healthy instance: a check, or a replacement if it has drifted.
    fn check(&self, record: &InstanceRecord, drifted: Drifted) -> Action {
        let Some(difference) = self.drift.by_instance.get(record.id.as_str()) else {
            return self.action(ActionKind::Check, Some(record), "it exists");
        };
        let is_replaced = difference.is_rolled_out && drifted == Drifted::MayBeReplaced;
        let kind = if is_replaced { ActionKind::ReplaceDrifted } else { ActionKind::Check };
        let (changed, stale) = (difference.changed.clone(), difference.stale.clone());
        Action { changed, stale, ..self.action(kind, Some(record), &difference.reason()) }
    }
}

/// Returns the instances that have a replacement, by id: the id of the replacement, and the instance itself.
fn superseded<'a>(alive: &[&'a InstanceRecord]) -> HashMap<&'a str, (&'a str, &'a InstanceRecord)> {
    let by_id: HashMap<_, _> = alive.iter().map(|record| (record.id.as_str(), *record)).collect();
    let pairs = alive.iter().filter_map(|record| {
        let old = by_id.get(record.replaces.as_deref()?)?;
        Some((old.id.as_str(), (record.id.as_str(), *old)))
    });
    pairs.collect()
}

/// Returns the instances whose replacements are ready.
pub(crate) fn superseded_by_ready(records: Vec<InstanceRecord>) -> Vec<InstanceRecord> {
    let ready = records.iter().filter(|record| record.was_ready());
    let replaced: HashSet<_> = ready.filter_map(|record| record.replaces.clone()).collect();
    records.into_iter().filter(|record| replaced.contains(&record.id)).collect()
}

/// Counts the live instances of a node; an instance and its replacement count as one.
pub(crate) fn count_alive(records: &[&InstanceRecord]) -> usize {
    let alive: Vec<_> = records.iter().copied().filter(|record| !record.is_dead()).collect();
    alive.len() - superseded(&alive).len()
}

/// Returns the number of instances that a node is to have: as many as it was scaled to, otherwise as many as it has;
/// within its limits.
pub(crate) fn target_count(node: &Node, target: Option<&TargetRecord>, alive: usize) -> u32 {
    let present = u32::try_from(alive).unwrap_or(u32::MAX);
    target.map_or(present, |target| target.count).clamp(node.scaling.min, node.scaling.max.max(node.scaling.min))
}
