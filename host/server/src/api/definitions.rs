//! Routes for the stored node definitions, which serve descriptions that do not carry their own.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use indexmap::IndexMap;
use occopus_api::{DefinitionItem, DefinitionList, ImportReply};
use serde_json::Value;

use super::common::{PathParams, PostedText};
use crate::access::{Caller, Scope};
use crate::problem::ApiError;
use crate::problem::file_name;
use crate::state::Service;

/// Lists the stored node types.
#[utoipa::path(
    get, path = "/definitions", operation_id = "list_definitions", tag = "definitions",
    security(("token" = ["operate"])),
    responses((status = 200, body = DefinitionList)),
)]
pub(crate) async fn list(State(service): State<Service>, caller: Caller) -> Result<Json<DefinitionList>, ApiError> {
    caller.authorize(Scope::Operate, None)?;
    let all = service.engine.definitions().await?;
    let stored = all.into_iter().map(|(node_type, found)| DefinitionItem {
        node_type,
        implementations: found.len(),
        origins: found.into_iter().map(|implementation| file_name(&implementation.origin).to_owned()).collect(),
    });
    Ok(Json(DefinitionList { definitions: stored.collect() }))
}

/// Imports node definitions.
///
/// The document has the form that `occopus import` reads, without import tags. Definitions of the same types are
/// replaced.
#[utoipa::path(
    post, path = "/definitions", operation_id = "import_definitions", tag = "definitions",
    security(("token" = ["admin"])),
    request_body(content = Value, content_type = "application/yaml", description = "Node definitions"),
    responses(
        (status = 200, body = ImportReply),
    ),
)]
pub(crate) async fn import(
    State(service): State<Service>,
    caller: Caller,
    PostedText(text): PostedText,
) -> Result<Json<ImportReply>, ApiError> {
    caller.authorize(Scope::Admin, None)?;
    let (types, _) = service.occopus.read_definitions_document("definitions", text).await?;
    service.engine.save_definitions(&types).await?;
    Ok(Json(ImportReply { imported: types.into_keys().collect() }))
}

fn unknown_type(node_type: &str) -> ApiError {
    ApiError::not_found("type.unknown", format!("no definition of node type `{node_type}` is stored"))
}

/// Returns the implementations of a type, in the form in which they can be posted.
#[utoipa::path(
    get, path = "/definitions/{type}", operation_id = "get_definition", tag = "definitions",
    security(("token" = ["operate"])),
    params(("type" = String, Path, description = "The name of the type")),
    responses(
        (status = 200, body = std::collections::HashMap<String, Vec<Value>>),
    ),
)]
pub(crate) async fn get(
    State(service): State<Service>,
    caller: Caller,
    PathParams(node_type): PathParams<String>,
) -> Result<Json<Value>, ApiError> {
    caller.authorize(Scope::Operate, None)?;
    let all = service.engine.definitions().await?;
    let found = all.get(&node_type).cloned().ok_or_else(|| unknown_type(&node_type))?;
    Ok(Json(occopus_model::document_of_definitions(&IndexMap::from([(node_type, found)]))))
}

/// Stores the implementations of a type, and replaces the earlier ones.
#[utoipa::path(
    put, path = "/definitions/{type}", operation_id = "put_definition", tag = "definitions",
    security(("token" = ["admin"])),
    params(("type" = String, Path, description = "The name of the type")),
    request_body(content = Value, content_type = "application/yaml", description = "The list of its implementations"),
    responses(
        (status = 200, body = ImportReply),
    ),
)]
pub(crate) async fn put(
    State(service): State<Service>,
    caller: Caller,
    PathParams(node_type): PathParams<String>,
    PostedText(text): PostedText,
) -> Result<Json<ImportReply>, ApiError> {
    caller.authorize(Scope::Admin, None)?;
    let (implementations, _) = service.occopus.read_definition_document(&node_type, text).await?;
    service.engine.save_definitions(&IndexMap::from([(node_type.clone(), implementations)])).await?;
    Ok(Json(ImportReply { imported: vec![node_type] }))
}

/// Removes a stored type.
///
/// Deployed infrastructures keep their own copies.
#[utoipa::path(
    delete, path = "/definitions/{type}", operation_id = "delete_definition", tag = "definitions",
    security(("token" = ["admin"])),
    params(("type" = String, Path, description = "The name of the type")),
    responses((status = 204)),
)]
pub(crate) async fn delete(
    State(service): State<Service>,
    caller: Caller,
    PathParams(node_type): PathParams<String>,
) -> Result<StatusCode, ApiError> {
    caller.authorize(Scope::Admin, None)?;
    if service.engine.remove_definitions(&node_type).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(unknown_type(&node_type))
    }
}
