//! Routes for the status of one infrastructure: its nodes, full status, cost and graph.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use indexmap::IndexMap;
use occopus_api::{InstanceReport, NodeReport, ScalingReport};
use occopus_engine::{InstanceState, InstanceStatus, Status};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::common::{PathParams, QueryParams, cached_json};
use crate::access::{Caller, Scope};
use crate::problem::ApiError;
use crate::state::Service;

/// Returns the nodes that have instances, by their names.
pub(crate) fn node_reports(status: &Status) -> IndexMap<String, NodeReport> {
    let nodes = status.nodes.iter().filter(|node| !node.instances.is_empty());
    nodes
        .map(|node| {
            let instances = node.instances.iter().map(|instance| (instance.id.clone(), instance_report(instance)));
            let (actual, target, min, max) = (node.instances.len(), node.target, node.min, node.max);
            let scaling = ScalingReport { actual, target, min, max };
            (node.name.clone(), NodeReport { instances: instances.collect(), scaling })
        })
        .collect()
}

fn instance_report(instance: &InstanceStatus) -> InstanceReport {
    let resource_address = match instance.addresses.as_slice() {
        [] => Value::Null,
        [one] => Value::from(one.value.clone()),
        several => several.iter().map(|address| address.value.clone()).collect(),
    };
    InstanceReport { resource_address, state: legacy_state(instance.state).to_owned() }
}

/// Returns the word of the Python service for a state.
pub(crate) fn legacy_state(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Ready => "ready",
        InstanceState::Creating | InstanceState::Pending | InstanceState::Running | InstanceState::Unhealthy => {
            "pending"
        }
        InstanceState::UnknownOutcome => "unknown",
        InstanceState::Failed | InstanceState::Stopped | InstanceState::Vanished => "failed",
        InstanceState::Destroying => "shutdown",
    }
}

/// Returns the nodes that have instances, in the form of the Python service.
#[utoipa::path(
    get, path = "/infrastructures/{id}", tag = "infrastructures",
    security(("token" = ["read"])),
    params(
        ("id" = String, Path, description = "The infrastructure's id"),
        ("If-None-Match" = Option<String>, Header, description = "Tag of the copy that the client has"),
    ),
    responses(
        (status = 200, body = std::collections::HashMap<String, NodeReport>, headers(("etag" = String, description = "Tag of this state"))),
        (status = 304, description = "Nothing has changed"),
    ),
)]
pub(crate) async fn nodes(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = service.authorize(&caller, Scope::Read, &id)?;
    let topic = match service.feed.existing_topic(&id) {
        Some(topic) => topic,
        None if !service.engine.exists(&id).await? => {
            return Ok(Json(node_reports(&service.status(&id).await?)).into_response());
        }
        None => service.feed.topic(&id),
    };
    cached_json(&topic, "nodes", &headers, async || Ok(node_reports(&service.engine.status(&id, false).await?))).await
}

/// Options of a status request.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatusQuery {
    /// Observe the machines first, unless a process maintains the infrastructure, which observes them anyway.
    #[serde(default)]
    refresh: bool,
}

/// Returns the full status of an infrastructure.
#[utoipa::path(
    get, path = "/infrastructures/{id}/status", tag = "infrastructures",
    security(("token" = ["read"])),
    params(
        ("id" = String, Path, description = "The infrastructure's id"), StatusQuery,
        ("If-None-Match" = Option<String>, Header, description = "Tag of the copy that the client has"),
    ),
    responses(
        (status = 200, body = Status, headers(("etag" = String, description = "Tag of this state"))),
        (status = 304, description = "Nothing has changed"),
    ),
)]
pub(crate) async fn status(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
    QueryParams(query): QueryParams<StatusQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = service.authorize(&caller, Scope::Read, &id)?;
    if query.refresh {
        service.occopus.credentials().await?;
        return Ok(Json(service.engine.status(&id, true).await?).into_response());
    }
    if !service.engine.exists(&id).await? {
        return Ok(Json(service.status(&id).await?).into_response());
    }
    let topic = service.feed.topic(&id);
    cached_json(&topic, "status", &headers, async || Ok(service.engine.status(&id, false).await?)).await
}

/// Returns the cost of an infrastructure, in the form of the Python service: always 0, since no driver reports costs.
#[utoipa::path(
    get, path = "/infrastructures/{id}/cost", tag = "infrastructures",
    security(("token" = ["read"])),
    params(("id" = String, Path, description = "The infrastructure's id")),
    responses(
        (status = 200, body = std::collections::HashMap<String, Value>),
    ),
)]
pub(crate) async fn cost(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
) -> Result<Json<IndexMap<String, Value>>, ApiError> {
    let id = service.authorize(&caller, Scope::Read, &id)?;
    let status = service.status(&id).await?;
    let mut costs = IndexMap::from([("totalcost".to_owned(), Value::from(0))]);
    for node in status.nodes.iter().filter(|node| !node.instances.is_empty()) {
        let instances = node.instances.iter().map(|instance| (instance.id.clone(), Value::from(0)));
        costs.entry(node.name.clone()).or_insert(Value::Object(instances.collect()));
    }
    Ok(Json(costs))
}

/// Returns the graph of the nodes with their states, as SVG.
#[utoipa::path(
    get, path = "/infrastructures/{id}/graph.svg", tag = "infrastructures",
    security(("token" = ["read"])),
    params(("id" = String, Path, description = "The infrastructure's id")),
    responses(
        (status = 200, body = String, content_type = "image/svg+xml"),
    ),
)]
pub(crate) async fn graph(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
) -> Result<Response, ApiError> {
    let id = service.authorize(&caller, Scope::Read, &id)?;
    let drawing = service
        .render_graph(&caller, &id)
        .await?
        .map_err(|error| ApiError::new(http::StatusCode::UNPROCESSABLE_ENTITY, "graph.too-large", error.to_string()))?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("image/svg+xml"))], drawing).into_response())
}
