//! Routes for the service itself: the caller's identity, the audit, metrics, liveness and readiness.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use occopus_api::{AuditPage, CallerIdentity, Health};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::common::QueryParams;
use crate::access::{Caller, Scope};
use crate::problem::ApiError;
use crate::state::Service;

/// Returns the identity of the caller.
#[utoipa::path(
    get, path = "/whoami", tag = "service",
    security(("token" = ["read"])),
    responses((status = 200, body = CallerIdentity)),
)]
pub(crate) async fn whoami(caller: Caller) -> Json<CallerIdentity> {
    let infrastructures = caller.infrastructures.map(|ids| ids.into_iter().collect());
    Json(CallerIdentity { name: caller.name, scope: caller.scope.to_string(), infrastructures })
}

/// A selection of audit entries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// Only entries after this one: `next` of the page before.
    #[param(value_type = Option<String>, format = "uuid")]
    after: Option<Uuid>,
    /// Maximum number of entries in a page; 100 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Returns a page of the audit: requests, their callers and outcomes.
#[utoipa::path(
    get, path = "/audit", tag = "service", params(AuditQuery),
    security(("token" = ["admin"])),
    responses((status = 200, body = AuditPage)),
)]
pub(crate) async fn audit(
    State(service): State<Service>,
    caller: Caller,
    QueryParams(query): QueryParams<AuditQuery>,
) -> Result<Json<AuditPage>, ApiError> {
    caller.authorize(Scope::Admin, None)?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(ApiError::bad_request("request.query", "`limit` must be from 1 to 1000"));
    }
    let after = query.after.map(|after| after.to_string());
    let mut entries = service.audit.read(after.as_deref(), limit + 1).await?;
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().map(|entry| entry.id.clone()).filter(|_| more);
    Ok(Json(AuditPage { entries, next }))
}

/// Returns metrics for Prometheus, in the OpenMetrics text format.
#[utoipa::path(
    get, path = "/metrics", tag = "service",
    security(("token" = ["read", "unlimited"])),
    responses(
        (status = 200, body = String, content_type = "application/openmetrics-text"),
    ),
)]
pub(crate) async fn metrics(State(service): State<Service>, caller: Caller) -> Result<Response, ApiError> {
    caller.authorize_all()?;
    let listed = service.engine.list().await?;
    service.metrics.set_infrastructures(listed.iter().map(|summary| summary.state));
    service.metrics.supervised.set(i64::try_from(service.supervisor.task_count()).unwrap_or(i64::MAX));
    let content_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(CONTENT_TYPE, content_type)], service.metrics.to_openmetrics()).into_response())
}

fn health(service: &Service) -> Json<Health> {
    Json(Health { status: "ok".into(), version: env!("CARGO_PKG_VERSION").into(), since: service.started })
}

/// Returns the liveness of the service.
#[utoipa::path(get, path = "/healthz", tag = "service", responses((status = 200, body = Health)), security(()))]
pub(crate) async fn healthz(State(service): State<Service>) -> Json<Health> {
    health(&service)
}

/// Returns the readiness of the service.
///
/// The service is ready while the store takes writes and no shutdown is in progress.
#[utoipa::path(
    get, path = "/readyz", tag = "service", security(()),
    responses((status = 200, body = Health)),
)]
pub(crate) async fn readyz(State(service): State<Service>) -> Result<Json<Health>, ApiError> {
    if service.feed.closing.is_cancelled() {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "service.closing", "the service is shutting down")
            .with_retry_after(5));
    }
    service.write_probe.check(&*service.store).await?;
    Ok(health(&service))
}
