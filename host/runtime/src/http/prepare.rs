//! What the guest wrote becomes what is sent, and what came back becomes what the guest reads.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::BodyExt as _;

use super::body::{BoundedRequest, BoundedResponse, Held, Whole};
use super::masked::{self, Masked};
use super::memory::{CallMemory, Share};
use super::route::Route;
use super::{HttpError, HttpErrorKind, HttpLimits, RequestBody, ResponseBody, Sent};
use crate::grants::CallGrants;
use crate::secrets::{CallSecrets, TooLong};

/// A request that may leave.
pub(super) struct Prepared {
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

/// Bytes of all headers and the path that have placeholders in them, once these are filled in.
const LONGEST_HEAD: usize = 1 << 20;

/// Fills placeholders in, and sets the headers that are ours to set.
pub(super) async fn prepare<B>(
    request: Request<B>,
    route: &Route,
    grants: &CallGrants,
    secrets: Option<&CallSecrets>,
    limits: &HttpLimits,
    memory: &Arc<CallMemory>,
) -> Result<Prepared, HttpError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display + Send + Sync + 'static,
{
    let (mut parts, content) = request.into_parts();
    let length = content_length(&parts.headers)?;
    clean(&mut parts.headers);
    parts.headers.remove(header::HOST);
    parts.headers.remove(header::CONTENT_LENGTH);

    let mut content = BoundedRequest::new(content, limits.request_body).boxed_unsync();
    let mut length = length.or_else(|| content.size_hint().exact().filter(|length| *length > 0));
    // A body of no declared length, or of none, is taken in first. The client drops that of a request without content, and a guest that
    // ends its body a moment later would be told that the connection is gone; and some servers take an empty body in
    // chunks for content.
    if length.is_none_or(|length| length == 0) {
        let whole = Whole::of(content, memory.share()).await?;
        length = (!whole.bytes.is_empty()).then_some(whole.bytes.len() as u64).or(length);
        content = whole.body();
    }
    let secrets = secrets.filter(|secrets| secrets.in_answers().is_some() || secrets.any_issued());
    if let Some(secrets) = secrets {
        masked::ask_openly(&mut parts.headers);
        // Nothing is held up for calls that have asked for no secret.
        if secrets.any_issued() {
            let mut whole = Whole::of(content, memory.share()).await?;
            let mut used = fill_head(&mut parts, secrets)?;
            let most = usize::try_from(limits.request_body).unwrap_or(usize::MAX);
            let too_large = |TooLong| {
                let message = "the request's body is larger than a plugin may send";
                HttpError::new(HttpErrorKind::RequestTooLarge, Sent::No, message)
            };
            if let Some(filled) = secrets.fill_within(&whole.bytes, most).map_err(too_large)? {
                whole.share.grow(filled.len().saturating_sub(whole.bytes.len()))?;
                whole.bytes = Bytes::copy_from_slice(&filled);
                used = true;
            }
            // The socket of a route is the endpoint itself, or granted by the operator.
            if used && let Route::Host { host, port, .. } = route {
                grants.check_secrets(host, *port)?;
            }
            let filled = whole.bytes.len() as u64;
            length = length.map(|_| filled).or((filled > 0).then_some(filled));
            content = whole.body();
        }
    }
    if let Some(length) = length {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    parts.uri = absolute(&parts.uri, route)?;
    parts.extensions.clear();
    Ok(Prepared { head: Request::from_parts(parts, ()), body: content })
}

/// Returns the part of a response that the guest may see: nothing of the connection, and no value of its credential.
pub(super) fn answer<B>(
    response: Response<B>,
    limits: &HttpLimits,
    secrets: Option<&CallSecrets>,
    share: Share,
) -> Result<Response<ResponseBody>, HttpError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + 'static,
{
    let (mut parts, content) = response.into_parts();
    let inner = BoundedResponse::new(content, limits).boxed_unsync();
    let mut body = Held { inner, _share: share }.boxed_unsync();
    if let Some(wanted) = secrets.and_then(CallSecrets::in_answers) {
        masked::mask_head(&mut parts, wanted)?;
        body = Masked::new(body, Arc::clone(wanted)).boxed_unsync();
    }
    clean(&mut parts.headers);
    parts.extensions.clear();
    Ok(Response::from_parts(parts, body))
}

/// The one length that the guest gave. Two different ones would let it smuggle a second request.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, HttpError> {
    let mut found = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length: Option<u64> = digits.and_then(|text| text.parse().ok());
        if length.is_none() || found.is_some_and(|found| Some(found) != length) {
            return Err(HttpError::invalid("the content-length is no length"));
        }
        found = length;
    }
    Ok(found)
}

fn clean(headers: &mut HeaderMap) {
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

/// Fills placeholders into the headers and the path. True when there was one.
fn fill_head(parts: &mut Parts, secrets: &CallSecrets) -> Result<bool, HttpError> {
    let mut used = false;
    let mut left = LONGEST_HEAD;
    let too_large = |TooLong| HttpError::invalid("the request's head is larger than a plugin may send");
    for (name, value) in &mut parts.headers {
        if let Some(filled) = secrets.fill_within(value.as_bytes(), left).map_err(too_large)? {
            left -= filled.len();
            // The error would hold nothing of the value, and must not.
            let message = || format!("the secret can't be a part of the header `{name}`");
            *value = HeaderValue::from_bytes(&filled).map_err(|_| HttpError::invalid(message()))?;
            value.set_sensitive(true);
            used = true;
        }
    }
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    if let Some(filled) = secrets.fill_within(path.as_bytes(), left).map_err(too_large)? {
        let message = "the secret can't be a part of a URL as it is: ask for the percent-encoded placeholder";
        let path = PathAndQuery::try_from(filled.as_slice()).map_err(|_| HttpError::invalid(message))?;
        let mut uri = parts.uri.clone().into_parts();
        uri.path_and_query = Some(path);
        parts.uri = Uri::from_parts(uri).map_err(|_| HttpError::invalid(message))?;
        used = true;
    }
    Ok(used)
}

/// The URI with the authority under which the server is reached.
fn absolute(uri: &Uri, route: &Route) -> Result<Uri, HttpError> {
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let scheme = if matches!(route, Route::Host { tls: true, .. }) { "https" } else { "http" };
    let built = Uri::builder().scheme(scheme).authority(route.authority()).path_and_query(path).build();
    built.map_err(|error| HttpError::invalid(format!("the URL can't be sent: {error}")))
}
