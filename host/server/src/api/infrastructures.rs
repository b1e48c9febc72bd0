//! Routes for whole infrastructures: list, create, change, plan, validate, delete.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, StatusCode};
use occopus_api::{
    Accepted, FailureAction, InfrastructureItem, InfrastructureList, LegacyAck, OperationState, ValidationReply,
};
use occopus_engine::{InfrastructureId, InfrastructureState, Plan, Rollout, Summary};
use serde::Deserialize;
use utoipa::IntoParams;

use super::common::{PathParams, PostedText, QueryParams, accepted};
use super::{Precondition, document};
use crate::access::{Caller, Scope};
use crate::operations::{NextWork, Work};
use crate::problem::ApiError;
use crate::state::{Service, unknown_infrastructure};

/// Header with the time for which a client is ready to wait: RFC 7240.
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Default wait for a removal when the request has no `Prefer`; matches the Python service.
const DEFAULT_REMOVAL_WAIT: Duration = Duration::from_secs(60);
/// Maximum wait for a removal, whatever `Prefer` says.
const MAX_WAIT: Duration = Duration::from_secs(100);

/// A selection of infrastructures.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only infrastructures in this state.
    state: Option<InfrastructureState>,
    /// Only infrastructures with this text in their names; case matters.
    name: Option<String>,
    /// Maximum number of infrastructures in a page; all by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Only infrastructures after this cursor: `next` of the page before.
    #[param(pattern = "^[0-9a-f]{16}-[A-Za-z0-9._-]{1,64}$")]
    after: Option<String>,
}

/// Lists the infrastructures, the oldest first.
#[utoipa::path(
    get, path = "/infrastructures", operation_id = "list_infrastructures", tag = "infrastructures", params(ListQuery),
    security(("token" = ["read"])),
    responses((status = 200, body = InfrastructureList)),
)]
pub(crate) async fn list(
    State(service): State<Service>,
    caller: Caller,
    QueryParams(query): QueryParams<ListQuery>,
) -> Result<Json<InfrastructureList>, ApiError> {
    caller.authorize(Scope::Read, None)?;
    if query.limit.is_some_and(|limit| !(1..=1000).contains(&limit)) {
        return Err(ApiError::bad_request("request.query", "`limit` must be from 1 to 1000"));
    }
    if query.after.as_deref().is_some_and(|after| !is_cursor(after)) {
        return Err(ApiError::bad_request("request.query", "`after` is not a valid cursor")
            .with_help("use `next` of the page before"));
    }
    let attached: std::collections::HashSet<_> = service.ledger.attached().await?.into_iter().collect();
    // Read before the list of the engine, so that a build that ends in between is in one of the two.
    let pending = pending_builds(&service).await?;
    let mut all = service.engine.list().await?;
    let listed: std::collections::HashSet<_> = all.iter().map(|one| one.id.clone()).collect();
    all.extend(pending.into_iter().filter(|one| !listed.contains(&one.id)));
    all.retain(|one| {
        caller.can_see(&one.id)
            && query.state.is_none_or(|state| one.state == state)
            && query.name.as_ref().is_none_or(|name| one.name.contains(name.as_str()))
    });
    if let Some(after) = &query.after {
        all.retain(|one| cursor(one) > *after);
    }
    let more = query.limit.is_some_and(|limit| all.len() > limit);
    all.truncate(query.limit.unwrap_or(usize::MAX));
    let next = all.last().filter(|_| more).map(cursor);
    let ids: Vec<_> = all.iter().map(|one| one.id.to_string()).collect();
    let items = all.into_iter().map(|one| {
        let is_attached = attached.contains(&one.id);
        InfrastructureItem::new(one, is_attached)
    });
    Ok(Json(InfrastructureList { infrastuctures: ids.clone(), infrastructures: ids, items: items.collect(), next }))
}

/// Returns the cursor of an infrastructure. Cursors are ordered as the list is, and stay valid after the infrastructure
/// is gone.
fn cursor(one: &Summary) -> String {
    let created = u64::try_from(one.created.as_nanosecond()).unwrap_or(0);
    format!("{created:016x}-{}", one.id)
}

/// Returns whether a text has the form of a cursor.
fn is_cursor(text: &str) -> bool {
    text.split_once('-').is_some_and(|(created, id)| {
        let is_hexadecimal = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        created.len() == 16 && created.bytes().all(is_hexadecimal) && id.parse::<InfrastructureId>().is_ok()
    })
}

/// Returns summaries of the infrastructures with a pending build, the oldest first. The engine may have no record of
/// them yet, but their ids have been sent to clients.
async fn pending_builds(service: &Service) -> Result<Vec<Summary>, ApiError> {
    let mut pending = Vec::new();
    for id in service.ledger.unfinished().await? {
        if let NextWork::Operation(operation, work) = service.ledger.next(&id).await?
            && let Work::Build { infrastructure, .. } = *work
        {
            let (name, created) = (infrastructure.name, operation.requested);
            let state = InfrastructureState::Building;
            pending.push(Summary { id, name, state, created, owner: None, suspended: false });
        }
    }
    pending.sort_by_key(|one| one.created);
    Ok(pending)
}

/// Builds a new infrastructure from a description, and maintains it.
#[utoipa::path(
    post, path = "/infrastructures", operation_id = "create_infrastructure", tag = "infrastructures",
    security(("token" = ["operate"])),
    request_body(content = Value, content_type = "application/yaml", description = "The description, with its node definitions if the service does not store them"),
    responses(
        (status = 202, body = Accepted, headers(("location" = String, description = "Path of the operation"))),
    ),
)]
pub(crate) async fn create(
    State(service): State<Service>,
    caller: Caller,
    PostedText(text): PostedText,
) -> Result<Response, ApiError> {
    caller.authorize(Scope::Operate, None)?;
    let id = InfrastructureId::generate();
    let checked = document::check(&service, &caller, None, text.clone()).await?;
    let work = Work::build(checked.infrastructure, text, false, Rollout::default());
    Ok(accepted(&service.submit(&id, work, &caller, &Precondition::none()).await?))
}

/// Options of a build.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BuildQuery {
    /// Return the plan, and do nothing.
    #[serde(default)]
    dry_run: bool,
    /// Replace ready instances: those that have drifted from the description (`changed`), those that know addresses
    /// that are gone (`dependents`), or both, separated by a comma.
    #[param(pattern = "^(changed|dependents)(,(changed|dependents))?$")]
    replace: Option<String>,
    /// Treatment of new machines when a node fails; `rollback` by default.
    on_failure: Option<FailureAction>,
}

fn parse_replace(replace: Option<&str>) -> Result<Rollout, ApiError> {
    let mut rollout = Rollout::default();
    for word in replace.into_iter().flat_map(|words| words.split(',')) {
        match word {
            "changed" => rollout.changed = true,
            "dependents" => rollout.dependents = true,
            _ => {
                return Err(ApiError::bad_request(
                    "request.query",
                    "`replace` must be `changed`, `dependents`, or both, separated by a comma",
                ));
            }
        }
    }
    Ok(rollout)
}

/// Builds an infrastructure under this id, or changes it to match the description.
#[utoipa::path(
    put, path = "/infrastructures/{id}", operation_id = "put_infrastructure", tag = "infrastructures",
    security(("token" = ["operate"])),
    params(
        ("id" = String, Path, description = "The infrastructure's id"), BuildQuery,
        ("If-Match" = Option<String>, Header, description = "Fail unless the current description has this tag"),
        ("If-None-Match" = Option<String>, Header, description = "With `*`: fail if the infrastructure exists"),
    ),
    request_body(content = Value, content_type = "application/yaml", description = "The description, with its node definitions if the service does not store them"),
    responses(
        (status = 200, body = Plan, description = "With `dry_run`: the plan"),
        (status = 202, body = Accepted, headers(("location" = String, description = "Path of the operation"))),
    ),
)]
pub(crate) async fn put(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
    QueryParams(query): QueryParams<BuildQuery>,
    headers: HeaderMap,
    PostedText(text): PostedText,
) -> Result<Response, ApiError> {
    let id = service.authorize(&caller, Scope::Operate, &id)?;
    let rollout = parse_replace(query.replace.as_deref())?;
    let precondition = Precondition::from_headers(&headers);
    // Checked before the expensive work, and again in the transaction that accepts the request.
    precondition.check(&service, &id, service.ledger.pending_work(&id).await?.as_ref()).await?;
    let checked = document::check(&service, &caller, Some(&id), text.clone()).await?;
    if query.dry_run {
        return Ok(Json(service.engine.plan(Some(&id), &checked.infrastructure, rollout).await?).into_response());
    }
    let work = Work::build(checked.infrastructure, text, query.on_failure == Some(FailureAction::Keep), rollout);
    Ok(accepted(&service.submit(&id, work, &caller, &precondition).await?))
}

/// Options of a plan.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PlanQuery {
    /// Replace ready instances: those that have drifted from the description (`changed`), those that know addresses
    /// that are gone (`dependents`), or both, separated by a comma.
    #[param(pattern = "^(changed|dependents)(,(changed|dependents))?$")]
    replace: Option<String>,
}

/// Returns the plan of a PUT of this description.
///
/// The infrastructure need not exist.
#[utoipa::path(
    post, path = "/infrastructures/{id}/plan", tag = "infrastructures",
    security(("token" = ["read"])),
    params(("id" = String, Path, description = "The infrastructure's id"), PlanQuery),
    request_body(content = Value, content_type = "application/yaml", description = "The description"),
    responses(
        (status = 200, body = Plan),
    ),
)]
pub(crate) async fn plan(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
    QueryParams(query): QueryParams<PlanQuery>,
    PostedText(text): PostedText,
) -> Result<Json<Plan>, ApiError> {
    let id = service.authorize(&caller, Scope::Read, &id)?;
    let rollout = parse_replace(query.replace.as_deref())?;
    let checked = document::check(&service, &caller, Some(&id), text).await?;
    Ok(Json(service.engine.plan(Some(&id), &checked.infrastructure, rollout).await?))
}

/// Validates a description, and changes nothing.
#[utoipa::path(
    post, path = "/validate", tag = "infrastructures",
    security(("token" = ["read"])),
    request_body(content = Value, content_type = "application/yaml", description = "The description"),
    responses(
        (status = 200, body = ValidationReply),
    ),
)]
pub(crate) async fn validate(
    State(service): State<Service>,
    caller: Caller,
    PostedText(text): PostedText,
) -> Result<Json<ValidationReply>, ApiError> {
    caller.authorize(Scope::Read, None)?;
    let checked = document::check(&service, &caller, None, text).await?;
    Ok(Json(ValidationReply { valid: true, warnings: document::warnings(&checked) }))
}

/// Destroys an infrastructure, and waits until all its machines are gone.
///
/// Waits for 60 seconds unless `Prefer` says otherwise, 100 at most; then the answer is 202, and the removal goes on.
#[utoipa::path(
    delete, path = "/infrastructures/{id}", operation_id = "delete_infrastructure", tag = "infrastructures",
    security(("token" = ["operate"])),
    params(
        ("id" = String, Path, description = "The infrastructure's id"),
        ("Prefer" = Option<String>, Header, description = "`wait=SECONDS`, or `respond-async`"),
    ),
    responses(
        (status = 200, body = LegacyAck, description = "All machines are gone"),
        (status = 202, body = Accepted, headers(("location" = String, description = "Path of the operation"))),
    ),
)]
pub(crate) async fn delete(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = service.authorize(&caller, Scope::Operate, &id)?;
    let max_wait = preferred_wait(&headers);
    // A pending build can be destroyed as well.
    if service.ledger.pending_operation(&id).await?.is_none() && !service.engine.exists(&id).await? {
        return Err(unknown_infrastructure(&id));
    }
    let operation = service.submit(&id, Work::Destroy, &caller, &Precondition::none()).await?;
    match service.wait_for_operation(&operation, max_wait).await? {
        Some(ended) if ended.state == OperationState::Failed => {
            let path = format!("/infrastructures/{id}/operations/{}", ended.id);
            let without_details = || {
                let text = format!("infrastructure {id} could not be destroyed");
                ApiError::new(StatusCode::BAD_GATEWAY, "engine.left", text)
            };
            let error = ended
                .error
                .map_or_else(without_details, |details| ApiError::from_details(details, StatusCode::BAD_GATEWAY));
            Err(error.with_help(format!("DELETE it again to retry; {path} keeps this error")))
        }
        Some(ended) if ended.state == OperationState::Done => {
            Ok(Json(LegacyAck { infraid: id.into() }).into_response())
        }
        _ => Ok(accepted(&operation)),
    }
}

fn preferred_wait(headers: &HeaderMap) -> Duration {
    let preferences = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    for preference in preferences.flat_map(|value| value.split(',')).map(str::trim) {
        if preference.eq_ignore_ascii_case("respond-async") {
            return Duration::ZERO;
        }
        if let Some(seconds) = preference.strip_prefix("wait=").and_then(|seconds| seconds.parse().ok()) {
            return Duration::from_secs(seconds).min(MAX_WAIT);
        }
    }
    DEFAULT_REMOVAL_WAIT
}
