//! Extractors and responses that the routes share: parts of a request, accepted operations, and cached JSON with entity
//! tags.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use occopus_api::{Accepted, Operation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::feed::{CachedAnswer, Topic};
use crate::listen::LimitExceeded;
use crate::problem::ApiError;

/// Parameters of the path. Rejects invalid ones with problem details.
pub(crate) struct PathParams<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = Path::<T>::from_request_parts(parts, state).await;
        let Path(parameters) = read.map_err(|error: PathRejection| {
            ApiError::bad_request("request.path", format!("invalid path: {}", error.body_text()))
        })?;
        Ok(Self(parameters))
    }
}

/// Parameters of the query string. Rejects invalid ones with problem details.
pub(crate) struct QueryParams<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for QueryParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        let Query(parameters) = read.map_err(|error: QueryRejection| {
            ApiError::bad_request("request.query", format!("invalid query: {}", error.body_text()))
        })?;
        Ok(Self(parameters))
    }
}

/// The text of a posted document. Rejects an empty one and one that is not UTF-8.
pub(crate) struct PostedText(pub(crate) String);

impl<S: Send + Sync> FromRequest<S> for PostedText {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = collect_body(request.into_body()).await?;
        let text = String::from_utf8(body.to_vec()).map_err(|error| {
            ApiError::bad_request("body.not-utf8", format!("the body is not UTF-8: {}", error.utf8_error()))
        })?;
        if text.trim().is_empty() {
            return Err(
                ApiError::bad_request("body.empty", "the body is empty").with_help("post a description, as YAML")
            );
        }
        Ok(Self(text))
    }
}

/// Reads a whole body.
///
/// # Errors
/// Fails if the body exceeds its limits, or ends early.
pub(crate) async fn collect_body(body: Body) -> Result<Bytes, ApiError> {
    let collected = body.collect().await.map_err(|error| match LimitExceeded::find_in(&error) {
        Some(exceeded) => ApiError::new(exceeded.status(), exceeded.code(), exceeded.to_string()),
        None => ApiError::bad_request("body.broken", "the connection ended in the middle of the request body"),
    })?;
    Ok(collected.to_bytes())
}

/// Returns the response to a request that started an operation: 202 with its path.
pub(crate) fn accepted(operation: &Operation) -> Response {
    accepted_as(&operation.infraid, &operation.id)
}

pub(crate) fn accepted_as(infraid: &str, operation: &str) -> Response {
    let body = Accepted::new(infraid, operation);
    let location = HeaderValue::try_from(&body.operation).ok();
    let mut response = (StatusCode::ACCEPTED, axum::Json(body)).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// Returns the error for a response that cannot be written as JSON.
pub(super) fn encode_error(error: serde_json::Error) -> ApiError {
    let text = format!("internal error: the response cannot be written as JSON: {error}");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "service.json", text)
}

/// Returns the entity tag of a body, with its quotes: 18 bytes of its SHA-256 in base64url.
pub(crate) fn etag(content: &[u8]) -> String {
    use base64::Engine as _;
    let digest = Sha256::digest(content);
    format!("\"{}\"", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&digest[..18]))
}

/// Returns whether a header of entity tags has this tag, or `*` while there is a tag; none without the header. Ignores
/// `W/`.
pub(crate) fn etag_matches(headers: &HeaderMap, name: http::HeaderName, tag: Option<&str>) -> Option<bool> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    let tags = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim);
    let found = tags.into_iter().any(|given| match tag {
        Some(tag) => given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag,
        None => false,
    });
    Some(found)
}

/// Returns a JSON response that is made again only after the topic has changed, or 304 if the client has it already
/// (`If-None-Match`).
pub(crate) async fn cached_json<T: Serialize>(
    topic: &Arc<Topic>,
    name: &'static str,
    headers: &HeaderMap,
    make: impl AsyncFnOnce() -> Result<T, ApiError>,
) -> Result<Response, ApiError> {
    let answer = match topic.cached_answer(name) {
        Ok(answer) => answer,
        Err(count) => {
            let body: Bytes = serde_json::to_vec(&make().await?).map_err(encode_error)?.into();
            let answer = CachedAnswer { tag: etag(&body).into(), body };
            topic.cache_answer(name, count, answer.clone());
            answer
        }
    };
    let etag = HeaderValue::try_from(&*answer.tag).ok();
    let mut response = if etag_matches(headers, IF_NONE_MATCH, Some(&answer.tag)) == Some(true) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], answer.body).into_response()
    };
    if let Some(etag) = etag {
        response.headers_mut().insert(ETAG, etag);
    }
    Ok(response)
}
