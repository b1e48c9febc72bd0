//! Infrastructures as a whole: listed, made, changed, removed.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, StatusCode};
use occopus_engine::{InfrastructureState, Owner, Plan, Renew, Summary};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::common::{Accepted, Asked, Done, Place, Text, accepted};
use super::{Condition, document};
use crate::access::{Caller, Scope};
use crate::operations::{Next, Progress, Work};
use crate::problem::Problem;
use crate::state::{Service, is_like_id, unknown};

/// How long a client is ready to wait: RFC 7240.
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// So long a removal is waited for, as the existing service does, when nothing else is preferred.
const USUAL_WAIT: Duration = Duration::from_secs(60);
/// The longest that is waited for anything: requests have an end.
const LONGEST_WAIT: Duration = Duration::from_secs(100);

/// Which infrastructures are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
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
pub(crate) struct Listed {
    /// Their ids, under the key of the existing service.
    infrastuctures: Vec<String>,
    /// Their ids.
    infrastructures: Vec<String>,
    /// What is known of them.
    items: Vec<Item>,
    /// `after` of the next page, if there is one.
    next: Option<String>,
}

/// An infrastructure in a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Item {
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
    get, path = "/infrastructures", operation_id = "list_infrastructures", tag = "infrastructures", params(Wanted),
    security(("token" = ["read"])),
    responses((status = 200, body = Listed)),
)]
pub(crate) async fn list(
    State(service): State<Service>,
    caller: Caller,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<Listed>, Problem> {
    caller.may(Scope::Read, None)?;
    if wanted.limit.is_some_and(|limit| !(1..=1000).contains(&limit)) {
        return Err(Problem::bad("request.query", "`limit` must be from 1 to 1000"));
    }
    if wanted.after.as_deref().is_some_and(|after| !is_cursor(after)) {
        return Err(
            Problem::bad("request.query", "`after` is not a place in this list").help("it is `next` of another page")
        );
    }
    let attached: std::collections::HashSet<_> = service.ledger.attached().await?.into_iter().collect();
    // Before the others are read, so that one whose build ends meanwhile is among those.
    let promised = about_to_be_built(&service).await?;
    let mut all = service.engine.list().await?;
    let known: std::collections::HashSet<_> = all.iter().map(|one| one.id.clone()).collect();
    all.extend(promised.into_iter().filter(|one| !known.contains(&one.id)));
    all.retain(|one| {
        caller.sees(&one.id)
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
        Item { attached: attached.contains(&id), id, name, state, created, owner, suspended }
    });
    Ok(Json(Listed { infrastuctures: ids.clone(), infrastructures: ids, items: items.collect(), next }))
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
        created.len() == 16 && created.bytes().all(is_hexadecimal) && is_like_id(id)
    })
}

/// Infrastructures that are going to be built. The engine may not have heard of them yet, but whoever was told their ids
/// looks for them.
async fn about_to_be_built(service: &Service) -> Result<Vec<Summary>, Problem> {
    let mut promised = Vec::new();
    for id in service.ledger.unfinished().await? {
        if let Next::Operation(operation, work) = service.ledger.next(&id).await?
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
    Text(text): Text,
) -> Result<Response, Problem> {
    caller.may(Scope::Operate, None)?;
    let id = Uuid::new_v4().to_string();
    let checked = document::check(&service, &caller, None, text.clone()).await?;
    let work = Work::build(checked.infrastructure, text, false, Renew::default());
    Ok(accepted(&service.submit(&id, work, &caller, &Condition::none()).await?))
}

/// How an infrastructure is built or changed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct How {
    /// Only tell what would be done.
    #[serde(default)]
    dry_run: bool,
    /// Renew instances that work: `changed`, `dependents`, or both with a comma.
    #[param(pattern = "^(changed|dependents)(,(changed|dependents))?$")]
    replace: Option<String>,
    /// What is done with what was made when a node fails.
    on_failure: Option<OnFailure>,
}

/// After a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnFailure {
    /// It is removed.
    Rollback,
    /// It is kept, to be looked at.
    Keep,
}

fn renew(replace: Option<&str>) -> Result<Renew, Problem> {
    let mut renew = Renew::default();
    for word in replace.into_iter().flat_map(|words| words.split(',')) {
        match word {
            "changed" => renew.changed = true,
            "dependents" => renew.dependents = true,
            _ => {
                return Err(Problem::bad(
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
        ("id" = String, Path, description = "The infrastructure's id"), How,
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
    Place(id): Place<String>,
    Asked(how): Asked<How>,
    headers: HeaderMap,
    Text(text): Text,
) -> Result<Response, Problem> {
    service.allow(&caller, Scope::Operate, &id)?;
    let renew = renew(how.replace.as_deref())?;
    let condition = Condition::of(&headers);
    // At once, and again in the moment of the promise.
    condition.check(&service, &id, service.ledger.work(&id).await?.as_ref()).await?;
    let checked = document::check(&service, &caller, Some(&id), text.clone()).await?;
    if how.dry_run {
        return Ok(Json(service.engine.plan(Some(&id), &checked.infrastructure, renew).await?).into_response());
    }
    let work = Work::build(checked.infrastructure, text, how.on_failure == Some(OnFailure::Keep), renew);
    Ok(accepted(&service.submit(&id, work, &caller, &condition).await?))
}

/// How a plan is made.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Replacing {
    /// Renew instances that work: `changed`, `dependents`, or both with a comma.
    #[param(pattern = "^(changed|dependents)(,(changed|dependents))?$")]
    replace: Option<String>,
}

/// Tells what a PUT of this description would do. The infrastructure need not exist.
#[utoipa::path(
    post, path = "/infrastructures/{id}/plan", tag = "infrastructures",
    security(("token" = ["read"])),
    params(("id" = String, Path, description = "The infrastructure's id"), Replacing),
    request_body(content = Value, content_type = "application/yaml", description = "The description"),
    responses(
        (status = 200, body = Plan),
    ),
)]
pub(crate) async fn plan(
    State(service): State<Service>,
    caller: Caller,
    Place(id): Place<String>,
    Asked(how): Asked<Replacing>,
    Text(text): Text,
) -> Result<Json<Plan>, Problem> {
    service.allow(&caller, Scope::Read, &id)?;
    let renew = renew(how.replace.as_deref())?;
    let checked = document::check(&service, &caller, Some(&id), text).await?;
    Ok(Json(service.engine.plan(Some(&id), &checked.infrastructure, renew).await?))
}

/// What is said of a description that can be deployed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Valid {
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
        (status = 200, body = Valid),
    ),
)]
pub(crate) async fn validate(
    State(service): State<Service>,
    caller: Caller,
    Text(text): Text,
) -> Result<Json<Valid>, Problem> {
    caller.may(Scope::Read, None)?;
    let checked = document::check(&service, &caller, None, text).await?;
    Ok(Json(Valid { valid: true, warnings: document::warnings(&checked) }))
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
        (status = 200, body = Done, description = "Nothing is left of it"),
        (status = 202, body = Accepted, headers(("location" = String, description = "Where to look what becomes of it"))),
    ),
)]
pub(crate) async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Place(id): Place<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    service.allow(&caller, Scope::Operate, &id)?;
    let patience = patience(&headers);
    // What is still to be built can be given up as well.
    if service.ledger.pending(&id).await?.is_none() && !service.engine.exists(&id).await? {
        return Err(unknown(&id));
    }
    let operation = service.submit(&id, Work::Destroy, &caller, &Condition::none()).await?;
    match service.ended(&operation, patience).await? {
        Some(ended) if ended.state == Progress::Failed => {
            let path = format!("/infrastructures/{id}/operations/{}", ended.id);
            let nothing = || Problem::new(StatusCode::BAD_GATEWAY, "engine.left", "it could not be removed");
            let problem =
                ended.error.map_or_else(nothing, |details| Problem::of_details(details, StatusCode::BAD_GATEWAY));
            Err(problem.help(format!("DELETE it again to try again; {path} has this answer, too")))
        }
        Some(ended) if ended.state == Progress::Done => Ok(Json(Done { infraid: id }).into_response()),
        _ => Ok(accepted(&operation)),
    }
}

fn patience(headers: &HeaderMap) -> Duration {
    let preferences = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    for preference in preferences.flat_map(|value| value.split(',')).map(str::trim) {
        if preference.eq_ignore_ascii_case("respond-async") {
            return Duration::ZERO;
        }
        if let Some(seconds) = preference.strip_prefix("wait=").and_then(|seconds| seconds.parse().ok()) {
            return Duration::from_secs(seconds).min(LONGEST_WAIT);
        }
    }
    USUAL_WAIT
}
