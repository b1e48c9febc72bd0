//! The middleware that admits or rejects every request before it reaches a route: host, origin, token or session, and
//! limits.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Method};
use http_body_util::Limited;
use hyper::body::{Body as _, Frame, SizeHint};
use tower_http::cors::CorsLayer;
use tower_http::csrf::{ConfigError, CsrfLayer, ProtectionError};

use super::anonymous::AnonymousRequests;
use super::body_permits::BodyPermits;
use super::host::AllowedHosts;
use super::limiter::RateLimiter;
use super::paths::{self, PublicPath};
use super::sessions::Sessions;
use super::slots::{SlotGuard, SlotLimits, Slots};
use super::{AccessError, Caller, RateLimits, SessionText, TokenInfo, TokenText, Tokens, cookie};
use crate::listen::{ConnectionLimits, Peer};

/// Path of the sign-in page.
const SIGN_IN_PATH: &str = "/ui/login";
/// Bytes of the body of an anonymous request: enough for a token.
const MAX_ANONYMOUS_BODY_BYTES: usize = 16 * 1024;
/// Time for which browsers cache the answer to a CORS preflight.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);
/// Headers that a proxy adds. A request with one may come from another machine.
const PROXY_HEADERS: [HeaderName; 4] =
    [header::FORWARDED, header::VIA, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];

/// Configuration of access control.
#[derive(Debug, Clone)]
pub struct AccessConfig {
    /// Address that the service listens on.
    pub address: SocketAddr,
    /// Host names that it answers to on a loopback address besides those of this machine, such as that of a proxy in
    /// front.
    pub names: Vec<String>,
    /// Origins of other sites whose pages may use it, such as `https://occopus.example.org`.
    pub cors_origins: Vec<String>,
    /// Limits on the rate of requests.
    pub rates: RateLimits,
    /// Connections at a time, in all and from one address.
    pub connections: (usize, usize),
    /// Event streams of one token.
    pub streams_per_token: usize,
    /// TLS on connections.
    pub tls: bool,
}

/// Default limit on the event streams of one token.
const DEFAULT_STREAMS_PER_TOKEN: usize = 128;
/// Requests of one token at a time, in addition to its event streams.
const MAX_REQUESTS_PER_TOKEN: usize = 128;

impl AccessConfig {
    /// Creates a configuration for this address with default limits, which trusts no origin but the service's own.
    pub fn at(address: SocketAddr) -> Self {
        let ConnectionLimits { connections, connections_per_address, .. } = ConnectionLimits::default();
        Self {
            address,
            names: Vec::new(),
            cors_origins: Vec::new(),
            rates: RateLimits::default(),
            connections: (connections, connections_per_address),
            streams_per_token: DEFAULT_STREAMS_PER_TOKEN,
            tls: false,
        }
    }

    /// Returns the limits on authenticated requests: a quarter of all connections is left for administrators and for
    /// anonymous requests.
    fn authenticated_limits(&self) -> SlotLimits {
        let (all, per_address) = self.connections;
        let per_token = self.streams_per_token.saturating_add(MAX_REQUESTS_PER_TOKEN);
        SlotLimits { per_token, per_address: (per_address * 3 / 4).max(1), all: (all * 3 / 4).max(1) }
    }

    /// Returns the limits on anonymous requests, which are short.
    fn anonymous_limits(&self) -> SlotLimits {
        let (all, per_address) = self.connections;
        SlotLimits { per_token: 0, per_address: (per_address / 32).max(1), all: (all / 32).max(1) }
    }

    /// Returns the limits on event streams.
    pub(crate) fn stream_limits(&self) -> SlotLimits {
        let (all, per_address) = self.connections;
        SlotLimits { per_token: self.streams_per_token, per_address: (per_address / 2).max(1), all: (all / 2).max(1) }
    }
}

/// Invalid origin in the configuration.
#[derive(Debug, thiserror::Error)]
#[error("`cors_origins`: {0}; an origin is written as browsers send it: https://HOST, or https://HOST:PORT")]
pub struct OriginError(String);

impl From<ConfigError> for OriginError {
    fn from(error: ConfigError) -> Self {
        Self(error.to_string())
    }
}

/// Access control of the service. Clones share its state.
#[derive(Clone)]
pub struct Access {
    shared: Arc<AccessInner>,
}

struct AccessInner {
    tokens: Tokens,
    sessions: Sessions,
    tls: bool,
    request_slots: Slots,
    anonymous: AnonymousRequests,
    bodies: BodyPermits,
    /// Listening on a loopback address, which is open while there are no tokens.
    loopback: bool,
    hosts: AllowedHosts,
    cors_origins: Vec<HeaderValue>,
    csrf: CsrfLayer,
    limiter: RateLimiter,
}

impl Access {
    /// Creates access control with these tokens.
    ///
    /// # Errors
    /// Returns [`OriginError`] if an entry of `cors_origins` is not an origin.
    pub fn new(tokens: Tokens, config: AccessConfig) -> Result<Self, OriginError> {
        let request_slots = Slots::new(config.authenticated_limits());
        let anonymous = AnonymousRequests::new(config.anonymous_limits());
        let AccessConfig { address, names, cors_origins, rates, tls, .. } = config;
        let loopback = address.ip().to_canonical().is_loopback();
        let hosts = if loopback { AllowedHosts::Loopback(names) } else { AllowedHosts::Any };
        let csrf = cors_origins.iter().try_fold(CsrfLayer::new(), CsrfLayer::add_trusted_origin)?;
        let value = |origin: &String| HeaderValue::from_str(origin).map_err(|error| OriginError(error.to_string()));
        let cors_origins = cors_origins.iter().map(value).collect::<Result<_, _>>()?;
        let (limiter, sessions, bodies) = (RateLimiter::new(rates), tokens.sessions(), BodyPermits::default());
        let shared = AccessInner {
            tokens,
            sessions,
            tls,
            request_slots,
            anonymous,
            bodies,
            loopback,
            hosts,
            cors_origins,
            csrf,
            limiter,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Begins a session of this token, and returns the cookies with which the browser keeps it.
    ///
    /// # Errors
    /// Returns [`AccessError::Unauthenticated`] if the token is invalid, [`AccessError::RateLimited`] if there are too
    /// many attempts, and [`AccessError::StoreUnavailable`] if the store fails.
    pub async fn sign_in(&self, token: &TokenText, address: Option<IpAddr>) -> Result<[HeaderValue; 2], AccessError> {
        let AccessInner { tokens, limiter, sessions, tls, .. } = &*self.shared;
        let found = tokens.verify_limited(token.reveal(), || limiter.check_verification(address)).await?;
        let info = self.count_request(found, address)?;
        limiter.check_sign_in(&info.id)?;
        Ok(cookie::session_cookies(&sessions.begin(&info).await?, *tls)?)
    }

    /// Ends the session of a request, and returns the cookies that delete it from the browser.
    ///
    /// # Errors
    /// Returns [`AccessError::StoreUnavailable`] if the store fails.
    pub async fn sign_out(&self, headers: &HeaderMap) -> Result<[HeaderValue; 2], AccessError> {
        if let Some(session) = cookie::session(headers, self.shared.tls).and_then(SessionText::parse) {
            self.shared.sessions.end(&session).await?;
        }
        Ok(cookie::expired_cookies(self.shared.tls)?)
    }

    /// Counts a request with this token, or one with an invalid token, against its rate. Requests of others from the same
    /// address, with invalid tokens or without, never block the owner of a valid one.
    fn count_request(&self, found: Option<TokenInfo>, address: Option<IpAddr>) -> Result<TokenInfo, AccessError> {
        let limiter = &self.shared.limiter;
        match found {
            Some(info) => limiter.check_token(&info.id).map(|()| info),
            None => limiter.check_invalid_token(address).and(Err(AccessError::Unauthenticated)),
        }
    }

    /// Returns true if everybody who can connect may do everything: on a loopback address, until there is a token.
    ///
    /// # Errors
    /// Returns [`AccessError::StoreUnavailable`] if the store fails.
    pub async fn is_open(&self) -> Result<bool, AccessError> {
        let AccessInner { tokens, loopback, .. } = &*self.shared;
        Ok(*loopback && !tokens.has_any().await?)
    }

    /// Admits a request, or rejects it.
    async fn admit(&self, parts: &Parts) -> Result<Admitted, AccessError> {
        let address = parts.extensions.get::<Peer>().map(Peer::address);
        let AccessInner { limiter, tokens, sessions, request_slots, tls, .. } = &*self.shared;
        match paths::public_path(&parts.method, parts.uri.path()) {
            Some(PublicPath::Health) => return Ok(Admitted::Health),
            // A sign-in is counted by its token.
            Some(PublicPath::SignIn) => return Ok(Admitted::Anonymous),
            Some(PublicPath::Other) => return limiter.check_address(address).map(|()| Admitted::Anonymous),
            None => {}
        }
        let admit =
            |caller: Caller, session| Ok(Admitted::Authenticated(request_slots.acquire(&caller)?, caller, session));
        let proxied = PROXY_HEADERS.iter().any(|name| parts.headers.contains_key(name));
        if !proxied && self.is_open().await? {
            limiter.check_address(address)?;
            return admit(Caller::anyone(address), None);
        }
        if let Some(token) = bearer_token(&parts.headers) {
            let found = tokens.verify_limited(token, || limiter.check_verification(address)).await?;
            return admit(Caller::from_token(self.count_request(found, address)?, address), None);
        }
        let session = cookie::session(&parts.headers, *tls).and_then(SessionText::parse);
        let found = match &session {
            Some(session) => sessions.verify(session).await?,
            None => None,
        };
        // An expired session is not an attempt with a token.
        let Some(info) = found else { return limiter.check_address(address).and(Err(AccessError::Unauthenticated)) };
        limiter.check_token(&info.id)?;
        admit(Caller::from_token(info, address), session)
    }
}

/// Result of admission.
enum Admitted {
    /// A health check of the service.
    Health,
    /// A request to a public path.
    Anonymous,
    /// A request of this caller, by a session or by a token.
    Authenticated(SlotGuard, Caller, Option<SessionText>),
}

/// Wraps routes in access control. Handlers find the [`Caller`] of an admitted request in its extensions.
pub fn guard(router: Router, access: &Access) -> Router {
    let AccessInner { cors_origins, csrf, .. } = &*access.shared;
    let reject = |_: ProtectionError| AccessError::Origin.into_response();
    let mut router = router
        .layer(from_fn_with_state(access.clone(), authenticate))
        .layer(csrf.clone().with_rejection_response(reject));
    if !cors_origins.is_empty() {
        router = router.layer(cors(cors_origins.clone()));
    }
    router.layer(from_fn_with_state(access.clone(), check_host))
}

/// Admits or rejects a request by its token or session, and holds its slot until the response is sent.
async fn authenticate(State(access): State<Access>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match access.admit(&parts).await {
        Ok(Admitted::Health) => next.run(Request::from_parts(parts, Body::empty())).await,
        Ok(Admitted::Anonymous) => {
            let admitted = access.shared.anonymous.admit(parts.extensions.get::<Peer>().map(Peer::address));
            let body = Body::new(Limited::new(body, MAX_ANONYMOUS_BODY_BYTES));
            tokio::select! {
                response = next.run(Request::from_parts(parts, body)) => response,
                () = admitted.wait_for_eviction() => AccessError::ConcurrencyLimited.into_response(),
            }
        }
        Ok(Admitted::Authenticated(slot, caller, session)) => {
            let token = caller.token.clone();
            // Bodies are read under a permit: those that wait stay with their senders, and not in memory.
            let body_permit = if body.is_end_stream() { None } else { access.shared.bodies.acquire(&caller).await };
            parts.extensions.insert(caller);
            let response = next.run(Request::from_parts(parts, body)).await;
            drop(body_permit);
            let tokens = &access.shared.tokens;
            let response =
                if is_event_stream(&response) { end_with_token(response, tokens, token, session) } else { response };
            hold_slot(response, slot)
        }
        Err(AccessError::Unauthenticated) if paths::wants_page(&parts) => Redirect::to(SIGN_IN_PATH).into_response(),
        Err(error) => {
            tracing::debug!(code = error.code(), path = parts.uri.path(), "a request was rejected");
            error.into_response()
        }
    }
}

/// Returns true if a response goes on for as long as its client stays connected.
fn is_event_stream(response: &Response) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// Ends a response when the token or session of its request becomes invalid; that of a request without one as soon as a
/// token is needed.
fn end_with_token(
    response: Response,
    tokens: &Tokens,
    token: Option<String>,
    session: Option<SessionText>,
) -> Response {
    let tokens = tokens.clone();
    let invalid = async move {
        match token {
            Some(token) => tokens.wait_until_invalid(token, session).await,
            None => tokens.wait_for_first().await,
        }
    };
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(Box::pin(invalid))))
}

/// Keeps a slot until the whole response is sent.
fn hold_slot(response: Response, slot: SlotGuard) -> Response {
    response.map(|inner| Body::new(SlotHoldingBody { inner, _slot: slot }))
}

/// A response body that holds the slot of its request. Its size hint is that of the inner body.
struct SlotHoldingBody {
    inner: Body,
    _slot: SlotGuard,
}

impl hyper::body::Body for SlotHoldingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Rejects requests to host names that are not allowed.
async fn check_host(State(access): State<Access>, request: Request, next: Next) -> Response {
    if access.shared.hosts.allows(request.uri(), request.headers()) {
        next.run(request).await
    } else {
        AccessError::Host.into_response()
    }
}

/// Creates the CORS layer, which lets pages of these origins read responses. It does not allow credentials, so no
/// cookies.
fn cors(origins: Vec<HeaderValue>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::ACCEPT,
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("prefer"),
        ])
        .expose_headers([header::ETAG, header::LOCATION, header::RETRY_AFTER, header::WWW_AUTHENTICATE])
        .max_age(PREFLIGHT_MAX_AGE)
}

/// Returns the token of a request; an empty one, which is invalid, if the header is malformed.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?;
    let bearer = value.to_str().ok().and_then(|text| text.split_once(' '));
    Some(bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or("", |(_, token)| token.trim()))
}

#[cfg(test)]
mod tests;
