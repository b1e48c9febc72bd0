//! Variables for the templates of a new instance, and the facts about its peers.

use std::sync::Arc;

use occopus_model::{Implementation, Infrastructure, Node};
use serde_json::{Map, Value, json};

use super::{DesiredState, PeerIndex};
use crate::ports::InstanceFacts;
use crate::state::InstanceRecord;

/// Facts about the peers of an instance.
pub(crate) type PeerFacts = Arc<PeerIndex>;

/// Returns the facts that templates of peers may use of an instance.
pub(crate) fn instance_facts(infra_id: &str, desired: &DesiredState, record: &InstanceRecord) -> InstanceFacts {
    InstanceFacts {
        instance_id: record.id.clone(),
        node_name: record.node.clone(),
        addresses: record.addresses.clone(),
        data: instance_data(infra_id, &desired.infrastructure, record),
    }
}

/// Returns the instance data of Occopus 1, as far as it applies here.
pub(super) fn instance_data(infra_id: &str, infrastructure: &Infrastructure, record: &InstanceRecord) -> Value {
    let attributes: Map<_, _> = record.attributes.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let addresses: Vec<_> = record.addresses.iter().map(|address| address.value.as_str()).collect();
    json!({
        "node_id": record.id,
        "name": record.node,
        "infra_id": infra_id,
        "infra_name": infrastructure.name,
        "user_id": infrastructure.user_id,
        "resource": &*record.section,
        "resource_address": addresses,
        "attributes": attributes,
        "state": record.state,
        "instance_start_time": record.created.as_second(),
    })
}

/// Returns the variables for the templates of a new instance.
pub(super) fn template_data(
    infra_id: &str,
    infrastructure: &Infrastructure,
    node: &Node,
    implementation: &Implementation,
    instance: &str,
) -> Value {
    json!({
        "node_id": instance,
        "name": node.name,
        "type": node.node_type,
        "scaling": node.scaling_section,
        "filter": node.filter,
        "variables": node.variables,
        "infra_id": infra_id,
        "infra_name": infrastructure.name,
        "user_id": infrastructure.user_id,
        "mappings": node.mappings,
        "resource": implementation.resource,
        "contextualisation": implementation.contextualisation,
        "config_management": implementation.config_management,
        "health_check": implementation.health_check.checks,
        "definition_dir": implementation.definition_dir,
    })
}

/// Returns the variables for the templates of a health check.
pub(super) fn check_data(infra_id: &str, desired: &DesiredState, record: &InstanceRecord) -> Value {
    let node = desired.index(&record.node).and_then(|index| desired.node(index));
    let address = record.addresses.first().map(|address| address.value.as_str()).unwrap_or_default();
    json!({
        "ip": address,
        "variables": node.map(|node| &node.variables),
        "node_id": record.id,
        "name": record.node,
        "infra_id": infra_id,
        "infra_name": desired.infrastructure.name,
        "instance_data": instance_data(infra_id, &desired.infrastructure, record),
    })
}

/// Returns `connections`: the sources of the attributes that a node maps.
pub(super) fn connections(infra_id: &str, node: &Node) -> Value {
    let inbound = node.mappings.inbound.iter().flat_map(|(dependee, mappings)| {
        mappings.iter().map(move |mapping| {
            json!({
                "source_role": format!("{infra_id}_{dependee}"),
                "source_attribute": mapping.attributes.0,
                "destination_attribute": mapping.attributes.1,
            })
        })
    });
    Value::Array(inbound.collect())
}

/// Returns a readable unique name. It has the end of the instance's id, which is random; the beginning of an id is the
/// time.
pub(crate) fn machine_name(infra_name: &str, infra_id: &str, node: &str, instance: &str) -> String {
    fn first(text: &str, n: usize) -> &str {
        text.char_indices().nth(n).map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
    }
    let tail: String = instance.chars().skip(instance.chars().count().saturating_sub(8)).collect();
    format!("occopus-{}-{}-{}-{tail}", first(infra_name, 18), first(infra_id, 8), first(node, 18))
}

#[cfg(test)]
mod tests {
    use super::machine_name;

    #[test]
    fn names_of_machines_are_short_and_end_in_what_differs() {
        let id = "01936e1c-aaaa-7000-8000-1234deadbeef";
        let name = machine_name("kubernetes-cluster-of-mine", "0f6b2c1e-1111", "münchner-knoten-nummer-1", id);
        assert_eq!(name, "occopus-kubernetes-cluster-0f6b2c1e-münchner-knoten-nu-deadbeef");
        assert!(name.chars().count() <= 80);
    }
}
