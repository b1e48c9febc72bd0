//! The service itself.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::common::QueryParams;
use crate::access::{Caller, Scope};
use crate::audit::AuditEntry;
use crate::metrics::StateLabels;
use crate::problem::ApiError;
use crate::state::Service;

/// Whoever asks.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct CallerIdentity {
    /// The name of the token.
    name: String,
    /// `read`, `operate` or `admin`.
    scope: String,
    /// The infrastructures that it is for; null: all.
    infrastructures: Option<Vec<String>>,
}

/// Tells who one is to the service.
#[utoipa::path(
    get, path = "/whoami", tag = "service",
    security(("token" = ["read"])),
    responses((status = 200, body = CallerIdentity)),
)]
pub(crate) async fn whoami(caller: Caller) -> Json<CallerIdentity> {
    let infrastructures = caller.infrastructures.map(|ids| ids.into_iter().collect());
    Json(CallerIdentity { name: caller.name, scope: caller.scope.to_string(), infrastructures })
}

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// Those after this one: `next` of the page before.
    #[param(value_type = Option<String>, format = "uuid")]
    after: Option<Uuid>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// A page of the audit.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct AuditPage {
    /// The oldest first.
    entries: Vec<AuditEntry>,
    /// `after` of the next page, if there is one.
    next: Option<String>,
}

/// Who did what.
#[utoipa::path(
    get, path = "/audit", tag = "service", params(AuditQuery),
    security(("token" = ["admin"])),
    responses((status = 200, body = AuditPage)),
)]
pub(crate) async fn audit(
    State(service): State<Service>,
    caller: Caller,
    QueryParams(wanted): QueryParams<AuditQuery>,
) -> Result<Json<AuditPage>, ApiError> {
    caller.authorize(Scope::Admin, None)?;
    let limit = wanted.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(ApiError::bad_request("request.query", "`limit` must be from 1 to 1000"));
    }
    let after = wanted.after.map(|after| after.to_string());
    let mut entries = service.audit.read(after.as_deref(), limit + 1).await?;
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().map(|entry| entry.id.clone()).filter(|_| more);
    Ok(Json(AuditPage { entries, next }))
}

/// Figures for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "service",
    security(("token" = ["read", "unlimited"])),
    responses(
        (status = 200, body = String, content_type = "application/openmetrics-text"),
    ),
)]
pub(crate) async fn metrics(State(service): State<Service>, caller: Caller) -> Result<Response, ApiError> {
    caller.authorize_all()?;
    let mut states: HashMap<String, i64> = HashMap::new();
    for one in service.engine.list().await? {
        *states.entry(one.state.to_string()).or_default() += 1;
    }
    for state in ["building", "ready", "degraded", "held", "destroying"] {
        let number = states.get(state).copied().unwrap_or(0);
        service.metrics.infrastructures.get_or_create(&StateLabels { state: state.to_owned() }).set(number);
    }
    service.metrics.supervised.set(i64::try_from(service.supervisor.task_count()).unwrap_or(i64::MAX));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(CONTENT_TYPE, kind)], service.metrics.to_openmetrics()).into_response())
}

/// How the service is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`.
    status: String,
    /// Of the service.
    version: String,
    /// Since when it runs.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

fn health(service: &Service) -> Json<Health> {
    Json(Health { status: "ok".into(), version: env!("CARGO_PKG_VERSION").into(), since: service.started })
}

/// Whether the service lives.
#[utoipa::path(get, path = "/healthz", tag = "service", responses((status = 200, body = Health)), security(()))]
pub(crate) async fn healthz(State(service): State<Service>) -> Json<Health> {
    health(&service)
}

/// Whether the service can do its work: the store takes writes, and it does not end.
#[utoipa::path(
    get, path = "/readyz", tag = "service", security(()),
    responses((status = 200, body = Health)),
)]
pub(crate) async fn readyz(State(service): State<Service>) -> Result<Json<Health>, ApiError> {
    if service.feed.closing.is_cancelled() {
        return Err(
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "service.closing", "the service ends").with_retry_after(5)
        );
    }
    service.write_probe.check(&*service.store).await?;
    Ok(health(&service))
}
