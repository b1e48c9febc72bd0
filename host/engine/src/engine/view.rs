//! Status and lists, computed from the records in the store; and the stored node definitions.

use std::collections::HashMap;

use indexmap::IndexMap;
use occopus_model::{Implementation, Infrastructure};

use super::scale;
use crate::act::elapsed;
use crate::derived_state::{FailingNodes, StateInputs, derive_state};
use crate::drift::drift_by_instance;
use crate::error::EngineError;
use crate::id::InfrastructureId;
use crate::plan::{Targets, target_count};
use crate::ports::{Entry, Store, Transaction, Write};
use crate::state::{
    DefinitionRecord, DesiredRecord, FailingRecord, InfrastructureRecord, InstanceRecord, OwnerRecord, Pages, decode,
    encode, keys, load_instances, load_record,
};
use crate::status::{FailingNode, InfrastructureState, InstanceStatus, NodeStatus, Status, Summary};

/// Computes the state at the end of a run from the records.
pub(super) async fn current_state(
    store: &dyn Store,
    id: &InfrastructureId,
    recorded: &InfrastructureRecord,
) -> Result<(InfrastructureState, Option<String>), EngineError> {
    let owner: Option<OwnerRecord> = load_record(store, &keys::owner(id)).await?;
    derive_from_records(store, id, recorded, owner.is_some()).await
}

async fn derive_from_records(
    store: &dyn Store,
    id: &InfrastructureId,
    recorded: &InfrastructureRecord,
    is_owned: bool,
) -> Result<(InfrastructureState, Option<String>), EngineError> {
    let desired: Option<DesiredRecord> = load_record(store, &keys::desired(id)).await?;
    let records = load_instances(store, id).await?;
    let described = desired.as_ref().map(|desired| &desired.infrastructure);
    let targets = expected_targets_of(store, id, described, &records).await?;
    let failing = load_failing(store, id).await?;
    let inputs = StateInputs { id, recorded, is_owned, described, targets: &targets, failing: &failing };
    Ok(derive_state(&inputs, records.iter()))
}

async fn expected_targets_of(
    store: &dyn Store,
    id: &InfrastructureId,
    described: Option<&Infrastructure>,
    records: &[InstanceRecord],
) -> Result<Targets, EngineError> {
    match described {
        Some(described) => scale::expected_targets(store, id, described, records).await,
        None => Ok(Targets::new()),
    }
}

/// Returns the nodes that fail again and again.
pub(super) async fn load_failing(store: &dyn Store, id: &InfrastructureId) -> Result<FailingNodes, EngineError> {
    let prefix = keys::all_failing(id);
    let entries = Pages::collect(store, &prefix).await?;
    let failing = |entry: &Entry| {
        let node = entry.key.strip_prefix(&prefix).unwrap_or_default().to_owned();
        Ok((node, decode(&entry.key, &entry.value)?))
    };
    entries.iter().map(failing).collect()
}

/// Returns the full status of an infrastructure.
pub(super) async fn status(store: &dyn Store, id: &InfrastructureId) -> Result<Status, EngineError> {
    let unknown = || EngineError::UnknownInfrastructure { id: id.into() };
    let infrastructure: InfrastructureRecord =
        load_record(store, &keys::infrastructure(id)).await?.ok_or_else(unknown)?;
    let desired: Option<DesiredRecord> = load_record(store, &keys::desired(id)).await?;
    let owner: Option<OwnerRecord> = load_record(store, &keys::owner(id)).await?;
    let records = load_instances(store, id).await?;
    let described = desired.as_ref().map(|desired| &desired.infrastructure);
    let targets = expected_targets_of(store, id, described, &records).await?;
    let failing = load_failing(store, id).await?;
    let inputs = StateInputs {
        id,
        recorded: &infrastructure,
        is_owned: owner.is_some(),
        described,
        targets: &targets,
        failing: &failing,
    };
    let (state, message) = derive_state(&inputs, records.iter());
    let nodes = node_statuses(described, &targets, failing, records);
    Ok(Status {
        id: id.clone(),
        name: infrastructure.name,
        state,
        message,
        suspended: store.get(&keys::suspended(id)).await?.is_some(),
        owner: owner.map(|record| record.owner),
        created: infrastructure.created,
        nodes,
    })
}

/// Returns the status of every described node, and of others that still have instances.
fn node_statuses(
    described: Option<&Infrastructure>,
    targets: &Targets,
    mut failing: FailingNodes,
    records: Vec<InstanceRecord>,
) -> Vec<NodeStatus> {
    let mut alive = HashMap::<String, usize>::new();
    for record in records.iter().filter(|record| !record.is_dead()) {
        *alive.entry(record.node.clone()).or_default() += 1;
    }
    let differences = described.map(|described| drift_by_instance(described, &records)).unwrap_or_default();
    let mut by_node = IndexMap::<String, Vec<InstanceStatus>>::new();
    for record in records {
        let (changed, stale) = differences.get(&record.id).cloned().unwrap_or_default();
        let node = record.node.clone();
        by_node.entry(node).or_default().push(InstanceStatus { changed, stale, ..instance_status(record) });
    }
    let described = described.map(|described| described.nodes.as_slice()).unwrap_or_default();
    let mut nodes: Vec<_> = described
        .iter()
        .map(|node| {
            let instances = by_node.get_mut(&node.name).map(std::mem::take).unwrap_or_default();
            let alive = alive.get(&node.name).copied().unwrap_or_default();
            let target = target_count(node, targets.get(&node.name), alive);
            let failing = failing.remove(&node.name).map(failing_status);
            let (min, max) = (node.scaling.min, node.scaling.max.max(node.scaling.min));
            NodeStatus {
                name: node.name.clone(),
                node_type: node.node_type.clone(),
                depends_on: node.depends_on.clone(),
                target,
                min,
                max,
                instances,
                failing,
            }
        })
        .collect();
    let leftover = by_node.into_iter().filter(|(_, instances)| !instances.is_empty());
    nodes.extend(leftover.map(|(name, instances)| NodeStatus {
        name,
        node_type: String::new(),
        depends_on: Vec::new(),
        target: 0,
        min: 0,
        max: 0,
        instances,
        failing: None,
    }));
    nodes
}

fn failing_status(record: FailingRecord) -> FailingNode {
    FailingNode { failures: record.failures, next_attempt: record.next_attempt, message: record.message }
}

fn instance_status(record: InstanceRecord) -> InstanceStatus {
    let seconds = |until: Option<jiff::Timestamp>| Some(elapsed(record.created, until?).as_secs_f64());
    InstanceStatus {
        seconds_to_running: seconds(record.running_at),
        seconds_to_ready: seconds(record.ready_at),
        driver: record.driver().into(),
        id: record.id,
        state: record.state,
        addresses: record.addresses,
        attributes: record.attributes,
        message: record.message,
        health: record.health,
        failing_since: record.failing_since,
        unobserved: record.unobserved,
        changed: Vec::new(),
        stale: Vec::new(),
        created: record.created,
        since: record.since,
    }
}

/// Returns whether the summary record of an infrastructure may be out of date: something was written after it, or there
/// is a request to scale.
async fn is_out_of_date(store: &dyn Store, id: &InfrastructureId, summary: &Entry) -> Result<bool, EngineError> {
    let head = store.get(&keys::head(id)).await?.map(|head| head.modified);
    if head != Some(summary.modified) {
        return Ok(true);
    }
    Ok(!store.range(&keys::requests(id), None, 1).await?.is_empty())
}

/// Returns a summary of every infrastructure, oldest first. Instances are read only where the summary record may be out
/// of date.
pub(super) async fn list(store: &dyn Store) -> Result<Vec<Summary>, EngineError> {
    let mut summaries = Vec::new();
    for entry in Pages::collect(store, keys::INFRASTRUCTURES).await? {
        let Some((id, _)) = keys::parse(&entry.key) else { continue };
        let record: InfrastructureRecord = decode(&entry.key, &entry.value)?;
        let owner: Option<OwnerRecord> = load_record(store, &keys::owner(&id)).await?;
        let suspended = store.get(&keys::suspended(&id)).await?.is_some();
        let state = match is_out_of_date(store, &id, &entry).await? {
            true => derive_from_records(store, &id, &record, owner.is_some()).await?.0,
            false => record.state,
        };
        summaries.push(Summary {
            suspended,
            id,
            name: record.name,
            state,
            created: record.created,
            owner: owner.map(|record| record.owner),
        });
    }
    summaries.sort_by_key(|summary| summary.created);
    Ok(summaries)
}

/// Stores node definitions, by type.
pub(super) async fn save_definitions(
    store: &dyn Store,
    types: &IndexMap<String, Vec<Implementation>>,
) -> Result<(), EngineError> {
    let mut writes = Vec::new();
    for (node_type, implementations) in types {
        let value = encode(DefinitionRecord { implementations: implementations.clone() })?;
        writes.push(Write::Put { key: keys::definition(node_type), value, lease: None });
    }
    store.commit(Transaction { compares: Vec::new(), writes }).await?;
    Ok(())
}

/// Removes the node definitions of a type; returns false if there are none.
pub(super) async fn remove_definitions(store: &dyn Store, node_type: &str) -> Result<bool, EngineError> {
    let key = keys::definition(node_type);
    let exists = store.get(&key).await?.is_some();
    if exists {
        store.commit(Transaction { compares: Vec::new(), writes: vec![Write::Delete { key }] }).await?;
    }
    Ok(exists)
}

/// Returns the stored node definitions, by type.
pub(super) async fn definitions(store: &dyn Store) -> Result<IndexMap<String, Vec<Implementation>>, EngineError> {
    let entries = Pages::collect(store, keys::DEFINITIONS).await?;
    entries
        .iter()
        .map(|entry| {
            let record: DefinitionRecord = decode(&entry.key, &entry.value)?;
            let node_type = entry.key.strip_prefix(keys::DEFINITIONS).unwrap_or_default();
            Ok((node_type.to_owned(), record.implementations))
        })
        .collect()
}
