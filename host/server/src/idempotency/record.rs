//! The record of a request with an `Idempotency-Key`.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::accepted_as;

/// Header of a response that was given before.
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Headers of a response that are recorded.
const RECORDED_HEADERS: [HeaderName; 3] = [CONTENT_TYPE, LOCATION, ETAG];

/// A request that was done, and its response. Its key in the store is a digest of the caller, the route and the
/// `Idempotency-Key`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct IdempotencyRecord {
    /// Digest of the request's body.
    pub(super) digest: String,
    /// Method and path; records of older versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<String>,
    /// Infrastructure of the operation that the request created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) infraid: Option<String>,
    /// Id of that operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) operation: Option<String>,
    /// Time at which the request was done.
    pub(super) time: Timestamp,
    /// Response; absent until it is known, which is a moment after the request was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<RecordedResponse>,
}

/// A response, as it was given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RecordedResponse {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl RecordedResponse {
    /// Creates the record of a response; `None` if its body is not UTF-8.
    pub(super) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let recorded = RECORDED_HEADERS
            .iter()
            .filter_map(|name| Some((name.to_string(), headers.get(name)?.to_str().ok()?.to_owned())));
        let body = std::str::from_utf8(body).ok()?.to_owned();
        Some(Self { status: status.as_u16(), headers: recorded.collect(), body })
    }
}

impl IdempotencyRecord {
    /// Returns true if this is the recorded request.
    pub(super) fn is_same_request(&self, request: &str, digest: &str) -> bool {
        self.digest == digest && self.request.as_deref().is_none_or(|recorded| recorded == request)
    }

    /// Returns the recorded response; `None` while it is not known.
    pub(super) fn replay(&self) -> Option<Response> {
        let mut response = match (&self.answer, &self.infraid, &self.operation) {
            (Some(answer), ..) => {
                let mut response = Response::new(Body::from(answer.body.clone()));
                *response.status_mut() = StatusCode::from_u16(answer.status).ok()?;
                for (name, value) in &answer.headers {
                    let (name, value) = (HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
                    response.headers_mut().insert(name, value);
                }
                response
            }
            (None, Some(infraid), Some(operation)) => accepted_as(infraid, operation).into_response(),
            _ => return None,
        };
        response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
        Some(response)
    }
}
