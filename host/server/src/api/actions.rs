//! What is done to an infrastructure that exists.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use occopus_engine::{EngineError, Scale};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::common::{Accepted, LegacyAck, PathParams, QueryParams, accepted};
use crate::access::{Caller, Scope};
use crate::api::Precondition;
use crate::operations::Work;
use crate::problem::ApiError;
use crate::state::{Service, destroying_error};

/// A request to scale, as the existing service repeats it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ScaleReply {
    /// `scaleup` or `scaleto`.
    method: String,
    /// The infrastructure's id.
    infraid: String,
    /// The node's name.
    nodename: String,
    /// How many more, or how many.
    count: u32,
}

/// A request to have one instance less, as the existing service repeats it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ScaleDownReply {
    /// `scaledown`.
    method: String,
    /// The infrastructure's id.
    infraid: String,
    /// The node's name.
    nodename: String,
    /// Which one; null: the youngest.
    nodeid: Option<String>,
}

/// Whether an infrastructure is left alone.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct SuspensionReply {
    /// The infrastructure's id.
    infraid: String,
    /// It is left alone until it is resumed.
    suspended: bool,
}

/// Whoever may do it, to an infrastructure that exists.
async fn authorize_existing(service: &Service, caller: &Caller, id: &str) -> Result<(), ApiError> {
    service.authorize(caller, Scope::Operate, id)?;
    service.ensure_exists(id).await
}

/// Keeps an infrastructure alive from now on.
#[utoipa::path(
    post, path = "/infrastructures/{id}/attach", tag = "actions",
    security(("token" = ["operate"])),
    params(("id" = String, Path, description = "The infrastructure's id")),
    responses(
        (status = 200, body = LegacyAck),
    ),
)]
pub(crate) async fn attach(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
) -> Result<Json<LegacyAck>, ApiError> {
    service.authorize(&caller, Scope::Operate, &id)?;
    // One that is about to be built exists for whoever asked for it.
    if service.ledger.pending_operation(&id).await?.is_none() {
        service.ensure_exists(&id).await?;
    }
    if !service.ledger.attach(&id).await? {
        return Err(destroying_error(&id));
    }
    service.feed.invalidate(&id);
    service.supervisor.wake(&id);
    Ok(Json(LegacyAck { infraid: id }))
}

/// Lets an infrastructure go: it runs on, and nobody keeps it alive.
#[utoipa::path(
    post, path = "/infrastructures/{id}/detach", tag = "actions",
    security(("token" = ["operate"])),
    params(("id" = String, Path, description = "The infrastructure's id")),
    responses(
        (status = 200, body = LegacyAck),
    ),
)]
pub(crate) async fn detach(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
) -> Result<Json<LegacyAck>, ApiError> {
    authorize_existing(&service, &caller, &id).await?;
    let was_ours = service.ledger.is_attached(&id).await?;
    service.ledger.detach(&id).await?;
    service.feed.invalidate(&id);
    service.supervisor.wake(&id);
    if !was_ours && service.ledger.pending_operation(&id).await?.is_none() {
        // Another process may keep it alive.
        service.engine.detach(&id).await?;
    }
    Ok(Json(LegacyAck { infraid: id }))
}

/// Asks for another number of instances; the next look does it, which is now if a service keeps the infrastructure alive.
async fn scale(service: &Service, caller: &Caller, id: &str, node: &str, how: Scale) -> Result<(), ApiError> {
    authorize_existing(service, caller, id).await?;
    service.engine.scale(id, node, how).await.map_err(|error| match error {
        // The existing service takes any request, and keeps to the limits when it does it.
        EngineError::Limits { .. } => ApiError::from(error).with_help("the description has the limits: `scaling`"),
        error => error.into(),
    })?;
    service.feed.invalidate(id);
    Ok(())
}

/// Asks for one instance more.
#[utoipa::path(
    post, path = "/infrastructures/{id}/scaleup/{node}", tag = "actions",
    security(("token" = ["operate"])),
    params(("id" = String, Path, description = "The infrastructure's id"), ("node" = String, Path, description = "The node's name")),
    responses(
        (status = 200, body = ScaleReply),
    ),
)]
pub(crate) async fn scale_up(
    State(service): State<Service>,
    caller: Caller,
    PathParams((id, node)): PathParams<(String, String)>,
) -> Result<Json<ScaleReply>, ApiError> {
    request_scale_up(&service, &caller, id, node, 1).await
}

/// Asks for so many instances more.
#[utoipa::path(
    post, path = "/infrastructures/{id}/scaleup/{node}/{count}", tag = "actions",
    security(("token" = ["operate"])),
    params(("id" = String, Path, description = "The infrastructure's id"), ("node" = String, Path, description = "The node's name"), ("count" = u32, Path, description = "How many")),
    responses(
        (status = 200, body = ScaleReply),
    ),
)]
pub(crate) async fn scale_up_by(
    State(service): State<Service>,
    caller: Caller,
    PathParams((id, node, count)): PathParams<(String, String, u32)>,
) -> Result<Json<ScaleReply>, ApiError> {
    request_scale_up(&service, &caller, id, node, count).await
}

async fn request_scale_up(
    service: &Service,
    caller: &Caller,
    infraid: String,
    nodename: String,
    count: u32,
) -> Result<Json<ScaleReply>, ApiError> {
    // More than any infrastructure can have.
    let change = i32::try_from(count).unwrap_or(i32::MAX);
    scale(service, caller, &infraid, &nodename, Scale::By(change)).await?;
    Ok(Json(ScaleReply { method: "scaleup".into(), infraid, nodename, count }))
}

/// Asks for one instance less: the youngest.
#[utoipa::path(
    post, path = "/infrastructures/{id}/scaledown/{node}", tag = "actions",
    security(("token" = ["operate"])),
    params(("id" = String, Path, description = "The infrastructure's id"), ("node" = String, Path, description = "The node's name")),
    responses(
        (status = 200, body = ScaleDownReply),
    ),
)]
pub(crate) async fn scale_down(
    State(service): State<Service>,
    caller: Caller,
    PathParams((infraid, nodename)): PathParams<(String, String)>,
) -> Result<Json<ScaleDownReply>, ApiError> {
    scale(&service, &caller, &infraid, &nodename, Scale::By(-1)).await?;
    Ok(Json(ScaleDownReply { method: "scaledown".into(), infraid, nodename, nodeid: None }))
}

/// Asks for one instance less: this one.
#[utoipa::path(
    post, path = "/infrastructures/{id}/scaledown/{node}/{instance}", tag = "actions",
    security(("token" = ["operate"])),
    params(("id" = String, Path, description = "The infrastructure's id"), ("node" = String, Path, description = "The node's name"), ("instance" = String, Path, description = "Id or address of the instance")),
    responses(
        (status = 200, body = ScaleDownReply),
    ),
)]
pub(crate) async fn scale_down_this(
    State(service): State<Service>,
    caller: Caller,
    PathParams((infraid, nodename, instance)): PathParams<(String, String, String)>,
) -> Result<Json<ScaleDownReply>, ApiError> {
    scale(&service, &caller, &infraid, &nodename, Scale::Remove(instance.clone())).await?;
    Ok(Json(ScaleDownReply { method: "scaledown".into(), infraid, nodename, nodeid: Some(instance) }))
}

/// Asks for so many instances.
#[utoipa::path(
    post, path = "/infrastructures/{id}/scaleto/{node}/{count}", tag = "actions",
    security(("token" = ["operate"])),
    params(("id" = String, Path, description = "The infrastructure's id"), ("node" = String, Path, description = "The node's name"), ("count" = u32, Path, description = "How many")),
    responses(
        (status = 200, body = ScaleReply),
    ),
)]
pub(crate) async fn scale_to(
    State(service): State<Service>,
    caller: Caller,
    PathParams((infraid, nodename, count)): PathParams<(String, String, u32)>,
) -> Result<Json<ScaleReply>, ApiError> {
    scale(&service, &caller, &infraid, &nodename, Scale::To(count)).await?;
    Ok(Json(ScaleReply { method: "scaleto".into(), infraid, nodename, count }))
}

/// Leaves an infrastructure alone until it is resumed: it is not looked at, and nothing is replaced.
#[utoipa::path(
    post, path = "/infrastructures/{id}/suspend", tag = "actions",
    security(("token" = ["operate"])),
    params(("id" = String, Path, description = "The infrastructure's id")),
    responses(
        (status = 200, body = SuspensionReply),
    ),
)]
pub(crate) async fn suspend(
    State(service): State<Service>,
    caller: Caller,
    PathParams(infraid): PathParams<String>,
) -> Result<Json<SuspensionReply>, ApiError> {
    authorize_existing(&service, &caller, &infraid).await?;
    service.engine.suspend(&infraid).await?;
    service.feed.invalidate(&infraid);
    Ok(Json(SuspensionReply { infraid, suspended: true }))
}

/// Keeps an infrastructure alive again that was suspended.
#[utoipa::path(
    post, path = "/infrastructures/{id}/resume", tag = "actions",
    security(("token" = ["operate"])),
    params(("id" = String, Path, description = "The infrastructure's id")),
    responses(
        (status = 200, body = SuspensionReply),
    ),
)]
pub(crate) async fn resume(
    State(service): State<Service>,
    caller: Caller,
    PathParams(infraid): PathParams<String>,
) -> Result<Json<SuspensionReply>, ApiError> {
    authorize_existing(&service, &caller, &infraid).await?;
    service.engine.resume(&infraid).await?;
    service.feed.invalidate(&infraid);
    Ok(Json(SuspensionReply { infraid, suspended: false }))
}

/// Options of a look.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MaintainQuery {
    /// End a hold: replace what looks dead now, however much it is.
    #[serde(default)]
    release: bool,
}

/// Looks at every node now, and replaces what has failed.
#[utoipa::path(
    post, path = "/infrastructures/{id}/maintain", tag = "actions",
    security(("token" = ["operate"])),
    params(("id" = String, Path, description = "The infrastructure's id"), MaintainQuery),
    responses(
        (status = 202, body = Accepted, headers(("location" = String, description = "Where to look what becomes of it"))),
    ),
)]
pub(crate) async fn maintain(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
    QueryParams(look): QueryParams<MaintainQuery>,
) -> Result<Response, ApiError> {
    authorize_existing(&service, &caller, &id).await?;
    if look.release {
        service.engine.release(&id).await?;
    }
    // Whatever is under way looks at every node.
    Ok(accepted(&service.submit(&id, Work::Maintain, &caller, &Precondition::none()).await?))
}

/// Accepted for old scripts. The one kind of notification that the existing service knows was switched off by those who
/// carried it; `webhooks` in the description take its place. Nothing is kept.
#[utoipa::path(
    post, path = "/infrastructures/{id}/notify", tag = "actions",
    security(("token" = ["operate"])),
    params(("id" = String, Path, description = "The infrastructure's id")),
    responses(
        (status = 200, body = LegacyAck),
    ),
)]
pub(crate) async fn notify(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
) -> Result<Json<LegacyAck>, ApiError> {
    authorize_existing(&service, &caller, &id).await?;
    Ok(Json(LegacyAck { infraid: id }))
}
