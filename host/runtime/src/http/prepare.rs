//! Conversion of the guest's request into what is sent, and of the response into what the guest reads.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::BodyExt as _;

use super::body::{BoundedRequestBody, BoundedResponseBody, BufferedBody, ReservedBody};
use super::memory::{CallBodyMemory, MemoryReservation};
use super::response_masking::{self, MaskedBody};
use super::route::Route;
use super::{HttpError, HttpErrorKind, HttpLimits, RequestBody, RequestSent, ResponseBody};
use crate::grants::CallGrants;
use crate::secrets::{CallSecrets, FilledTextTooLong};

/// A request that is ready to be sent.
pub(super) struct PreparedRequest {
    pub(super) head: Request<()>,
    pub(super) body: RequestBody,
}

/// Headers that belong to one connection and not to the message (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

/// Bytes of all headers and the path that have placeholders in them, once they are filled in.
const MAX_FILLED_HEAD_BYTES: usize = 1 << 20;

/// Fills in placeholders, and sets the headers that the host controls.
pub(super) async fn prepare_request<B>(
    request: Request<B>,
    route: &Route,
    grants: &CallGrants,
    secrets: Option<&CallSecrets>,
    limits: &HttpLimits,
    memory: &Arc<CallBodyMemory>,
) -> Result<PreparedRequest, HttpError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display + Send + Sync + 'static,
{
    let (mut parts, content) = request.into_parts();
    let length = content_length(&parts.headers)?;
    remove_hop_by_hop(&mut parts.headers);
    parts.headers.remove(header::HOST);
    parts.headers.remove(header::CONTENT_LENGTH);

    let mut content = BoundedRequestBody::new(content, limits.request_body).boxed_unsync();
    let mut length = length.or_else(|| content.size_hint().exact().filter(|length| *length > 0));
    // A body of no declared length, or of none, is read first. The client drops that of a request without content, and
    // a guest that ends its body a moment later would see a closed connection; and some servers take an empty body in
    // chunks for content.
    if length.is_none_or(|length| length == 0) {
        let whole = BufferedBody::collect(content, memory.reserve()).await?;
        length = (!whole.bytes.is_empty()).then_some(whole.bytes.len() as u64).or(length);
        content = whole.into_body();
    }
    let secrets = secrets.filter(|secrets| secrets.answer_patterns().is_some() || secrets.has_placeholders());
    if let Some(secrets) = secrets {
        response_masking::strip_encoding_headers(&mut parts.headers);
        // Nothing is held up for calls without placeholders.
        if secrets.has_placeholders() {
            let mut whole = BufferedBody::collect(content, memory.reserve()).await?;
            let mut used = fill_head(&mut parts, secrets)?;
            let max_bytes = usize::try_from(limits.request_body).unwrap_or(usize::MAX);
            let too_large = |FilledTextTooLong| {
                let message = "the request's body is larger than a plugin may send";
                HttpError::new(HttpErrorKind::RequestTooLarge, RequestSent::No, message)
            };
            if let Some(filled) = secrets.fill_within(&whole.bytes, max_bytes).map_err(too_large)? {
                whole.reservation.try_grow(filled.len().saturating_sub(whole.bytes.len()))?;
                whole.bytes = Bytes::copy_from_slice(&filled);
                used = true;
            }
            // The socket of a route is the endpoint itself, or granted by the operator.
            if used && let Route::Host { host, port, .. } = route {
                grants.check_secrets(host, *port)?;
            }
            let filled = whole.bytes.len() as u64;
            length = length.map(|_| filled).or((filled > 0).then_some(filled));
            content = whole.into_body();
        }
    }
    if let Some(length) = length {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    parts.uri = absolute_uri(&parts.uri, route)?;
    parts.extensions.clear();
    Ok(PreparedRequest { head: Request::from_parts(parts, ()), body: content })
}

/// Converts a response into what the guest may see: nothing of the connection, and no value of its credential.
pub(super) fn prepare_response<B>(
    response: Response<B>,
    limits: &HttpLimits,
    secrets: Option<&CallSecrets>,
    reservation: MemoryReservation,
) -> Result<Response<ResponseBody>, HttpError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + 'static,
{
    let (mut parts, content) = response.into_parts();
    let inner = BoundedResponseBody::new(content, limits).boxed_unsync();
    let mut body = ReservedBody { inner, _reservation: reservation }.boxed_unsync();
    if let Some(patterns) = secrets.and_then(CallSecrets::answer_patterns) {
        response_masking::mask_head(&mut parts, patterns)?;
        body = MaskedBody::new(body, Arc::clone(patterns)).boxed_unsync();
    }
    remove_hop_by_hop(&mut parts.headers);
    parts.extensions.clear();
    Ok(Response::from_parts(parts, body))
}

/// Returns the one length that the guest declared. Two different ones would allow a second, smuggled request.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, HttpError> {
    let mut found = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length: Option<u64> = digits.and_then(|text| text.parse().ok());
        if length.is_none() || found.is_some_and(|found| Some(found) != length) {
            return Err(HttpError::invalid_request("the `content-length` is not a number, or there are several"));
        }
        found = length;
    }
    Ok(found)
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> =
        named.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(header::TRANSFER_ENCODING);
}

/// Fills in the placeholders of the headers and the path. Returns whether there was one.
fn fill_head(parts: &mut Parts, secrets: &CallSecrets) -> Result<bool, HttpError> {
    let mut used = false;
    let mut left = MAX_FILLED_HEAD_BYTES;
    let too_large =
        |FilledTextTooLong| HttpError::invalid_request("the request's head is larger than a plugin may send");
    for (name, value) in &mut parts.headers {
        if let Some(filled) = secrets.fill_within(value.as_bytes(), left).map_err(too_large)? {
            left -= filled.len();
            // The message must hold nothing of the value.
            let message = || format!("the secret can't be a part of the header `{name}`");
            *value = HeaderValue::from_bytes(&filled).map_err(|_| HttpError::invalid_request(message()))?;
            value.set_sensitive(true);
            used = true;
        }
    }
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    if let Some(filled) = secrets.fill_within(path.as_bytes(), left).map_err(too_large)? {
        let message = "the secret can't be a part of a URL as it is: ask for the percent-encoded placeholder";
        let path = PathAndQuery::try_from(filled.as_slice()).map_err(|_| HttpError::invalid_request(message))?;
        let mut uri = parts.uri.clone().into_parts();
        uri.path_and_query = Some(path);
        parts.uri = Uri::from_parts(uri).map_err(|_| HttpError::invalid_request(message))?;
        used = true;
    }
    Ok(used)
}

/// Returns the URI with the authority under which the server is reached.
fn absolute_uri(uri: &Uri, route: &Route) -> Result<Uri, HttpError> {
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let scheme = if matches!(route, Route::Host { tls: true, .. }) { "https" } else { "http" };
    let built = Uri::builder().scheme(scheme).authority(route.authority()).path_and_query(path).build();
    built.map_err(|error| HttpError::invalid_request(format!("the URL can't be sent: {error}")))
}
