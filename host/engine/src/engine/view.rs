//! What the store knows, for people.

use indexmap::IndexMap;
use occopus_model::Implementation;

use super::scale;
use crate::act::elapsed;
use crate::change::differences;
use crate::error::EngineError;
use crate::plan::{Targets, count};
use crate::ports::{Store, Transaction, Write};
use crate::state::{
    DefinitionRecord, DesiredRecord, InfrastructureRecord, InstanceRecord, OwnerRecord, decode, encode, get, keys,
    load_instances, range_all,
};
use crate::status::{InstanceStatus, NodeStatus, Status, Summary};

/// An infrastructure, in full.
pub(super) async fn status(store: &dyn Store, id: &str) -> Result<Status, EngineError> {
    let unknown = || EngineError::UnknownInfrastructure { id: id.into() };
    let infrastructure: InfrastructureRecord = get(store, &keys::infrastructure(id)).await?.ok_or_else(unknown)?;
    let desired: Option<DesiredRecord> = get(store, &keys::desired(id)).await?;
    let owner: Option<OwnerRecord> = get(store, &keys::owner(id)).await?;
    let mut by_node = IndexMap::<String, Vec<InstanceStatus>>::new();
    let records = load_instances(store, id).await?;
    let targets = match &desired {
        Some(desired) => scale::expected(store, id, &desired.infrastructure, &records).await?,
        None => Targets::new(),
    };
    let differences =
        desired.as_ref().map(|desired| differences(&desired.infrastructure, &records)).unwrap_or_default();
    for record in records {
        let (changed, stale) = differences.get(&record.id).cloned().unwrap_or_default();
        let node = record.node.clone();
        by_node.entry(node).or_default().push(InstanceStatus { changed, stale, ..instance(record) });
    }
    let described = desired.map(|desired| desired.infrastructure.nodes).unwrap_or_default();
    let mut nodes: Vec<_> = described
        .into_iter()
        .map(|node| {
            let instances = by_node.get_mut(&node.name).map(std::mem::take).unwrap_or_default();
            let target = count(&node, targets.get(&node.name), instances.len());
            let (min, max) = (node.scaling.min, node.scaling.max.max(node.scaling.min));
            NodeStatus {
                name: node.name,
                node_type: node.node_type,
                depends_on: node.depends_on,
                target,
                min,
                max,
                instances,
                failing: None,
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
    Ok(Status {
        id: id.into(),
        name: infrastructure.name,
        state: infrastructure.state,
        message: infrastructure.message,
        suspended: store.get(&keys::suspended(id)).await?.is_some(),
        owner: owner.map(|record| record.owner),
        created: infrastructure.created,
        nodes,
    })
}

fn instance(record: InstanceRecord) -> InstanceStatus {
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

/// Every infrastructure, in a line each.
pub(super) async fn list(store: &dyn Store) -> Result<Vec<Summary>, EngineError> {
    let mut summaries = Vec::new();
    for entry in range_all(store, keys::INFRASTRUCTURES).await? {
        let record: InfrastructureRecord = decode(&entry.key, &entry.value)?;
        let id = entry.key.strip_prefix(keys::INFRASTRUCTURES).unwrap_or_default().to_owned();
        let owner: Option<OwnerRecord> = get(store, &keys::owner(&id)).await?;
        let suspended = store.get(&keys::suspended(&id)).await?.is_some();
        summaries.push(Summary {
            suspended,
            id,
            name: record.name,
            state: record.state,
            created: record.created,
            owner: owner.map(|record| record.owner),
        });
    }
    summaries.sort_by_key(|summary| summary.created);
    Ok(summaries)
}

/// Keeps node definitions.
pub(super) async fn save_definitions(
    store: &dyn Store,
    types: &IndexMap<String, Vec<Implementation>>,
) -> Result<(), EngineError> {
    let writes = types.iter().map(|(node_type, implementations)| Write::Put {
        key: keys::definition(node_type),
        value: encode(DefinitionRecord { implementations: implementations.clone() }),
        lease: None,
    });
    store.commit(Transaction { compares: Vec::new(), writes: writes.collect() }).await?;
    Ok(())
}

/// Forgets those of a type; false when there are none.
pub(super) async fn remove_definitions(store: &dyn Store, node_type: &str) -> Result<bool, EngineError> {
    let key = keys::definition(node_type);
    let there = store.get(&key).await?.is_some();
    if there {
        store.commit(Transaction { compares: Vec::new(), writes: vec![Write::Delete { key }] }).await?;
    }
    Ok(there)
}

/// The node definitions that were kept.
pub(super) async fn definitions(store: &dyn Store) -> Result<IndexMap<String, Vec<Implementation>>, EngineError> {
    let entries = range_all(store, keys::DEFINITIONS).await?;
    entries
        .iter()
        .map(|entry| {
            let record: DefinitionRecord = decode(&entry.key, &entry.value)?;
            let node_type = entry.key.strip_prefix(keys::DEFINITIONS).unwrap_or_default();
            Ok((node_type.to_owned(), record.implementations))
        })
        .collect()
}
