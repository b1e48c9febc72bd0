//! What every request goes through before it reaches a route.

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

use super::bodies::Bodies;
use super::host::Hosts;
use super::limiter::Limiter;
use super::paths::{self, Public};
use super::places::{Most, Places, Taking};
use super::sessions::Sessions;
use super::strangers::Strangers;
use super::{Caller, Rates, Refusal, SessionText, TokenInfo, TokenText, Tokens, cookie};
use crate::listen::{ConnectionLimits, Peer};

/// Where a person gives the token.
const SIGN_IN: &str = "/ui/login";
/// Bytes of a body from whom nobody knows: room for a token.
const UNKNOWN_BODY: usize = 16 * 1024;
/// How long browsers remember what another origin may do.
const PREFLIGHT: Duration = Duration::from_secs(600);
/// Headers of a proxy, behind which anybody may be.
const PROXIED: [HeaderName; 4] =
    [header::FORWARDED, header::VIA, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];

/// Where the service listens, and for whom.
#[derive(Debug, Clone)]
pub struct Door {
    /// Where it listens.
    pub address: SocketAddr,
    /// Names that it answers to on a loopback address, besides those of this machine: that of a proxy before it.
    pub names: Vec<String>,
    /// Origins whose pages may use it, such as `https://occopus.example.org`.
    pub cors_origins: Vec<String>,
    /// How often callers may ask.
    pub rates: Rates,
    /// Connections at a time, and of them from one address.
    pub connections: (usize, usize),
    /// Event streams of one token.
    pub streams_per_token: usize,
    /// Whether connections are encrypted.
    pub tls: bool,
}

/// Event streams of one token, unless the operator allows another number.
const STREAMS: usize = 128;
/// Requests of one token at a time, beside its event streams.
const REQUESTS: usize = 128;

impl Door {
    /// For nobody's pages but our own, with the usual rates.
    pub fn at(address: SocketAddr) -> Self {
        let ConnectionLimits { connections, connections_per_address, .. } = ConnectionLimits::default();
        Self {
            address,
            names: Vec::new(),
            cors_origins: Vec::new(),
            rates: Rates::default(),
            connections: (connections, connections_per_address),
            streams_per_token: STREAMS,
            tls: false,
        }
    }

    /// Requests at a time with tokens: a quarter of all connections is left for administrators and for who has none.
    fn for_known(&self) -> Most {
        let (all, per_address) = self.connections;
        let per_token = self.streams_per_token.saturating_add(REQUESTS);
        Most { per_token, per_address: (per_address * 3 / 4).max(1), all: (all * 3 / 4).max(1) }
    }

    /// Requests at a time without one: they are short.
    fn for_strangers(&self) -> Most {
        let (all, per_address) = self.connections;
        Most { per_token: 0, per_address: (per_address / 32).max(1), all: (all / 32).max(1) }
    }

    /// Event streams at a time.
    pub(crate) fn for_streams(&self) -> Most {
        let (all, per_address) = self.connections;
        Most { per_token: self.streams_per_token, per_address: (per_address / 2).max(1), all: (all / 2).max(1) }
    }
}

/// An origin can't be allowed.
#[derive(Debug, thiserror::Error)]
#[error("`cors_origins`: {0}; an origin is written as browsers send it: https://HOST, or https://HOST:PORT")]
pub struct WrongOrigin(String);

impl From<ConfigError> for WrongOrigin {
    fn from(error: ConfigError) -> Self {
        Self(error.to_string())
    }
}

/// Decides who may come in. Clones are the same.
#[derive(Clone)]
pub struct Access {
    shared: Arc<Shared>,
}

struct Shared {
    tokens: Tokens,
    sessions: Sessions,
    tls: bool,
    known: Places,
    strangers: Strangers,
    bodies: Bodies,
    /// Whether everybody is let in as long as there are no tokens.
    loopback: bool,
    hosts: Hosts,
    cors_origins: Vec<HeaderValue>,
    foreign: CsrfLayer,
    limiter: Limiter,
}

impl Access {
    /// With these tokens, at this door.
    pub fn new(tokens: Tokens, door: Door) -> Result<Self, WrongOrigin> {
        let (known, strangers) = (Places::new(door.for_known()), Strangers::new(door.for_strangers()));
        let Door { address, names, cors_origins, rates, tls, .. } = door;
        let loopback = address.ip().to_canonical().is_loopback();
        let hosts = if loopback { Hosts::Loopback(names) } else { Hosts::Any };
        let foreign = cors_origins.iter().try_fold(CsrfLayer::new(), CsrfLayer::add_trusted_origin)?;
        let value = |origin: &String| HeaderValue::from_str(origin).map_err(|error| WrongOrigin(error.to_string()));
        let cors_origins = cors_origins.iter().map(value).collect::<Result<_, _>>()?;
        let (limiter, sessions, bodies) = (Limiter::new(rates), tokens.sessions(), Bodies::default());
        let shared =
            Shared { tokens, sessions, tls, known, strangers, bodies, loopback, hosts, cors_origins, foreign, limiter };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Begins a session for whoever has this token, and gives the cookies by which the browser keeps it.
    pub async fn sign_in(&self, token: &TokenText, address: Option<IpAddr>) -> Result<[HeaderValue; 2], Refusal> {
        let Shared { tokens, limiter, sessions, tls, .. } = &*self.shared;
        let found = tokens.verify_if(token.reveal(), || limiter.check(address)).await?;
        let info = self.charge(found, address)?;
        limiter.of_sign_in(&info.id)?;
        Ok(cookie::sign_in(&sessions.begin(&info).await?, *tls)?)
    }

    /// Ends the session of a request, and gives the cookies by which the browser forgets it.
    pub async fn sign_out(&self, headers: &HeaderMap) -> Result<[HeaderValue; 2], Refusal> {
        if let Some(session) = cookie::session(headers, self.shared.tls).and_then(SessionText::parse) {
            self.shared.sessions.end(&session).await?;
        }
        Ok(cookie::sign_out(self.shared.tls)?)
    }

    /// Counts a request of whoever has this token, or one with a wrong one. What others send from the same address, with wrong
    /// tokens or without, keeps nobody out who has a good one.
    fn charge(&self, found: Option<TokenInfo>, address: Option<IpAddr>) -> Result<TokenInfo, Refusal> {
        let limiter = &self.shared.limiter;
        match found {
            Some(info) => limiter.of_token(&info.id).map(|()| info),
            None => limiter.of_wrong(address).and(Err(Refusal::Unauthenticated)),
        }
    }

    /// Whether everybody who reaches it may do everything: on a loopback address, until there is a token.
    pub async fn is_open(&self) -> Result<bool, Refusal> {
        let Shared { tokens, loopback, .. } = &*self.shared;
        Ok(*loopback && !tokens.any().await?)
    }

    /// Lets a request in.
    async fn admit(&self, parts: &Parts) -> Result<Admitted, Refusal> {
        let address = parts.extensions.get::<Peer>().map(Peer::address);
        let Shared { limiter, tokens, sessions, known, tls, .. } = &*self.shared;
        match paths::public(&parts.method, parts.uri.path()) {
            Some(Public::Health) => return Ok(Admitted::Health),
            // Who signs in is counted by the token.
            Some(Public::SignIn) => return Ok(Admitted::Anybody),
            Some(Public::Other) => return limiter.of_address(address).map(|()| Admitted::Anybody),
            None => {}
        }
        let admit = |caller: Caller, session| Ok(Admitted::Known(known.take(&caller)?, caller, session));
        let proxied = PROXIED.iter().any(|name| parts.headers.contains_key(name));
        if !proxied && self.is_open().await? {
            limiter.of_address(address)?;
            return admit(Caller::anyone(address), None);
        }
        if let Some(token) = token(&parts.headers) {
            let found = tokens.verify_if(token, || limiter.check(address)).await?;
            return admit(Caller::with(self.charge(found, address)?, address), None);
        }
        let session = cookie::session(&parts.headers, *tls).and_then(SessionText::parse);
        let found = match &session {
            Some(session) => sessions.token(session).await?,
            None => None,
        };
        // Whose session has ended has tried no token.
        let Some(info) = found else { return limiter.of_address(address).and(Err(Refusal::Unauthenticated)) };
        limiter.of_token(&info.id)?;
        admit(Caller::with(info, address), session)
    }
}

/// Who is let in.
enum Admitted {
    /// To find out how the service is.
    Health,
    /// Where everybody may go.
    Anybody,
    /// This one, by a session or without.
    Known(Taking, Caller, Option<SessionText>),
}

/// Puts the doors before routes: whoever is let in is a [`Caller`] for the handlers.
pub fn guard(router: Router, access: &Access) -> Router {
    let Shared { cors_origins, foreign, .. } = &*access.shared;
    let refuse = |_: ProtectionError| Refusal::Origin.into_response();
    let mut router = router
        .layer(from_fn_with_state(access.clone(), authenticate))
        .layer(foreign.clone().with_rejection_response(refuse));
    if !cors_origins.is_empty() {
        router = router.layer(cors(cors_origins.clone()));
    }
    router.layer(from_fn_with_state(access.clone(), by_name))
}

/// Lets in who may come in.
async fn authenticate(State(access): State<Access>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match access.admit(&parts).await {
        Ok(Admitted::Health) => next.run(Request::from_parts(parts, Body::empty())).await,
        Ok(Admitted::Anybody) => {
            let stranger = access.shared.strangers.come(parts.extensions.get::<Peer>().map(Peer::address));
            let body = Body::new(Limited::new(body, UNKNOWN_BODY));
            tokio::select! {
                response = next.run(Request::from_parts(parts, body)) => response,
                () = stranger.sent_away() => Refusal::Full.into_response(),
            }
        }
        Ok(Admitted::Known(taking, caller, session)) => {
            let token = caller.token.clone();
            // Documents are read in turn: what waits is with whoever sends it, and not in memory.
            let turn = if body.is_end_stream() { None } else { access.shared.bodies.turn(&caller).await };
            parts.extensions.insert(caller);
            let response = next.run(Request::from_parts(parts, body)).await;
            drop(turn);
            let tokens = &access.shared.tokens;
            let response = if is_endless(&response) { until_ended(response, tokens, token, session) } else { response };
            held(response, taking)
        }
        Err(Refusal::Unauthenticated) if paths::wants_page(&parts) => Redirect::to(SIGN_IN).into_response(),
        Err(refusal) => {
            tracing::debug!(code = refusal.code(), path = parts.uri.path(), "a request was refused");
            refusal.into_response()
        }
    }
}

/// Whether an answer goes on for as long as somebody listens.
fn is_endless(response: &Response) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// Ends an answer when the token is no good any more for which it is given; or, given without one, when one is needed.
fn until_ended(response: Response, tokens: &Tokens, token: Option<String>, session: Option<SessionText>) -> Response {
    let tokens = tokens.clone();
    let ended = async move {
        match token {
            Some(token) => tokens.ended(token, session).await,
            None => tokens.begun().await,
        }
    };
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(Box::pin(ended))))
}

/// Keeps a place until the whole answer is sent.
fn held(response: Response, taking: Taking) -> Response {
    response.map(|inner| Body::new(Held { inner, _taking: taking }))
}

/// An answer, as long as it was before, with the place that it takes.
struct Held {
    inner: Body,
    _taking: Taking,
}

impl hyper::body::Body for Held {
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

/// Refuses requests to names that are not ours.
async fn by_name(State(access): State<Access>, request: Request, next: Next) -> Response {
    if access.shared.hosts.answer_to(request.uri(), request.headers()) {
        next.run(request).await
    } else {
        Refusal::Host.into_response()
    }
}

/// Lets pages of these origins read answers. Cookies are not for them.
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
        .max_age(PREFLIGHT)
}

/// The token of a request. One that can't be read is a wrong one.
fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?;
    let bearer = value.to_str().ok().and_then(|text| text.split_once(' '));
    Some(bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or("", |(_, token)| token.trim()))
}

#[cfg(test)]
mod tests;
