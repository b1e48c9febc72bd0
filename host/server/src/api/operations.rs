//! What was asked for, and what became of it. It can be looked up for a while after the infrastructure is gone.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::common::Place;
use crate::access::{Caller, Scope};
use crate::operations::Operation;
use crate::problem::Problem;
use crate::state::{Service, unknown};

/// Operations of an infrastructure.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Operations {
    /// The newest first.
    operations: Vec<Operation>,
}

/// The latest operations of an infrastructure.
#[utoipa::path(
    get, path = "/infrastructures/{id}/operations", operation_id = "list_operations", tag = "operations",
    security(("token" = ["read"])),
    params(("id" = String, Path, description = "The infrastructure's id")),
    responses(
        (status = 200, body = Operations),
    ),
)]
pub(crate) async fn list(
    State(service): State<Service>,
    caller: Caller,
    Place(id): Place<String>,
) -> Result<Json<Operations>, Problem> {
    service.allow(&caller, Scope::Read, &id)?;
    let operations = service.ledger.operations(&id).await?;
    if operations.is_empty() {
        service.known(&id).await?;
    }
    Ok(Json(Operations { operations }))
}

/// One operation.
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
    Place((id, operation)): Place<(String, String)>,
) -> Result<Json<Operation>, Problem> {
    service.allow(&caller, Scope::Read, &id)?;
    if let Some(found) = service.ledger.operation(&id, &operation).await? {
        return Ok(Json(found));
    }
    if service.ledger.operations(&id).await?.is_empty() && !service.engine.exists(&id).await? {
        return Err(unknown(&id));
    }
    let text = format!("infrastructure {id} has no operation {operation}");
    Err(Problem::unknown("operation.unknown", text).help("the latest ones are kept"))
}
