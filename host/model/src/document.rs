//! Conversion of a graph back to a description: one document that needs no other file.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use crate::definitions::DEFINITION_KEY_PREFIX;
use crate::infrastructure::{Implementation, Infrastructure, Mapping, Node};

/// Returns the description that an infrastructure was compiled from, as one self-contained document: imports are
/// resolved, and the node definitions are in it under their keys. Compiling it gives the same infrastructure, except
/// for the locations in files.
pub fn document(infrastructure: &Infrastructure) -> Value {
    let mut document = Map::new();
    document.insert("infra_name".to_owned(), json!(infrastructure.name));
    // The key is required. This fixes its position.
    document.insert("nodes".to_owned(), json!([]));
    if !infrastructure.user_id.is_null() {
        document.insert("user_id".to_owned(), infrastructure.user_id.clone());
    }
    let mut put = |key: &str, value: Value| {
        if !is_empty(&value) {
            document.insert(key.to_owned(), value);
        }
    };
    put("variables", infrastructure.variables.clone());
    let nodes = infrastructure.nodes.iter().map(|it| node(it, &infrastructure.variables));
    put("nodes", nodes.collect());
    put("dependencies", infrastructure.nodes.iter().flat_map(dependencies).collect());
    put("maintenance", json!(infrastructure.maintenance));
    put("webhooks", json!(infrastructure.webhooks));
    document.extend(definitions(&infrastructure.definitions));
    Value::Object(document)
}

/// Returns node definitions as a file has them: by `node_def:TYPE`, each a list of implementations.
pub fn document_of_definitions(types: &IndexMap<String, Vec<Implementation>>) -> Value {
    definitions(types).collect::<Map<_, _>>().into()
}

fn definitions(types: &IndexMap<String, Vec<Implementation>>) -> impl Iterator<Item = (String, Value)> {
    types
        .iter()
        .map(|(name, list)| (format!("{DEFINITION_KEY_PREFIX}{name}"), list.iter().map(implementation).collect()))
}

/// Returns true for a value that can be left out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn node(node: &Node, inherited: &Value) -> Value {
    let mut value = json!({"name": node.name, "type": node.node_type});
    let scaling = match &node.scaling_section {
        // Written as the existing tool computes it; the original section is not known.
        Value::Null if (node.scaling.min, node.scaling.max) != (1, 1) => json!(node.scaling),
        section => section.clone(),
    };
    if !scaling.is_null() {
        value["scaling"] = scaling;
    }
    let sections =
        [("filter", Value::Object(node.filter.clone())), ("variables", overrides(inherited, &node.variables))];
    for (key, section) in sections {
        if !is_empty(&section) {
            value[key] = section;
        }
    }
    value
}

/// Returns the variables that have to be merged over the inherited ones to give `all`.
fn overrides(inherited: &Value, all: &Value) -> Value {
    let (Value::Object(below), Value::Object(all)) = (inherited, all) else { return all.clone() };
    let differing = all.iter().filter(|(key, value)| below.get(*key) != Some(value));
    differing.map(|(key, value)| (key.clone(), overrides(below.get(key).unwrap_or(&Value::Null), value))).collect()
}

fn dependencies(node: &Node) -> impl Iterator<Item = Value> {
    node.depends_on.iter().map(|dependee| {
        let pair = json!([node.name, dependee]);
        match node.mappings.inbound.get(dependee) {
            None => pair,
            Some(mappings) => {
                json!({"connection": pair, "mappings": mappings.iter().map(mapping).collect::<Vec<_>>()})
            }
        }
    })
}

fn mapping(mapping: &Mapping) -> Value {
    if mapping.synch || !mapping.extra.is_empty() { json!(mapping) } else { json!(mapping.attributes) }
}

/// Returns an implementation with its sections as they are written in a file.
fn implementation(implementation: &Implementation) -> Value {
    let mut value = json!({"resource": implementation.resource});
    let sections = [
        ("contextualisation", &implementation.contextualisation),
        ("config_management", &implementation.config_management),
    ];
    for (name, section) in sections {
        if let Some(section) = section {
            value[name] = section.clone();
        }
    }
    let health = &implementation.health_check;
    let mut checks = Map::new();
    if !health.checks.contains_key("ping") {
        checks.insert("ping".to_owned(), json!(false));
    }
    checks.extend(health.checks.clone());
    checks.insert("timeout".to_owned(), json!(health.timeout));
    checks.extend(health.min_ready_seconds.map(|seconds| ("min_ready_seconds".to_owned(), json!(seconds))));
    value["health_check"] = Value::Object(checks);
    value
}
