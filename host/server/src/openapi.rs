//! The OpenAPI document, and the page on which it can be read: <https://spec.openapis.org/oas/v3.1.0>

use serde_json::{Value, json};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{OpenApi, SecurityRequirement};
use utoipa::{Modify, OpenApi as _};

/// What can be an infrastructure's id: neither `.` nor `..`.
const INFRASTRUCTURE_ID_PATTERN: &str =
    r"^([A-Za-z0-9_-][A-Za-z0-9._-]{0,63}|\.[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}|\.\.[A-Za-z0-9._-]{1,62})$";
/// An infrastructure of one node, with its definition.
const EXAMPLE_DESCRIPTION: &str = include_str!("openapi/description.yaml");

/// What parts of a description may be: most may be left empty.
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
        description = "Deploys virtual infrastructures and keeps them alive. A *document* is an infrastructure \
description in YAML (or JSON); it may carry its node definitions under their keys, `node_def:TYPE`. Whatever takes time \
is answered with 202 and the path of an operation, under which to look what became of it. Errors are problem details by \
RFC 9457.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "infrastructures", description = "What is deployed"),
        (name = "actions", description = "What is done to it"),
        (name = "operations", description = "What was asked for, and what became of it"),
        (name = "definitions", description = "Node definitions that the service keeps"),
        (name = "service", description = "The service itself"),
    ),
    components(schemas(crate::api::FailureAction, crate::problem::ProblemDetails)),
    modifiers(&TokenSecurity),
)]
struct ApiDocument;

struct TokenSecurity;

impl Modify for TokenSecurity {
    fn modify(&self, document: &mut OpenApi) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some(
            "The roles of an operation are the scope that the token must have (`admin` includes `operate`, and that `read`), and \
             `unlimited` where it must not be limited to some infrastructures. What changes something of all of them is never \
             for a limited one."
                .to_owned(),
        );
        let scheme = SecurityScheme::Http(scheme);
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", scheme);
        document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    }
}

/// What is said of all routes together.
pub(crate) fn document() -> OpenApi {
    ApiDocument::openapi()
}

/// The document with what the code of the routes can't say: what ids and posted documents look like, and that anything may be
/// refused.
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

/// All requests that change something may have a key.
fn add_idempotency_key(operation: &mut Value) {
    let key = json!({
        "name": "Idempotency-Key", "in": "header", "required": false, "schema": {"type": "string"},
        "description": "A request with this key is done once, however often it is sent within a day.",
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
    let Some(answers) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    for status in ["4XX", "5XX"] {
        let content = json!({"application/problem+json": {"schema": schema_ref("ProblemDetails")}});
        answers.insert(status.into(), json!({ "content": content }));
    }
    for (status, answer) in answers {
        if let Some(answer) = answer.as_object_mut() {
            answer.entry("description").or_insert_with(|| default_description(status).into());
        }
    }
}

/// What is posted to this path.
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

/// Each answer must be described.
fn default_description(status: &str) -> &'static str {
    match status {
        "202" => "It will be done",
        "204" => "It is gone",
        "4XX" => "What is wrong with the request",
        "5XX" | "503" => "Why it can't be done now",
        _ => "As wished",
    }
}

fn node_definitions(document: &Value) -> serde_json::Map<String, Value> {
    let keys = document.as_object().into_iter().flatten();
    keys.filter(|(key, _)| key.starts_with("node_def:")).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Of a description that may carry its node definitions. Editors warn of more than is refused.
fn description() -> Value {
    let mut schema = occopus::editor::description();
    for (place, kinds) in NULLABLE_PARTS {
        if let Some(part) = schema.pointer_mut(place) {
            part["type"] = json!(kinds);
        }
    }
    for place in ["min", "max"].map(|name| format!("/properties/nodes/items/properties/scaling/properties/{name}")) {
        if let Some(part) = schema.pointer_mut(&place) {
            part["minimum"] = 0.into();
        }
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.shift_remove("$schema");
        schema.insert("patternProperties".into(), json!({"^node_def:.+$": schema_ref("Implementations")}));
    }
    schema
}

/// Of a document of node definitions.
fn definitions() -> Value {
    json!({
        "title": "Occopus node definitions",
        "type": "object",
        "additionalProperties": false,
        "patternProperties": {"^node_def:.+$": schema_ref("Implementations")},
    })
}

/// Of the definition of one type.
fn implementations() -> Value {
    let section = |what: &str| {
        json!({"type": "object", "required": ["type"], "description": what,
        "properties": {"type": {"type": "string", "description": "The keyword of a plugin."}}})
    };
    let more = "The rest is as the plugin says, whose schema is under /plugins.";
    json!({
        "title": "Implementations of a type of nodes",
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "required": ["resource"],
            "additionalProperties": false,
            "properties": {
                "resource": section(&format!("What the node runs on. {more}")),
                "contextualisation": section(&format!("What the node is told. {more}")),
                "config_management": section(&format!("What manages it. {more}")),
                "health_check": {"type": "object", "description": "When the node is well: by the keywords of health checkers."},
            },
        },
    })
}

fn schema_ref(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}
