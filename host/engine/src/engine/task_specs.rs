//! From a plan to tasks: what is brought up, and what is removed.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::act::{Death, DesiredState, EntryPoint};
use crate::dispatch::TaskSpec;
use crate::plan::{ActionKind, Plan};
use crate::state::InstanceRecord;

/// Converts a plan into the tasks that bring instances up, and the surplus to remove.
pub(super) fn task_specs(
    plan: &Plan,
    desired: &DesiredState,
    actual: Vec<InstanceRecord>,
) -> (Vec<TaskSpec>, Vec<InstanceRecord>) {
    // An instance whose replacement is being created is left alone: it is removed when the replacement is ready.
    let alive = actual.iter().filter(|record| !record.is_dead());
    let superseded: HashSet<_> = alive.filter_map(|record| record.replaces.clone()).collect();
    let mut records: HashMap<_, _> = actual.into_iter().map(|record| (record.id.clone(), record)).collect();
    let (mut tasks, mut surplus) = (Vec::new(), Vec::new());
    for action in &plan.actions {
        let record = action.instance.as_ref().and_then(|instance| records.remove(instance));
        let entry_point = match (action.kind, record) {
            (ActionKind::Destroy, Some(record)) => {
                surplus.push(record);
                continue;
            }
            (ActionKind::Create, _) => EntryPoint::New,
            (ActionKind::Resume, Some(record)) => EntryPoint::Resume(record),
            (ActionKind::Check, Some(record)) if superseded.contains(&record.id) => continue,
            // A drifted instance is checked first: if it is dead, it is replaced anyway.
            (ActionKind::Check | ActionKind::ReplaceDrifted, Some(record)) => EntryPoint::Check(record),
            (ActionKind::Replace, Some(record)) => {
                EntryPoint::Replace(record, Death { reason: action.reason.clone(), vanished: false })
            }
            // Not reached: the plan was computed from these records.
            (_, None) => continue,
        };
        let Some(node) = desired.index(&action.node) else { continue };
        let mut push = |entry_point| tasks.push(TaskSpec { node, entry_point, id: Uuid::now_v7().to_string() });
        (1..action.count).for_each(|_| push(EntryPoint::New));
        push(entry_point);
    }
    (tasks, surplus)
}
