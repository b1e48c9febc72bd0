//! What every request goes through before it reaches a route.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use futures::StreamExt as _;
use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Method};
use http_body_util::Limited;
use tower_http::cors::CorsLayer;
use tower_http::csrf::{ConfigError, CsrfLayer, ProtectionError};

use super::host::Hosts;
use super::limiter::Limiter;
use super::{Caller, Rates, Refusal, TokenText, Tokens, cookie, paths};
use crate::listen::Peer;

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
}

impl Door {
    /// For nobody's pages but our own, with the usual rates.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, names: Vec::new(), cors_origins: Vec::new(), rates: Rates::default() }
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
        let Door { address, names, cors_origins, rates } = door;
        let loopback = address.ip().to_canonical().is_loopback();
        let hosts = if loopback { Hosts::Loopback(names) } else { Hosts::Any };
        let foreign = cors_origins.iter().try_fold(CsrfLayer::new(), CsrfLayer::add_trusted_origin)?;
        let value = |origin: &String| HeaderValue::from_str(origin).map_err(|error| WrongOrigin(error.to_string()));
        let cors_origins = cors_origins.iter().map(value).collect::<Result<_, _>>()?;
        let limiter = Limiter::new(rates);
        Ok(Self { shared: Arc::new(Shared { tokens, loopback, hosts, cors_origins, foreign, limiter }) })
    }

    /// Who has this token: for requests, and for the page on which people sign in. Where secrets are tried from one address
    /// again and again, this is refused.
    pub async fn identify(&self, token: &str, address: Option<IpAddr>) -> Result<Caller, Refusal> {
        let Shared { tokens, limiter, .. } = &*self.shared;
        let info = tokens.verify_if(token, || limiter.check(address)).await?.ok_or(Refusal::Unauthenticated)?;
        limiter.of_token(&info.id)?;
        Ok(Caller::with(info, address))
    }

    /// Whether everybody who reaches it may do everything: on a loopback address, until there is a token.
    pub async fn is_open(&self) -> Result<bool, Refusal> {
        let Shared { tokens, loopback, .. } = &*self.shared;
        Ok(*loopback && !tokens.any().await?)
    }

    /// Lets a request in.
    async fn admit(&self, parts: &Parts) -> Result<Admitted, Refusal> {
        let address = parts.extensions.get::<Peer>().map(Peer::address);
        let limiter = &self.shared.limiter;
        if paths::is_public(parts.uri.path()) {
            limiter.of_address(address)?;
            return Ok(Admitted::Anybody);
        }
        let proxied = PROXIED.iter().any(|name| parts.headers.contains_key(name));
        if !proxied && self.is_open().await? {
            limiter.of_address(address)?;
            return Ok(Admitted::Known(Caller::anyone(address), None));
        }
        match token(&parts.headers) {
            Some(token) => {
                let caller = self.identify(token, address).await?;
                Ok(Admitted::Known(caller, TokenText::parse(token).map(|token| token.id().to_owned())))
            }
            None => limiter.of_address(address).and(Err(Refusal::Unauthenticated)),
        }
    }
}

/// Who is let in.
enum Admitted {
    /// Where everybody may go.
    Anybody,
    /// This one, by the token with this id, or without.
    Known(Caller, Option<String>),
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
        Ok(Admitted::Anybody) => {
            let body = Body::new(Limited::new(body, UNKNOWN_BODY));
            next.run(Request::from_parts(parts, body)).await
        }
        Ok(Admitted::Known(caller, token)) => {
            parts.extensions.insert(caller);
            let response = next.run(Request::from_parts(parts, body)).await;
            if is_endless(&response) { until_ended(response, &access.shared.tokens, token) } else { response }
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
fn until_ended(response: Response, tokens: &Tokens, token: Option<String>) -> Response {
    let tokens = tokens.clone();
    let ended = async move {
        match token {
            Some(token) => tokens.ended(token).await,
            None => tokens.begun().await,
        }
    };
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(Box::pin(ended))))
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
    let Some(value) = headers.get(header::AUTHORIZATION) else { return cookie::token(headers) };
    let bearer = value.to_str().ok().and_then(|text| text.split_once(' '));
    Some(bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or("", |(_, token)| token.trim()))
}

#[cfg(test)]
mod tests;
