//! What an infrastructure should be, as a document that can be posted again.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::common::{self, Place, matches};
use crate::access::{Caller, Scope};
use crate::problem::Problem;
use crate::state::Service;

async fn document(service: &Service, id: &str) -> Result<Option<Vec<u8>>, Problem> {
    let desired = service.engine.desired(id).await?;
    let document = desired.as_ref().map(occopus_model::document);
    Ok(document.map(|document| serde_json::to_vec_pretty(&document).unwrap_or_default()))
}

/// Of the description; none when there is none.
pub(crate) async fn tag(service: &Service, id: &str) -> Result<Option<String>, Problem> {
    Ok(document(service, id).await?.as_deref().map(common::tag))
}

/// The description of an infrastructure, with its node definitions. Its tag goes with a PUT that is to change this and
/// nothing newer.
#[utoipa::path(
    get, path = "/infrastructures/{id}/description", operation_id = "get_description", tag = "infrastructures",
    params(
        ("id" = String, Path, description = "The infrastructure's id"),
        ("If-None-Match" = Option<String>, Header, description = "The tag of what the client has"),
    ),
    responses(
        (status = 200, body = std::collections::HashMap<String, serde_json::Value>, headers(("etag" = String, description = "For `If-Match` of a PUT"))),
        (status = 304, description = "Nothing has changed"),
    ),
)]
pub(crate) async fn get(
    State(service): State<Service>,
    caller: Caller,
    Place(id): Place<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    service.allow(&caller, Scope::Read, &id)?;
    service.known(&id).await?;
    let none =
        || Problem::unknown("description.none", format!("infrastructure {id} has no description: it is being removed"));
    let body = document(&service, &id).await?.ok_or_else(none)?;
    let tag = common::tag(&body);
    let mut response = if matches(&headers, IF_NONE_MATCH, Some(&tag)) == Some(true) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}
