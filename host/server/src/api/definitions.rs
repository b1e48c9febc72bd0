//! Node definitions that the service keeps, for descriptions that don't carry their own.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::common::{Place, Text};
use crate::access::{Caller, Scope};
use crate::problem::Problem;
use crate::problem::without_folder;
use crate::state::Service;

/// A type in a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Kept {
    /// The type.
    #[serde(rename = "type")]
    node_type: String,
    /// How many implementations it has.
    implementations: usize,
    /// Where each came from.
    origins: Vec<String>,
}

/// All types.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Definitions {
    /// By name.
    definitions: Vec<Kept>,
}

/// What was taken in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Imported {
    /// The types.
    imported: Vec<String>,
}

/// The types of nodes that the service knows.
#[utoipa::path(
    get, path = "/definitions", operation_id = "list_definitions", tag = "definitions",
    security(("token" = ["operate"])),
    responses((status = 200, body = Definitions)),
)]
pub(crate) async fn list(State(service): State<Service>, caller: Caller) -> Result<Json<Definitions>, Problem> {
    caller.may(Scope::Operate, None)?;
    let all = service.engine.definitions().await?;
    let kept = all.into_iter().map(|(node_type, found)| Kept {
        node_type,
        implementations: found.len(),
        origins: found.into_iter().map(|implementation| without_folder(&implementation.origin).to_owned()).collect(),
    });
    Ok(Json(Definitions { definitions: kept.collect() }))
}

/// Keeps node definitions: a document as `occopus import` reads it, but for import tags. Replaces those of the same types.
#[utoipa::path(
    post, path = "/definitions", operation_id = "import_definitions", tag = "definitions",
    security(("token" = ["admin"])),
    request_body(content = Value, content_type = "application/yaml", description = "Node definitions"),
    responses(
        (status = 200, body = Imported),
    ),
)]
pub(crate) async fn import(
    State(service): State<Service>,
    caller: Caller,
    Text(text): Text,
) -> Result<Json<Imported>, Problem> {
    caller.may(Scope::Admin, None)?;
    let (types, _) = service.occopus.read_definitions_document("definitions", text).await?;
    service.engine.save_definitions(&types).await?;
    Ok(Json(Imported { imported: types.into_keys().collect() }))
}

fn unknown(node_type: &str) -> Problem {
    Problem::unknown("type.unknown", format!("no definition of `{node_type}` is kept"))
}

/// The implementations of a type, as they can be posted again.
#[utoipa::path(
    get, path = "/definitions/{type}", operation_id = "get_definition", tag = "definitions",
    security(("token" = ["operate"])),
    params(("type" = String, Path, description = "The type")),
    responses(
        (status = 200, body = std::collections::HashMap<String, Vec<Value>>),
    ),
)]
pub(crate) async fn get(
    State(service): State<Service>,
    caller: Caller,
    Place(node_type): Place<String>,
) -> Result<Json<Value>, Problem> {
    caller.may(Scope::Operate, None)?;
    let all = service.engine.definitions().await?;
    let found = all.get(&node_type).cloned().ok_or_else(|| unknown(&node_type))?;
    Ok(Json(occopus_model::document_of_definitions(&IndexMap::from([(node_type, found)]))))
}

/// Keeps the implementations of a type.
#[utoipa::path(
    put, path = "/definitions/{type}", operation_id = "put_definition", tag = "definitions",
    security(("token" = ["admin"])),
    params(("type" = String, Path, description = "The type")),
    request_body(content = Value, content_type = "application/yaml", description = "The list of its implementations"),
    responses(
        (status = 200, body = Imported),
    ),
)]
pub(crate) async fn put(
    State(service): State<Service>,
    caller: Caller,
    Place(node_type): Place<String>,
    Text(text): Text,
) -> Result<Json<Imported>, Problem> {
    caller.may(Scope::Admin, None)?;
    let (implementations, _) = service.occopus.read_definition_document(&node_type, text).await?;
    service.engine.save_definitions(&IndexMap::from([(node_type.clone(), implementations)])).await?;
    Ok(Json(Imported { imported: vec![node_type] }))
}

/// Forgets a type. What is deployed keeps its own copy.
#[utoipa::path(
    delete, path = "/definitions/{type}", operation_id = "delete_definition", tag = "definitions",
    security(("token" = ["admin"])),
    params(("type" = String, Path, description = "The type")),
    responses((status = 204)),
)]
pub(crate) async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Place(node_type): Place<String>,
) -> Result<StatusCode, Problem> {
    caller.may(Scope::Admin, None)?;
    if service.engine.remove_definitions(&node_type).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(unknown(&node_type))
    }
}
