//! What an infrastructure should be, as a document that can be posted again.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use occopus_engine::ports::Compare;
use occopus_model::Infrastructure;

use super::common::{self, PathParams, encode_error, etag_matches};
use crate::access::{Caller, Scope};
use crate::operations::Work;
use crate::problem::ApiError;
use crate::state::Service;

/// What the description must be for a request to be done: `If-Match` and `If-None-Match` of RFC 9110.
pub(crate) struct Precondition<'a>(Option<&'a HeaderMap>);

impl<'a> Precondition<'a> {
    /// Whatever it is.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// As these headers say.
    pub(crate) fn from_headers(headers: &'a HeaderMap) -> Self {
        let given = headers.contains_key(IF_MATCH) || headers.contains_key(IF_NONE_MATCH);
        Self(given.then_some(headers))
    }

    /// Refuses a description that is another one, given the work that has not ended. Gives what must not change until the request
    /// is promised.
    pub(crate) async fn check(
        &self,
        service: &Service,
        id: &str,
        pending: Option<&Work>,
    ) -> Result<Vec<Compare>, ApiError> {
        let Some(headers) = self.0 else { return Ok(Vec::new()) };
        let (described, unchanged) = desired(service, id, pending).await?;
        let found = described.as_ref().map(to_json).transpose()?.as_deref().map(common::etag);
        let as_wished = etag_matches(headers, IF_MATCH, found.as_deref()) != Some(false)
            && etag_matches(headers, IF_NONE_MATCH, found.as_deref()) != Some(true);
        if as_wished {
            return Ok(unchanged.into_iter().collect());
        }
        let text = "the description is not the one that the request is about: it was changed in the meantime, or exists already";
        let problem = ApiError::new(StatusCode::PRECONDITION_FAILED, "description.changed", text);
        Err(problem.with_help(format!("GET /infrastructures/{id}/description shows it, with its tag")))
    }
}

/// What an infrastructure should be: what was promised last, otherwise what the engine has, which the condition holds on to.
async fn desired(
    service: &Service,
    id: &str,
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

/// What an infrastructure should be now; none when there is none, or nothing is to be there.
pub(crate) async fn current(service: &Service, id: &str) -> Result<Option<Infrastructure>, ApiError> {
    let pending = service.ledger.pending_work(id).await?;
    Ok(desired(service, id, pending.as_ref()).await?.0)
}

/// Of the description; none when there is none.
pub(crate) fn etag(infrastructure: &Infrastructure) -> Result<String, ApiError> {
    Ok(common::etag(&to_json(infrastructure)?))
}

/// The description of an infrastructure, with its node definitions. Its tag goes with a PUT that is to change this and
/// nothing newer.
#[utoipa::path(
    get, path = "/infrastructures/{id}/description", operation_id = "get_description", tag = "infrastructures",
    security(("token" = ["read"])),
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
    PathParams(id): PathParams<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    service.authorize(&caller, Scope::Read, &id)?;
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
