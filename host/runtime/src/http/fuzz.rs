//! Requests and answers without a server, for fuzz targets.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};

use super::prepare::{PreparedRequest, prepare_request, prepare_response};
use super::route::Route;
use super::{BodyMemoryPool, CallBodyMemory, HttpError, HttpLimits};
use crate::grants::CallGrants;
use crate::secrets::CallSecrets;

const SECOND: Duration = Duration::from_secs(1);
const LIMITS: HttpLimits = HttpLimits {
    connect: SECOND,
    first_byte: SECOND,
    between_bytes: SECOND,
    request_body: 1 << 20,
    response_body: 1 << 20,
};

/// A list of headers.
pub type Headers = Vec<(String, Vec<u8>)>;

/// A request as it would leave.
#[derive(Debug)]
pub struct Leaving {
    /// Authority of the server.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// Headers in their order.
    pub headers: Headers,
    /// The whole body.
    pub body: Vec<u8>,
}

/// A response as the guest reads it.
#[derive(Debug)]
pub struct Read {
    /// Headers in their order.
    pub headers: Headers,
    /// The whole body.
    pub body: Vec<u8>,
    /// Headers in their order.
    pub trailers: Headers,
}

/// Builds a request as a guest does.
pub(crate) fn request(
    method: &str,
    url: &str,
    headers: &Headers,
    body: Vec<u8>,
) -> Result<Request<Full<Bytes>>, HttpError> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(name, value.as_slice());
    }
    request.body(Full::new(Bytes::from(body))).map_err(|error| HttpError::invalid_request(error.to_string()))
}

/// Checks and prepares a request.
pub(crate) fn leaving(
    request: Request<Full<Bytes>>,
    grants: &CallGrants,
    secrets: Option<&CallSecrets>,
    memory: &Arc<CallBodyMemory>,
) -> Result<Leaving, HttpError> {
    let route = Route::of(request.uri(), grants)?;
    let PreparedRequest { head, body } = at_once(prepare_request(request, &route, grants, secrets, &LIMITS, memory))?;
    let path = head.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let authority = head.uri().authority().map(ToString::to_string).unwrap_or_default();
    let body = at_once(body.collect())?.to_bytes().to_vec();
    Ok(Leaving { authority, path, headers: listed(head.headers()), body })
}

/// Reads a response that comes in these pieces.
pub(crate) fn read(
    secrets: &CallSecrets,
    headers: &Headers,
    pieces: Vec<Vec<u8>>,
    trailers: &Headers,
) -> Result<Read, HttpError> {
    let data = pieces.into_iter().map(|piece| Frame::data(Bytes::from(piece)));
    let trailers = (!trailers.is_empty()).then(|| Frame::trailers(map(trailers)));
    let frames = futures::stream::iter(data.chain(trailers).map(Ok::<_, Infallible>));
    let mut response = Response::new(StreamBody::new(frames));
    *response.headers_mut() = map(headers);
    let memory = CallBodyMemory::new(&BodyMemoryPool::new(u64::MAX), u64::MAX);
    let (parts, body) = prepare_response(response, &LIMITS, Some(secrets), memory.reserve())?.into_parts();
    let whole = at_once(body.collect())?;
    let trailers = whole.trailers().map(listed).unwrap_or_default();
    Ok(Read { headers: listed(&parts.headers), body: whole.to_bytes().to_vec(), trailers })
}

/// Returns the output of a future that never waits.
fn at_once<T>(work: impl Future<Output = Result<T, HttpError>>) -> Result<T, HttpError> {
    work.now_or_never().unwrap_or_else(|| Err(HttpError::invalid_request("it waits")))
}

/// Returns the pairs that are valid headers.
fn map(headers: &Headers) -> HeaderMap {
    let header = |(name, value): &(String, Vec<u8>)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value).ok()?))
    };
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter().filter_map(header) {
        map.append(name, value);
    }
    map
}

fn listed(headers: &HeaderMap) -> Headers {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}
