//! JSON Schemas of the user's files, for the YAML language servers of editors.

use occopus_model::{Schemas, SectionKind};
use serde_json::{Map, Value, json};

use crate::planned::WithPlanned;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Returns the JSON Schema of an infrastructure description.
pub fn description() -> Value {
    let name = json!({
        "type": "string",
        "pattern": "^[A-Za-z0-9-]{1,63}$",
        "description": "Letters, digits and hyphens; at most 63.",
    });
    let pair = |description: &str| json!({"type": "array", "minItems": 2, "maxItems": 2, "description": description});
    let connection = pair("The first node depends on the second: aliases of nodes (`*A`), or their names.");
    let node = json!({
        "type": "object",
        "required": ["name", "type"],
        "additionalProperties": false,
        "properties": {
            "name": name,
            "type": {"type": "string", "description": "The type of a node definition: `node_def:TYPE`."},
            "scaling": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "min": {"type": "integer", "minimum": 1, "description": "Instances to begin with."},
                    "max": {"type": "integer", "minimum": 1, "description": "Instances at most."},
                },
            },
            "filter": {
                "type": "object",
                "description": "Keys and values that the `resource` section of the definition must have.",
            },
            "variables": {"type": "object", "description": "Merged over those of the infrastructure."},
        },
    });
    let mapping = json!({
        "type": "object",
        "required": ["attributes"],
        "properties": {
            "attributes": pair("Source and destination attribute."),
            "synch": {"type": "boolean", "description": "The attribute must exist before the other node starts."},
        },
    });
    let edge = json!({
        "type": "object",
        "required": ["connection"],
        "properties": {
            "connection": connection,
            "mappings": {"type": "array", "items": {"anyOf": [pair("Source and destination attribute."), mapping]}},
        },
    });
    let percent =
        |description: &str| json!({"type": "number", "minimum": 0, "maximum": 100, "description": description});
    let maintenance = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "hold_above_percent": percent("Percentage of dead instances above which nothing is replaced (40)."),
            "replace_at_once_percent": percent("Percentage of instances that are replaced at a time, at least one (20)."),
            "hold_minutes": {
                "type": "number",
                "minimum": 0,
                "description": "Minutes until instances that their cloud reports dead all the time are replaced, however many they are (10); 0: never.",
            },
        },
    });
    let webhook = json!({
        "type": "object",
        "anyOf": [{"required": ["url"]}, {"required": ["name"]}],
        "additionalProperties": false,
        "properties": {
            "url": {"type": "string", "pattern": "^https?://", "description": "The URL that gets a POST for each event."},
            "name": {"type": "string", "description": "The name by which its credentials are found: a secret, or the URL itself."},
            "events": {"type": "array", "items": {"type": "string"}, "description": "Only these events."},
        },
    });
    json!({
        "$schema": DIALECT,
        "title": "Occopus infrastructure description",
        "type": "object",
        "required": ["infra_name", "nodes"],
        "additionalProperties": false,
        "properties": {
            "infra_name": name,
            "user_id": {"description": "The user whom the infrastructure belongs to."},
            "variables": {"type": "object", "description": "Variables for the templates of all nodes."},
            "nodes": {"type": "array", "items": node},
            "dependencies": {"type": "array", "items": {"anyOf": [connection, edge]}},
            "maintenance": maintenance,
            "webhooks": {"type": "array", "items": webhook},
        },
    })
}

/// Returns the JSON Schema of a file of node definitions, with the sections of these plugins.
pub fn definitions(plugins: &dyn Schemas) -> Value {
    let schemas = WithPlanned(plugins);
    let mut properties = Map::new();
    for section in [SectionKind::Resource, SectionKind::Contextualisation, SectionKind::ConfigManagement] {
        let types = schemas.keywords(section).into_iter().filter_map(|keyword| {
            let schema = schemas.schema(section, &keyword)?;
            Some(section_schema(&keyword, &schema))
        });
        properties.insert(section.key().to_owned(), select_by_type(types.collect()));
    }
    properties.insert(SectionKind::HealthCheck.key().to_owned(), health_check(&schemas));
    let implementation = json!({
        "type": "object",
        "required": ["resource"],
        "additionalProperties": false,
        "properties": properties,
    });
    json!({
        "$schema": DIALECT,
        "title": "Occopus node definitions",
        "type": "object",
        "additionalProperties": false,
        "patternProperties": {"^node_def:.+$": {"type": "array", "minItems": 1, "items": implementation}},
    })
}

/// Returns the plugin's schema of a section, with the `type` that selects it.
fn section_schema(keyword: &str, schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(object) = schema.as_object_mut() {
        object.shift_remove("$schema");
        object.shift_remove("title");
        let properties = object.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert("type".to_owned(), json!({ "const": keyword }));
        }
        let required = object.entry("required").or_insert_with(|| json!([]));
        if let Some(required) = required.as_array_mut() {
            required.push(json!("type"));
        }
    }
    schema
}

/// Selects a schema by `type`, so that an editor reports the errors of that one type, and not that none of them matches.
fn select_by_type(types: Vec<Value>) -> Value {
    let keywords: Vec<_> = types.iter().map(|schema| schema["properties"]["type"]["const"].clone()).collect();
    let choices = types.into_iter().map(|schema| {
        let chosen = json!({"properties": {"type": schema["properties"]["type"]}, "required": ["type"]});
        json!({"if": chosen, "then": schema})
    });
    json!({
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": keywords}},
        "allOf": choices.collect::<Vec<_>>(),
    })
}

fn health_check(schemas: &dyn Schemas) -> Value {
    let mut properties = Map::new();
    for keyword in schemas.keywords(SectionKind::HealthCheck) {
        let schema = schemas.schema(SectionKind::HealthCheck, &keyword).map(|schema| Value::clone(&schema));
        properties.insert(keyword, schema.unwrap_or_else(|| json!({})));
    }
    properties.insert("type".to_owned(), json!({"const": "basic"}));
    let timeout = "Seconds of continuous failure after which a node has failed.";
    let min_ready = "Seconds for which a machine that nothing checks must have been running before it is ready (1).";
    properties
        .insert("min_ready_seconds".to_owned(), json!({"type": "number", "minimum": 0, "description": min_ready}));
    properties.insert("timeout".to_owned(), json!({"type": "integer", "minimum": 0, "description": timeout}));
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}
