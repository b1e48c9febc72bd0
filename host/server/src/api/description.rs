//! The desired state of an infrastructure, as a document that can be posted again, and the preconditions on its entity
//! tag.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use occopus_engine::InfrastructureId;
use occopus_engine::ports::Compare;
use occopus_model::Infrastructure;

use super::common::{self, PathParams, encode_error, etag_matches};
use crate::access::{Caller, Scope};
use crate::operations::Work;
use crate::problem::ApiError;
use crate::state::Service;

/// A precondition on the current description: `If-Match` and `If-None-Match` of RFC 9110.
pub(crate) struct Precondition<'a>(Option<&'a HeaderMap>);

impl<'a> Precondition<'a> {
    /// Returns a precondition that always holds.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Returns the precondition of these headers.
    pub(crate) fn from_headers(headers: &'a HeaderMap) -> Self {
        let given = headers.contains_key(IF_MATCH) || headers.contains_key(IF_NONE_MATCH);
        Self(given.then_some(headers))
    }

    /// Fails unless the precondition holds, given the pending work. Returns the comparisons that the transaction of the
    /// request must make, so that it still holds then.
    pub(crate) async fn check(
        &self,
        service: &Service,
        id: &InfrastructureId,
        pending: Option<&Work>,
    ) -> Result<Vec<Compare>, ApiError> {
        let Some(headers) = self.0 else { return Ok(Vec::new()) };
        let (described, unchanged) = desired(service, id, pending).await?;
        let found = described.as_ref().map(to_json).transpose()?.as_deref().map(common::etag);
        let holds = etag_matches(headers, IF_MATCH, found.as_deref()) != Some(false)
            && etag_matches(headers, IF_NONE_MATCH, found.as_deref()) != Some(true);
        if holds {
            return Ok(unchanged.into_iter().collect());
        }
        let text =
            "the description does not match the precondition of the request: it has changed since, or exists already";
        let error = ApiError::new(StatusCode::PRECONDITION_FAILED, "description.changed", text);
        Err(error.with_help(format!("GET /infrastructures/{id}/description shows it, with its tag")))
    }
}

/// Returns the desired state of an infrastructure: that of the pending build, otherwise that of the engine with the
/// comparison under which it is unchanged.
async fn desired(
    service: &Service,
    id: &InfrastructureId,
    pending: Option<&Work>,
) -> Result<(Option<Infrastructure>, Option<Compare>), ApiError> {
    if let Some(Work::Build { infrastructure, .. }) = pending {
        return Ok((Some((**infrastructure).clone()), None));
    }
    let (desired, unchanged) = service.engine.desired_with_precondition(id).await?;
    Ok((desired, Some(unchanged)))
}

fn to_json(infrastructure: &Infrastructure) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec_pretty(&occopus_model::document(infrastructure)).map_err(encode_error)
}

/// Returns the current desired state of an infrastructure; none if it does not exist, or is being removed.
pub(crate) async fn current(service: &Service, id: &InfrastructureId) -> Result<Option<Infrastructure>, ApiError> {
    let pending = service.ledger.pending_work(id).await?;
    Ok(desired(service, id, pending.as_ref()).await?.0)
}

/// Returns the entity tag of a description.
pub(crate) fn etag(infrastructure: &Infrastructure) -> Result<String, ApiError> {
    Ok(common::etag(&to_json(infrastructure)?))
}

/// Returns the description of an infrastructure, with its node definitions.
///
/// A PUT with its tag in `If-Match` changes this description, and no newer one.
#[utoipa::path(
    get, path = "/infrastructures/{id}/description", operation_id = "get_description", tag = "infrastructures",
    security(("token" = ["read"])),
    params(
        ("id" = String, Path, description = "The infrastructure's id"),
        ("If-None-Match" = Option<String>, Header, description = "Tag of the copy that the client has"),
    ),
    responses(
        (status = 200, body = std::collections::HashMap<String, serde_json::Value>, headers(("etag" = String, description = "For `If-Match` of a PUT"))),
        (status = 304, description = "Nothing has changed"),
    ),
)]
pub(crate) async fn get(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = service.authorize(&caller, Scope::Read, &id)?;
    let Some(current) = current(&service, &id).await? else {
        service.ensure_exists(&id).await?;
        let text = format!("infrastructure {id} has no description: it is being removed");
        return Err(ApiError::not_found("description.none", text));
    };
    let body = to_json(&current)?;
    let tag = common::etag(&body);
    let mut response = if etag_matches(&headers, IF_NONE_MATCH, Some(&tag)) == Some(true) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}
