//! What routes have in common: how parts of a request are read, and answers that may be kept by whoever asks.

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
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::feed::{CachedAnswer, Topic};
use crate::listen::LimitExceeded;
use crate::operations::Operation;
use crate::problem::ApiError;

/// Parameters of the path; a problem when they can't be used.
pub(crate) struct PathParams<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = Path::<T>::from_request_parts(parts, state).await;
        let Path(place) = read.map_err(|error: PathRejection| {
            ApiError::bad_request("request.path", format!("the path can't be used: {}", error.body_text()))
        })?;
        Ok(Self(place))
    }
}

/// Parameters after the `?`; a problem when they can't be used.
pub(crate) struct QueryParams<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for QueryParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        let Query(asked) = read.map_err(|error: QueryRejection| {
            ApiError::bad_request("request.query", format!("the query can't be used: {}", error.body_text()))
        })?;
        Ok(Self(asked))
    }
}

/// A document that was posted, as text.
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

/// All of a body, if it arrives within its limits.
pub(crate) async fn collect_body(body: Body) -> Result<Bytes, ApiError> {
    let collected = body.collect().await.map_err(|error| match LimitExceeded::find_in(&error) {
        Some(overrun) => ApiError::new(overrun.status(), overrun.code(), overrun.to_string()),
        None => ApiError::bad_request("body.broken", "the body of the request broke off"),
    })?;
    Ok(collected.to_bytes())
}

/// What has been promised, and where to look.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Accepted {
    /// The infrastructure's id.
    pub(crate) infraid: String,
    /// The path under which to look what became of it.
    #[schema(example = "/infrastructures/web/operations/0198c0de-0000-7000-8000-000000000000")]
    pub(crate) operation: String,
}

/// The answer to what takes time.
pub(crate) fn accepted(operation: &Operation) -> Response {
    accepted_as(&operation.infraid, &operation.id)
}

pub(crate) fn accepted_as(infraid: &str, operation: &str) -> Response {
    let path = format!("/infrastructures/{infraid}/operations/{operation}");
    let location = HeaderValue::try_from(&path).ok();
    let body = axum::Json(Accepted { infraid: infraid.to_owned(), operation: path });
    let mut response = (StatusCode::ACCEPTED, body).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// What the existing service answers to most requests.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct LegacyAck {
    /// The infrastructure's id.
    pub(crate) infraid: String,
}

/// An answer that can't be written as JSON.
pub(super) fn encode_error(error: serde_json::Error) -> ApiError {
    let text = format!("internal error: an answer can't be written as JSON: {error}");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "service.json", text)
}

/// Of a content: `"..."`, as headers have it.
pub(crate) fn etag(content: &[u8]) -> String {
    use base64::Engine as _;
    let digest = Sha256::digest(content);
    format!("\"{}\"", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&digest[..18]))
}

/// Whether one of the tags in this header is this one, or any will do.
pub(crate) fn etag_matches(headers: &HeaderMap, name: http::HeaderName, tag: Option<&str>) -> Option<bool> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    let tags = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim);
    let found = tags.into_iter().any(|wanted| match tag {
        Some(tag) => wanted == "*" || wanted.strip_prefix("W/").unwrap_or(wanted) == tag,
        None => false,
    });
    Some(found)
}

/// An answer of JSON that is made again only when something has changed, and not sent to whoever has it.
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
