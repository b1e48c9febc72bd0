//! The OpenAPI document (<https://spec.openapis.org/oas/v3.1.0>): the part that all routes share, and additions to what
//! the routes declare.

use serde_json::{Value, json};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{OpenApi, SecurityRequirement};
use utoipa::{Modify, OpenApi as _};

/// Pattern of an infrastructure's id, which excludes `.` and `..`.
const INFRASTRUCTURE_ID_PATTERN: &str =
    r"^([A-Za-z0-9_-][A-Za-z0-9._-]{0,63}|\.[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}|\.\.[A-Za-z0-9._-]{1,62})$";
/// An infrastructure of one node, with its definition.
const EXAMPLE_DESCRIPTION: &str = include_str!("openapi/description.yaml");

/// Types of the parts of a description that may be left empty, by their JSON pointers in its schema.
const NULLABLE_PARTS: [(&str, &[&str]); 8] = [
    ("/properties/variables", &["object", "null"]),
    ("/properties/dependencies", &["array", "object", "null"]),
    ("/properties/maintenance", &["object", "null"]),
    ("/properties/webhooks", &["array", "null"]),
    ("/properties/nodes/items/properties/scaling", &["object", "null"]),
    ("/properties/nodes/items/properties/variables", &["object", "null"]),
    ("/properties/nodes/items/properties/scaling/properties/min", &["integer", "null"]),
    ("/properties/nodes/items/properties/scaling/properties/max", &["integer", "null"]),
];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Occopus",
        description = "Deploys and maintains virtual infrastructures. A *description* is a document in YAML (or JSON), \
which may contain its node definitions under the keys `node_def:TYPE`. Requests that take time are answered with 202 \
and the path of an operation, which shows its state and outcome. Errors are problem details by RFC 9457.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "infrastructures", description = "Infrastructures and their status"),
        (name = "actions", description = "Actions on an infrastructure"),
        (name = "operations", description = "Durable requests and their outcomes"),
        (name = "definitions", description = "Stored node definitions"),
        (name = "service", description = "The service itself"),
    ),
    components(schemas(occopus_api::FailureAction, occopus_api::ProblemDetails)),
    modifiers(&TokenSecurity),
)]
struct ApiDocument;

struct TokenSecurity;

impl Modify for TokenSecurity {
    fn modify(&self, document: &mut OpenApi) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some(
            "The roles of an operation are the scope that the token must have (`admin` includes `operate`, which \
             includes `read`), and `unlimited` if the token must not be limited to some infrastructures. A limited \
             token may not change what all infrastructures share."
                .to_owned(),
        );
        let scheme = SecurityScheme::Http(scheme);
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", scheme);
        document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    }
}

/// Returns the part of the document that all routes share.
pub(crate) fn document() -> OpenApi {
    ApiDocument::openapi()
}

/// Returns the document with what the attributes of the routes cannot express: patterns of ids, schemas of posted
/// documents, idempotency keys, and error responses.
pub(crate) fn complete(document: &OpenApi) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.insert("Description".into(), description());
        schemas.insert("DefinitionsDocument".into(), definitions());
        schemas.insert("Implementations".into(), implementations());
    }
    for (path, operations) in document["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            if method != "get" {
                add_idempotency_key(operation);
            }
            complete_parameters(operation);
            complete_responses(operation);
            if let Some(body) = operation.pointer_mut("/requestBody/content/application~1yaml") {
                *body = request_content(path);
            }
        }
    }
    document
}

/// Adds the parameter `Idempotency-Key` to an operation.
fn add_idempotency_key(operation: &mut Value) {
    let key = json!({
        "name": "Idempotency-Key", "in": "header", "required": false, "schema": {"type": "string"},
        "description": "Key under which the request is done only once, however often it is sent within a day.",
    });
    match operation.get_mut("parameters").and_then(Value::as_array_mut) {
        Some(parameters) => parameters.push(key),
        None => operation["parameters"] = json!([key]),
    }
}

fn complete_parameters(operation: &mut Value) {
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        match (parameter["in"].as_str(), parameter["name"].as_str()) {
            (Some("path"), Some("id")) | (Some("query"), Some("infra_id")) => {
                parameter["schema"]["pattern"] = INFRASTRUCTURE_ID_PATTERN.into();
            }
            (Some("path"), Some("key")) => parameter["schema"]["enum"] = json!(crate::api::INFO_KEYS),
            _ => {}
        }
    }
}

fn complete_responses(operation: &mut Value) {
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    for status in ["4XX", "5XX"] {
        let content = json!({"application/problem+json": {"schema": schema_ref("ProblemDetails")}});
        responses.insert(status.into(), json!({ "content": content }));
    }
    for (status, response) in responses {
        if let Some(response) = response.as_object_mut() {
            response.entry("description").or_insert_with(|| default_description(status).into());
        }
    }
}

/// Returns the content of a request to this path: schema and example.
fn request_content(path: &str) -> Value {
    let example: Value = serde_yaml_ng::from_str(EXAMPLE_DESCRIPTION).unwrap_or_default();
    let (schema, example) = match path {
        "/definitions" => ("DefinitionsDocument", Value::Object(node_definitions(&example))),
        "/definitions/{type}" => {
            ("Implementations", node_definitions(&example).into_values().next().unwrap_or_default())
        }
        _ => ("Description", example),
    };
    json!({"schema": schema_ref(schema), "example": example})
}

/// Returns the description of a response that has no other: OpenAPI requires one.
fn default_description(status: &str) -> &'static str {
    match status {
        "202" => "Accepted: the operation is pending or running",
        "204" => "Removed",
        "4XX" => "The request is wrong, as the problem details say",
        "5XX" | "503" => "The service cannot do this now, as the problem details say",
        _ => "Success",
    }
}

fn node_definitions(document: &Value) -> serde_json::Map<String, Value> {
    let keys = document.as_object().into_iter().flatten();
    keys.filter(|(key, _)| key.starts_with("node_def:")).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Returns the schema of a description with its node definitions. Editors use a stricter one than the service does, so
/// some parts are relaxed.
fn description() -> Value {
    let mut schema = occopus::editor::description();
    for (pointer, types) in NULLABLE_PARTS {
        if let Some(part) = schema.pointer_mut(pointer) {
            part["type"] = json!(types);
        }
    }
    for pointer in ["min", "max"].map(|name| format!("/properties/nodes/items/properties/scaling/properties/{name}")) {
        if let Some(part) = schema.pointer_mut(&pointer) {
            part["minimum"] = 0.into();
        }
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.shift_remove("$schema");
        schema.insert("patternProperties".into(), json!({"^node_def:.+$": schema_ref("Implementations")}));
    }
    schema
}

/// Returns the schema of a document of node definitions.
fn definitions() -> Value {
    json!({
        "title": "Occopus node definitions",
        "type": "object",
        "additionalProperties": false,
        "patternProperties": {"^node_def:.+$": schema_ref("Implementations")},
    })
}

/// Returns the schema of the definition of one node type.
fn implementations() -> Value {
    let section = |description: &str| {
        json!({"type": "object", "required": ["type"], "description": description,
        "properties": {"type": {"type": "string", "description": "The keyword of a plugin."}}})
    };
    let schema_note = "The other keys are those of the plugin, whose schema is in /plugins.";
    json!({
        "title": "Implementations of a type of nodes",
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "required": ["resource"],
            "additionalProperties": false,
            "properties": {
                "resource": section(&format!("The cloud resource of the node. {schema_note}")),
                "contextualisation": section(&format!("The contextualisation of the node. {schema_note}")),
                "config_management": section(&format!("The configuration management of the node. {schema_note}")),
                "health_check": {"type": "object", "description": "Health checks of the node, by the keywords of their plugins."},
            },
        },
    })
}

fn schema_ref(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}
