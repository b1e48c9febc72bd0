//! Routes that act on an existing infrastructure: attach, detach, scale, suspend, resume, maintain, notify.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use occopus_api::{Accepted, LegacyAck, ScaleDownReply, ScaleReply, SuspensionReply};
use occopus_engine::{EngineError, InfrastructureId, InfrastructureState, Scale};
use serde::Deserialize;
use utoipa::IntoParams;

use super::common::{PathParams, QueryParams, accepted};
use crate::access::{Caller, Scope};
use crate::api::Precondition;
use crate::operations::Work;
use crate::problem::ApiError;
use crate::state::{Service, destroying_error};

/// Fails unless the caller has the scope `operate` on the infrastructure, and the infrastructure exists. Returns its id.
async fn authorize_existing(service: &Service, caller: &Caller, id: &str) -> Result<InfrastructureId, ApiError> {
    let id = service.authorize(caller, Scope::Operate, id)?;
    service.ensure_exists(&id).await?;
    Ok(id)
}

/// Maintains an infrastructure from now on.
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
    let id = service.authorize(&caller, Scope::Operate, &id)?;
    // A build that is pending counts: its client knows the id already.
    let is_pending = service.ledger.pending_operation(&id).await?.is_some();
    if !is_pending && service.engine.status(&id, false).await?.state == InfrastructureState::Destroying {
        return Err(destroying_error(&id));
    }
    if !service.ledger.attach(&id).await? {
        return Err(destroying_error(&id));
    }
    service.feed.invalidate(&id);
    service.supervisor.wake(&id);
    Ok(Json(LegacyAck { infraid: id.into() }))
}

/// Stops maintaining an infrastructure, which runs on.
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
    let id = authorize_existing(&service, &caller, &id).await?;
    let was_ours = service.ledger.is_attached(&id).await?;
    service.ledger.detach(&id).await?;
    service.feed.invalidate(&id);
    service.supervisor.wake(&id);
    if !was_ours && service.ledger.pending_operation(&id).await?.is_none() {
        // Another process may maintain it.
        service.engine.detach(&id).await?;
    }
    Ok(Json(LegacyAck { infraid: id.into() }))
}

/// Stores a request to scale. The next pass acts on it, at once if a service maintains the infrastructure.
async fn scale(service: &Service, caller: &Caller, id: &str, node: &str, change: Scale) -> Result<(), ApiError> {
    let id = &authorize_existing(service, caller, id).await?;
    service.engine.scale(id, node, change).await.map_err(|error| match error {
        // The Python service accepts any request, and applies the limits later.
        EngineError::Limits { .. } => {
            ApiError::from(error).with_help("the limits are in the description, under `scaling`")
        }
        error => error.into(),
    })?;
    service.feed.invalidate(id);
    Ok(())
}

/// Adds one instance to a node.
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

/// Adds several instances to a node.
#[utoipa::path(
    post, path = "/infrastructures/{id}/scaleup/{node}/{count}", tag = "actions",
    security(("token" = ["operate"])),
    params(("id" = String, Path, description = "The infrastructure's id"), ("node" = String, Path, description = "The node's name"), ("count" = u32, Path, description = "Number of instances to add")),
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
    // Saturates above the limit of every infrastructure.
    let change = i32::try_from(count).unwrap_or(i32::MAX);
    scale(service, caller, &infraid, &nodename, Scale::By(change)).await?;
    Ok(Json(ScaleReply { method: "scaleup".into(), infraid, nodename, count }))
}

/// Removes the youngest instance of a node.
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

/// Removes one instance of a node by its id or address.
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

/// Sets the number of instances of a node.
#[utoipa::path(
    post, path = "/infrastructures/{id}/scaleto/{node}/{count}", tag = "actions",
    security(("token" = ["operate"])),
    params(("id" = String, Path, description = "The infrastructure's id"), ("node" = String, Path, description = "The node's name"), ("count" = u32, Path, description = "Number of instances to have")),
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

/// Suspends the maintenance of an infrastructure until it is resumed: it is not observed, and nothing is replaced.
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
    let id = authorize_existing(&service, &caller, &infraid).await?;
    service.engine.suspend(&id).await?;
    service.feed.invalidate(&id);
    Ok(Json(SuspensionReply { infraid, suspended: true }))
}

/// Resumes the maintenance of a suspended infrastructure.
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
    let id = authorize_existing(&service, &caller, &infraid).await?;
    service.engine.resume(&id).await?;
    service.feed.invalidate(&id);
    Ok(Json(SuspensionReply { infraid, suspended: false }))
}

/// Options of a pass.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MaintainQuery {
    /// End a hold: replace all instances that seem to be dead now, however many.
    #[serde(default)]
    release: bool,
}

/// Surveys every node now, and replaces failed instances.
#[utoipa::path(
    post, path = "/infrastructures/{id}/maintain", tag = "actions",
    security(("token" = ["operate"])),
    params(("id" = String, Path, description = "The infrastructure's id"), MaintainQuery),
    responses(
        (status = 202, body = Accepted, headers(("location" = String, description = "Path of the operation"))),
    ),
)]
pub(crate) async fn maintain(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
    QueryParams(query): QueryParams<MaintainQuery>,
) -> Result<Response, ApiError> {
    let id = authorize_existing(&service, &caller, &id).await?;
    if query.release {
        service.engine.release(&id).await?;
    }
    // Any operation in progress surveys every node.
    Ok(accepted(&service.submit(&id, Work::Maintain, &caller, &Precondition::none()).await?))
}

/// Accepts a notification setting of the Python service, and ignores it.
///
/// The one kind of notification of the Python service was switched off by its carrier. `webhooks` in the description
/// take its place.
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
    let id = authorize_existing(&service, &caller, &id).await?;
    Ok(Json(LegacyAck { infraid: id.into() }))
}
