//! Scaling: any process may record a request, and the owner of the infrastructure applies it, once.

use occopus_model::{Infrastructure, Node};
use uuid::Uuid;

use super::existing::{load_existing, put};
use super::owned::OwnedInfrastructure;
use super::{Engine, check};
use crate::error::EngineError;
use crate::event::EventKind;
use crate::id::InfrastructureId;
use crate::plan::{Targets, count_alive, target_count};
use crate::ports::{CommitOutcome, Compare, Store, Transaction, Write};
use crate::request::Scale;
use crate::state::{
    DesiredRecord, InstanceRecord, Pages, ScaleRecord, TargetRecord, decode, encode, keys, load_instances,
};
use crate::status::InfrastructureState;

/// Records a request, and returns the number of instances that the node is going to have.
pub(super) async fn request(
    engine: &Engine,
    id: &InfrastructureId,
    node: &str,
    scale: Scale,
) -> Result<u32, EngineError> {
    loop {
        let store = &*engine.store;
        if load_existing(engine, id).await?.state == InfrastructureState::Destroying {
            return Err(EngineError::Destroying { id: id.into() });
        }
        let key = keys::desired(id);
        let gone = || EngineError::UnknownInfrastructure { id: id.into() };
        let entry = store.get(&key).await?.ok_or_else(gone)?;
        let desired: DesiredRecord = decode(&key, &entry.value)?;
        let infrastructure = &desired.infrastructure;
        let Some(node) = infrastructure.node(node) else {
            let known = infrastructure.nodes.iter().map(|node| node.name.clone()).collect();
            return Err(EngineError::UnknownNode { id: id.into(), node: node.into(), known });
        };
        let records = load_instances(store, id).await?;
        let mut targets = load_targets(store, id).await?;
        for (_, pending) in load_requests(store, id).await? {
            apply_request(infrastructure, &records, &mut targets, &pending);
        }
        let scale = resolve_instance(node, &records, &scale)?;
        let before = current_target(node, &records, targets.get(&node.name));
        let wanted = match &scale {
            Scale::By(change) => i64::from(before) + i64::from(*change),
            Scale::To(number) => i64::from(*number),
            Scale::Remove(instance) if is_victim(targets.get(&node.name), instance) => return Ok(before),
            Scale::Remove(_) => i64::from(before) - 1,
        };
        let (min, max) = (node.scaling.min, node.scaling.max);
        let Some(number) = u32::try_from(wanted).ok().filter(|number| (min..=max).contains(number)) else {
            return Err(EngineError::Limits { node: node.name.clone(), wanted, min, max });
        };
        let mut expected = targets.clone();
        expected.insert(node.name.clone(), TargetRecord { count: number, ..TargetRecord::default() });
        check::instances(&infrastructure.nodes, &expected, engine.settings.instance_limits)?;
        // Fails, and is tried again, if the infrastructure is changed or destroyed at the same time.
        let compares = vec![Compare::Modified(key, entry.modified)];
        let record = ScaleRecord { node: node.name.clone(), scale };
        let writes = vec![put(keys::request(id, &Uuid::now_v7().to_string()), encode(record)?)];
        if let CommitOutcome::Committed(_) = store.commit(Transaction { compares, writes }).await? {
            return Ok(number);
        }
    }
}

/// Replaces the address in a request to remove an instance by the instance's id.
fn resolve_instance(node: &Node, records: &[InstanceRecord], scale: &Scale) -> Result<Scale, EngineError> {
    let Scale::Remove(reference) = scale else { return Ok(scale.clone()) };
    let matches = |record: &&InstanceRecord| {
        record.node == node.name
            && (record.id == *reference || record.addresses.iter().any(|address| address.value == *reference))
    };
    let unknown = || EngineError::UnknownInstance { node: node.name.clone(), instance: reference.clone() };
    records.iter().find(matches).map(|record| Scale::Remove(record.id.clone())).ok_or_else(unknown)
}

/// Applies the recorded requests, except those that grow a node beyond the limits of the engine, which may be lower
/// than they were at the request. The events are in one transaction with the new targets: nothing is applied twice.
/// `records` returns all instances, those of running jobs included; it is called only if there is a request.
pub(super) async fn apply_requests(
    owned: OwnedInfrastructure<'_>,
    infrastructure: &Infrastructure,
    records: impl FnOnce() -> Vec<InstanceRecord>,
) -> Result<Targets, EngineError> {
    let OwnedInfrastructure { engine, id, .. } = owned;
    let store = &*engine.store;
    let mut targets = load_targets(store, id).await?;
    let requests = load_requests(store, id).await?;
    if requests.is_empty() {
        return Ok(targets);
    }
    let records = records();
    let mut writes = Vec::new();
    let mut events = Vec::new();
    for (key, request) in requests {
        let mut requested = targets.clone();
        let change = apply_request(infrastructure, &records, &mut requested, &request);
        let excess = check::instances(&infrastructure.nodes, &requested, engine.settings.instance_limits).err();
        match (change, excess) {
            (Some((from, to)), Some(excess)) if to > from => {
                tracing::warn!(
                    infrastructure = id.as_str(),
                    node = request.node,
                    "not scaled from {from} to {to}: {excess}"
                );
            }
            (change, _) => {
                targets = requested;
                let scaled = |(from, to)| EventKind::NodeScaled { node_name: request.node.clone(), from, to };
                events.extend(change.map(scaled));
            }
        }
        writes.push(Write::Delete { key });
    }
    for (node, target) in &targets {
        writes.push(put(keys::target(id, node), encode(target)?));
    }
    owned.write(writes, events).await?;
    Ok(targets)
}

/// Applies one request within the node's limits; returns the target before and after, if it changes.
fn apply_request(
    infrastructure: &Infrastructure,
    records: &[InstanceRecord],
    targets: &mut Targets,
    request: &ScaleRecord,
) -> Option<(u32, u32)> {
    let node = infrastructure.node(&request.node)?;
    let before = current_target(node, records, targets.get(&node.name));
    let mut target = targets.get(&node.name).cloned().unwrap_or_default();
    // Victims that are gone are dropped.
    target.victims.retain(|victim| records.iter().any(|record| record.id == *victim));
    let count = match &request.scale {
        Scale::By(change) => before.saturating_add_signed(*change),
        Scale::To(number) => *number,
        Scale::Remove(instance) => {
            let exists = records.iter().any(|record| record.id == *instance);
            if !exists || target.victims.contains(instance) || before <= node.scaling.min {
                return None;
            }
            target.victims.push(instance.clone());
            before - 1
        }
    };
    target.count = count.clamp(node.scaling.min, node.scaling.max);
    let after = target.count;
    targets.insert(node.name.clone(), target);
    (after != before).then_some((before, after))
}

fn is_victim(target: Option<&TargetRecord>, instance: &str) -> bool {
    target.is_some_and(|target| target.victims.iter().any(|victim| victim == instance))
}

fn current_target(node: &Node, records: &[InstanceRecord], target: Option<&TargetRecord>) -> u32 {
    let of_node: Vec<_> = records.iter().filter(|record| record.node == node.name).collect();
    target_count(node, target, count_alive(&of_node))
}

pub(super) async fn load_targets(store: &dyn Store, id: &InfrastructureId) -> Result<Targets, EngineError> {
    let prefix = keys::targets(id);
    let entries = Pages::collect(store, &prefix).await?;
    let target = |entry: &crate::ports::Entry| {
        let node = entry.key.strip_prefix(&prefix).unwrap_or_default().to_owned();
        Ok((node, decode(&entry.key, &entry.value)?))
    };
    entries.iter().map(target).collect()
}

/// Returns the recorded requests with their keys, oldest first.
async fn load_requests(store: &dyn Store, id: &InfrastructureId) -> Result<Vec<(String, ScaleRecord)>, EngineError> {
    let entries = Pages::collect(store, &keys::requests(id)).await?;
    entries.into_iter().map(|entry| Ok((entry.key.clone(), decode(&entry.key, &entry.value)?))).collect()
}

/// Returns the targets as they will be once the recorded requests are applied; changes nothing.
pub(super) async fn expected_targets(
    store: &dyn Store,
    id: &InfrastructureId,
    infrastructure: &Infrastructure,
    records: &[InstanceRecord],
) -> Result<Targets, EngineError> {
    let mut targets = load_targets(store, id).await?;
    for (_, request) in load_requests(store, id).await? {
        apply_request(infrastructure, records, &mut targets, &request);
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{infrastructure, node};

    fn graph() -> Infrastructure {
        let mut web = node("web", 2, &[]);
        web.scaling.max = 5;
        infrastructure(vec![web])
    }

    fn scale_record(scale: Scale) -> ScaleRecord {
        ScaleRecord { node: "web".into(), scale }
    }

    #[test]
    fn requests_add_up_within_the_limits() {
        let (graph, mut targets) = (graph(), Targets::new());
        let mut apply = |scale| apply_request(&graph, &[], &mut targets, &scale_record(scale));
        assert_eq!(apply(Scale::By(2)), Some((2, 4)));
        assert_eq!(apply(Scale::By(-1)), Some((4, 3)));
        assert_eq!(apply(Scale::By(100)), Some((3, 5)));
        assert_eq!(apply(Scale::To(5)), None);
        assert_eq!(apply(Scale::By(i32::MIN)), Some((5, 2)));
        assert_eq!(apply(Scale::Remove("gone".into())), None);
    }
}
