//! `/docs`: the documentation of the REST API, rendered from its OpenAPI document.

use askama::Template;
use axum::response::Html;
use serde_json::Value;

use super::shell::Shell;

#[derive(Template)]
#[template(path = "api.html")]
struct Page {
    shell: Shell,
    groups: Vec<Group>,
    schemas: Vec<Schema>,
}

struct Group {
    name: String,
    about: String,
    operations: Vec<Operation>,
}

struct Operation {
    id: String,
    method: String,
    path: String,
    summary: String,
    parameters: Vec<Parameter>,
    body: Option<String>,
    responses: Vec<Response>,
}

struct Parameter {
    name: String,
    place: String,
    kind: String,
    about: String,
}

struct Response {
    status: String,
    about: String,
    contents: Vec<Content>,
}

struct Content {
    media: String,
    schema: Type,
}

/// A type in words, with the name of the schema that it refers to.
struct Type {
    text: String,
    schema: Option<String>,
}

struct Schema {
    name: String,
    about: String,
    values: Vec<String>,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    kind: Type,
    about: String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Returns a schema in a few words.
fn type_of(schema: &Value) -> Type {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return Type { text: name.to_owned(), schema: Some(name.to_owned()) };
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(choices) = schema[key].as_array() {
            let mut types: Vec<_> = choices.iter().map(type_of).collect();
            let schema = types.iter_mut().find_map(|one| one.schema.take());
            let text = types.into_iter().map(|one| one.text).collect::<Vec<_>>().join(" or ");
            return Type { text, schema };
        }
    }
    let plain = |text: String| Type { text, schema: None };
    match &schema["type"] {
        Value::String(name) if name == "array" => {
            let item = type_of(&schema["items"]);
            Type { text: format!("list of {}", item.text), schema: item.schema }
        }
        Value::String(name) if name == "object" && schema["additionalProperties"].is_object() => {
            let value = type_of(&schema["additionalProperties"]);
            Type { text: format!("{} by name", value.text), schema: value.schema }
        }
        Value::String(name) => plain(match schema["format"].as_str() {
            Some("date-time") => "time".to_owned(),
            _ => name.clone(),
        }),
        Value::Array(names) => plain(names.iter().map(text).collect::<Vec<_>>().join(" or ")),
        _ => plain("anything".to_owned()),
    }
}

fn operation(method: &str, path: &str, described: &Value) -> Operation {
    let parameters = described["parameters"].as_array().into_iter().flatten().map(|parameter| Parameter {
        name: text(&parameter["name"]),
        place: text(&parameter["in"]),
        kind: type_of(&parameter["schema"]).text,
        about: text(&parameter["description"]),
    });
    let responses = described["responses"].as_object().into_iter().flatten().map(|(status, response)| Response {
        status: status.clone(),
        about: text(&response["description"]),
        contents: response["content"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(media, content)| Content { media: media.clone(), schema: type_of(&content["schema"]) })
            .collect(),
    });
    let summary = [&described["summary"], &described["description"]].map(text).join(" ");
    Operation {
        id: format!("{method}-{}", path.trim_start_matches('/').replace(['/', '{', '}', '.'], "-")),
        method: method.to_uppercase(),
        path: path.to_owned(),
        summary: summary.trim().to_owned(),
        parameters: parameters.collect(),
        body: described["requestBody"].as_object().map(|body| text(&body["description"])),
        responses: responses.collect(),
    }
}

fn schema(name: &str, described: &Value) -> Schema {
    let fields = described["properties"].as_object().into_iter().flatten().map(|(name, field)| Field {
        name: name.clone(),
        kind: type_of(field),
        about: text(&field["description"]),
    });
    let choices = described["oneOf"].as_array().into_iter().flatten();
    let values = described["enum"].as_array().into_iter().flatten().chain(choices.filter_map(|one| one["enum"].get(0)));
    Schema {
        name: name.to_owned(),
        about: text(&described["description"]),
        values: values.map(text).collect(),
        fields: fields.collect(),
    }
}

/// Renders the documentation of an OpenAPI document.
pub(crate) fn page(document: &Value) -> Html<String> {
    let paths = document["paths"].as_object();
    let all = || {
        let operations = paths.into_iter().flatten().flat_map(|(path, methods)| {
            methods.as_object().into_iter().flatten().map(move |(method, described)| (path, method, described))
        });
        operations.filter(|(_, method, _)| ["get", "post", "put", "delete"].contains(&method.as_str()))
    };
    let groups = document["tags"].as_array().into_iter().flatten().map(|tag| Group {
        name: text(&tag["name"]),
        about: text(&tag["description"]),
        operations: all()
            .filter(|(_, _, described)| described["tags"][0] == tag["name"])
            .map(|(path, method, described)| operation(method, path, described))
            .collect(),
    });
    let schemas = document["components"]["schemas"].as_object().into_iter().flatten();
    let page = Page {
        shell: Shell::anonymous("API"),
        groups: groups.collect(),
        schemas: schemas.map(|(name, described)| schema(name, described)).collect(),
    };
    Html(page.render().unwrap_or_default())
}
