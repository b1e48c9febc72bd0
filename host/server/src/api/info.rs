//! Information keys of the Python service that disclose no secret.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use occopus_api::InfoReply;
use serde_json::json;

use super::common::{PathParams, QueryParams};
use super::status::{legacy_state, node_reports};
use crate::access::{Caller, Scope};
use crate::problem::ApiError;
use crate::state::Service;

/// Supported keys. The other keys of the Python service disclose credentials or contexts, or make the service connect
/// to any address.
pub(crate) const KEYS: [&str; 7] = [
    "infrastructure.finished_first_maintenance",
    "infrastructure.name",
    "infrastructure.node_instances",
    "infrastructure.started",
    "infrastructure.state",
    "node.address",
    "node.resource.state",
];

/// Returns the value of an information key of the Python service.
///
/// Only keys that disclose no secret are supported.
#[utoipa::path(
    get, path = "/info/{key}", operation_id = "get_info", tag = "service",
    security(("token" = ["read"])),
    params(
        ("key" = String, Path, description = "The information key"),
        ("infra_id" = String, Query, description = "The infrastructure's id"),
        ("name" = Option<String>, Query, description = "A node's name"),
        ("node_id" = Option<String>, Query, description = "An instance's id"),
    ),
    responses((status = 200, body = InfoReply)),
)]
pub(crate) async fn get(
    State(service): State<Service>,
    caller: Caller,
    PathParams(key): PathParams<String>,
    QueryParams(arguments): QueryParams<HashMap<String, String>>,
) -> Result<Json<InfoReply>, ApiError> {
    caller.authorize(Scope::Read, None)?;
    if !KEYS.contains(&key.as_str()) {
        let error = ApiError::not_found("info.unknown", format!("unknown key `{key}`"));
        return Err(error.with_help(format!("supported keys: {}", KEYS.join(", "))));
    }
    let missing =
        || ApiError::bad_request("info.argument", format!("the key `{key}` requires the argument `infra_id`"));
    let id = arguments.get("infra_id").ok_or_else(missing)?;
    let id = service.authorize(&caller, Scope::Read, id)?;
    let status = service.engine.status(&id, false).await?;
    let instances = || {
        let (name, instance) = (arguments.get("name"), arguments.get("node_id"));
        let nodes = status.nodes.iter().filter(move |node| name.is_none_or(|name| node.name == *name));
        nodes.flat_map(|node| &node.instances).filter(move |found| instance.is_none_or(|id| found.id == *id))
    };
    let none = || ApiError::not_found("info.nothing", "no instance matches, or it does not have this value yet");
    let result = match key.as_str() {
        "infrastructure.name" => json!(status.name),
        "infrastructure.started" => json!(status.nodes.iter().any(|node| !node.instances.is_empty())),
        "infrastructure.finished_first_maintenance" => {
            json!(status.state != occopus_engine::InfrastructureState::Building)
        }
        "node.address" => {
            json!(instances().find_map(|found| found.addresses.first()).ok_or_else(none)?.value)
        }
        "node.resource.state" => json!(legacy_state(instances().next().ok_or_else(none)?.state)),
        _ => json!(node_reports(&status)),
    };
    Ok(Json(InfoReply { result }))
}
