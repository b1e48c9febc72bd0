//! Infrastructures as a whole: listed, made, changed, removed.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, StatusCode};
use occopus_engine::{InfrastructureState, Owner, Plan, Rollout, Summary};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::common::{Accepted, LegacyAck, PathParams, PostedText, QueryParams, accepted};
use super::{Precondition, document};
use crate::access::{Caller, Scope};
use crate::operations::{NextWork, OperationState, Work};
use crate::problem::ApiError;
use crate::state::{Service, has_id_syntax, unknown_infrastructure};

/// How long a client is ready to wait: RFC 7240.
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// So long a removal is waited for, as the existing service does, when nothing else is preferred.
const DEFAULT_REMOVAL_WAIT: Duration = Duration::from_secs(60);
/// The longest that is waited for anything: requests have an end.
const MAX_WAIT: Duration = Duration::from_secs(100);

/// Which infrastructures are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only those in this state.
    state: Option<InfrastructureState>,
    /// Only those whose name has this in it.
    name: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Those after this place: `next` of the page before.
    #[param(pattern = "^[0-9a-f]{16}-[A-Za-z0-9._-]{1,64}$")]
    after: Option<String>,
}

/// The infrastructures.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct InfrastructureList {
    /// Their ids, under the key of the existing service.
    infrastuctures: Vec<String>,
    /// Their ids.
    infrastructures: Vec<String>,
    /// What is known of them.
    items: Vec<InfrastructureItem>,
    /// `after` of the next page, if there is one.
    next: Option<String>,
}

/// An infrastructure in a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct InfrastructureItem {
    /// Its id.
    id: String,
    /// `infra_name`.
    name: String,
    /// Where it stands.
    state: InfrastructureState,
    /// When it was first built.
    #[schema(value_type = String, format = DateTime)]
    created: jiff::Timestamp,
    /// Who works on it now.
    owner: Option<Owner>,
    /// It is left alone until it is resumed.
    suspended: bool,
    /// A service keeps it alive.
    attached: bool,
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
    QueryParams(wanted): QueryParams<ListQuery>,
) -> Result<Json<InfrastructureList>, ApiError> {
    caller.authorize(Scope::Read, None)?;
    if wanted.limit.is_some_and(|limit| !(1..=1000).contains(&limit)) {
        return Err(ApiError::bad_request("request.query", "`limit` must be from 1 to 1000"));
    }
    if wanted.after.as_deref().is_some_and(|after| !is_cursor(after)) {
        return Err(ApiError::bad_request("request.query", "`after` is not a place in this list")
            .with_help("it is `next` of another page"));
    }
    let attached: std::collections::HashSet<_> = service.ledger.attached().await?.into_iter().collect();
    // Before the others are read, so that one whose build ends meanwhile is among those.
    let promised = pending_builds(&service).await?;
    let mut all = service.engine.list().await?;
    let known: std::collections::HashSet<_> = all.iter().map(|one| one.id.clone()).collect();
    all.extend(promised.into_iter().filter(|one| !known.contains(&one.id)));
    all.retain(|one| {
        caller.can_see(&one.id)
            && wanted.state.is_none_or(|state| one.state == state)
            && wanted.name.as_ref().is_none_or(|name| one.name.contains(name.as_str()))
    });
    if let Some(after) = &wanted.after {
        all.retain(|one| cursor(one) > *after);
    }
    let more = wanted.limit.is_some_and(|limit| all.len() > limit);
    all.truncate(wanted.limit.unwrap_or(usize::MAX));
    let next = all.last().filter(|_| more).map(cursor);
    let ids: Vec<_> = all.iter().map(|one| one.id.clone()).collect();
    let items = all.into_iter().map(|one| {
        let Summary { id, name, state, created, owner, suspended } = one;
        InfrastructureItem { attached: attached.contains(&id), id, name, state, created, owner, suspended }
    });
    Ok(Json(InfrastructureList { infrastuctures: ids.clone(), infrastructures: ids, items: items.collect(), next }))
}

/// The place of an infrastructure in the list: the order of places is that of the list, also when it has gone since.
fn cursor(one: &Summary) -> String {
    let created = u64::try_from(one.created.as_nanosecond()).unwrap_or(0);
    format!("{created:016x}-{}", one.id)
}

/// Whether it may be a place in the list.
fn is_cursor(text: &str) -> bool {
    text.split_once('-').is_some_and(|(created, id)| {
        let is_hexadecimal = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        created.len() == 16 && created.bytes().all(is_hexadecimal) && has_id_syntax(id)
    })
}

/// Infrastructures that are going to be built. The engine may not have heard of them yet, but whoever was told their ids
/// looks for them.
async fn pending_builds(service: &Service) -> Result<Vec<Summary>, ApiError> {
    let mut promised = Vec::new();
    for id in service.ledger.unfinished().await? {
        if let NextWork::Operation(operation, work) = service.ledger.next(&id).await?
            && let Work::Build { infrastructure, .. } = *work
        {
            let (name, created) = (infrastructure.name, operation.requested);
            let state = InfrastructureState::Building;
            promised.push(Summary { id, name, state, created, owner: None, suspended: false });
        }
    }
    promised.sort_by_key(|one| one.created);
    Ok(promised)
}

/// Builds a new infrastructure from a description, and keeps it alive.
#[utoipa::path(
    post, path = "/infrastructures", operation_id = "create_infrastructure", tag = "infrastructures",
    security(("token" = ["operate"])),
    request_body(content = Value, content_type = "application/yaml", description = "The description, with its node definitions if they are not kept by the service"),
    responses(
        (status = 202, body = Accepted, headers(("location" = String, description = "Where to look what becomes of it"))),
    ),
)]
pub(crate) async fn create(
    State(service): State<Service>,
    caller: Caller,
    PostedText(text): PostedText,
) -> Result<Response, ApiError> {
    caller.authorize(Scope::Operate, None)?;
    let id = Uuid::new_v4().to_string();
    let checked = document::check(&service, &caller, None, text.clone()).await?;
    let work = Work::build(checked.infrastructure, text, false, Rollout::default());
    Ok(accepted(&service.submit(&id, work, &caller, &Precondition::none()).await?))
}

/// How an infrastructure is built or changed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BuildQuery {
    /// Only tell what would be done.
    #[serde(default)]
    dry_run: bool,
    /// Renew instances that work: `changed`, `dependents`, or both with a comma.
    #[param(pattern = "^(changed|dependents)(,(changed|dependents))?$")]
    replace: Option<String>,
    /// What is done with what was made when a node fails.
    on_failure: Option<FailureAction>,
}

/// After a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FailureAction {
    /// It is removed.
    Rollback,
    /// It is kept, to be looked at.
    Keep,
}

fn parse_replace(replace: Option<&str>) -> Result<Rollout, ApiError> {
    let mut renew = Rollout::default();
    for word in replace.into_iter().flat_map(|words| words.split(',')) {
        match word {
            "changed" => renew.changed = true,
            "dependents" => renew.dependents = true,
            _ => {
                return Err(ApiError::bad_request(
                    "request.query",
                    "`replace` is `changed`, `dependents`, or both with a comma",
                ));
            }
        }
    }
    Ok(renew)
}

/// Builds an infrastructure under this id, or changes it to what is described.
#[utoipa::path(
    put, path = "/infrastructures/{id}", operation_id = "put_infrastructure", tag = "infrastructures",
    security(("token" = ["operate"])),
    params(
        ("id" = String, Path, description = "The infrastructure's id"), BuildQuery,
        ("If-Match" = Option<String>, Header, description = "Only if the description has this tag"),
        ("If-None-Match" = Option<String>, Header, description = "With `*`: only if there is none"),
    ),
    request_body(content = Value, content_type = "application/yaml", description = "The description, with its node definitions if they are not kept by the service"),
    responses(
        (status = 200, body = Plan, description = "With `dry_run`: what would be done"),
        (status = 202, body = Accepted, headers(("location" = String, description = "Where to look what becomes of it"))),
    ),
)]
pub(crate) async fn put(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
    QueryParams(how): QueryParams<BuildQuery>,
    headers: HeaderMap,
    PostedText(text): PostedText,
) -> Result<Response, ApiError> {
    service.authorize(&caller, Scope::Operate, &id)?;
    let renew = parse_replace(how.replace.as_deref())?;
    let condition = Precondition::from_headers(&headers);
    // At once, and again in the moment of the promise.
    condition.check(&service, &id, service.ledger.pending_work(&id).await?.as_ref()).await?;
    let checked = document::check(&service, &caller, Some(&id), text.clone()).await?;
    if how.dry_run {
        return Ok(Json(service.engine.plan(Some(&id), &checked.infrastructure, renew).await?).into_response());
    }
    let work = Work::build(checked.infrastructure, text, how.on_failure == Some(FailureAction::Keep), renew);
    Ok(accepted(&service.submit(&id, work, &caller, &condition).await?))
}

/// How a plan is made.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PlanQuery {
    /// Renew instances that work: `changed`, `dependents`, or both with a comma.
    #[param(pattern = "^(changed|dependents)(,(changed|dependents))?$")]
    replace: Option<String>,
}

/// Tells what a PUT of this description would do. The infrastructure need not exist.
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
    QueryParams(how): QueryParams<PlanQuery>,
    PostedText(text): PostedText,
) -> Result<Json<Plan>, ApiError> {
    service.authorize(&caller, Scope::Read, &id)?;
    let renew = parse_replace(how.replace.as_deref())?;
    let checked = document::check(&service, &caller, Some(&id), text).await?;
    Ok(Json(service.engine.plan(Some(&id), &checked.infrastructure, renew).await?))
}

/// What is said of a description that can be deployed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ValidationReply {
    /// True: what is not valid is answered with 400.
    valid: bool,
    /// What is doubtful.
    #[schema(value_type = Vec<Object>)]
    warnings: Vec<Value>,
}

/// Checks a description, and does nothing.
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

/// Removes an infrastructure, and waits a while until it is gone.
#[utoipa::path(
    delete, path = "/infrastructures/{id}", operation_id = "delete_infrastructure", tag = "infrastructures",
    security(("token" = ["operate"])),
    params(
        ("id" = String, Path, description = "The infrastructure's id"),
        ("Prefer" = Option<String>, Header, description = "`wait=SECONDS`, or `respond-async`"),
    ),
    responses(
        (status = 200, body = LegacyAck, description = "Nothing is left of it"),
        (status = 202, body = Accepted, headers(("location" = String, description = "Where to look what becomes of it"))),
    ),
)]
pub(crate) async fn delete(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    service.authorize(&caller, Scope::Operate, &id)?;
    let patience = preferred_wait(&headers);
    // What is still to be built can be given up as well.
    if service.ledger.pending_operation(&id).await?.is_none() && !service.engine.exists(&id).await? {
        return Err(unknown_infrastructure(&id));
    }
    let operation = service.submit(&id, Work::Destroy, &caller, &Precondition::none()).await?;
    match service.wait_for_operation(&operation, patience).await? {
        Some(ended) if ended.state == OperationState::Failed => {
            let path = format!("/infrastructures/{id}/operations/{}", ended.id);
            let nothing = || ApiError::new(StatusCode::BAD_GATEWAY, "engine.left", "it could not be removed");
            let problem =
                ended.error.map_or_else(nothing, |details| ApiError::from_details(details, StatusCode::BAD_GATEWAY));
            Err(problem.with_help(format!("DELETE it again to try again; {path} has this answer, too")))
        }
        Some(ended) if ended.state == OperationState::Done => Ok(Json(LegacyAck { infraid: id }).into_response()),
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
