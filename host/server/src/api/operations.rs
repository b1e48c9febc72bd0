//! Routes for operations: their states and outcomes, which are kept for a while after the infrastructure is gone.

use axum::Json;
use axum::extract::State;
use occopus_api::{Operation, OperationList};

use super::common::PathParams;
use crate::access::{Caller, Scope};
use crate::problem::ApiError;
use crate::state::{Service, unknown_infrastructure};

/// Lists the latest operations of an infrastructure.
#[utoipa::path(
    get, path = "/infrastructures/{id}/operations", operation_id = "list_operations", tag = "operations",
    security(("token" = ["read"])),
    params(("id" = String, Path, description = "The infrastructure's id")),
    responses(
        (status = 200, body = OperationList),
    ),
)]
pub(crate) async fn list(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
) -> Result<Json<OperationList>, ApiError> {
    let id = service.authorize(&caller, Scope::Read, &id)?;
    let operations = service.ledger.operations(&id).await?;
    if operations.is_empty() {
        service.ensure_exists(&id).await?;
    }
    Ok(Json(OperationList { operations }))
}

/// Returns an operation.
#[utoipa::path(
    get, path = "/infrastructures/{id}/operations/{operation}", operation_id = "get_operation", tag = "operations",
    security(("token" = ["read"])),
    params(
        ("id" = String, Path, description = "The infrastructure's id"),
        ("operation" = String, Path, description = "The operation's id"),
    ),
    responses(
        (status = 200, body = Operation),
    ),
)]
pub(crate) async fn get(
    State(service): State<Service>,
    caller: Caller,
    PathParams((id, operation)): PathParams<(String, String)>,
) -> Result<Json<Operation>, ApiError> {
    let id = service.authorize(&caller, Scope::Read, &id)?;
    if let Some(found) = service.ledger.operation(&id, &operation).await? {
        return Ok(Json(found));
    }
    if service.ledger.operations(&id).await?.is_empty() && !service.engine.exists(&id).await? {
        return Err(unknown_infrastructure(&id));
    }
    let text = format!("infrastructure {id} has no operation {operation}");
    Err(ApiError::not_found("operation.unknown", text).with_help("only the latest operations are kept"))
}
