//! What goes around all routes: limits of requests, and headers of answers.

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{self, HeaderMap, HeaderName};
use hyper::body::Body as _;
use tower_http::catch_panic::CatchPanicLayer;

use super::LimitExceeded;
use super::body::{BodyErrorCell, LimitedBody, drain};

/// Headers of answers, unless a handler knows better.
const RESPONSE_HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With `no-referrer`, browsers do not tell the origin of our own forms, by which we know them.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];
/// With TLS: browsers come with TLS only, for a year.
const HSTS: &str = "max-age=31536000";

/// What requests may take up.
#[derive(Debug, Clone)]
pub struct RequestLimits {
    /// Headers of a request.
    pub headers: usize,
    /// Bytes of all headers of a request.
    pub head_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// For a request's body to arrive.
    pub body_timeout: Duration,
    /// For the answer to begin. Its body may take longer: events are one without end.
    pub request_timeout: Duration,
    /// Whether connections are encrypted.
    pub tls: bool,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            headers: 100,
            head_bytes: 64 * 1024,
            body_bytes: 4 * 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(120),
            tls: false,
        }
    }
}

/// Puts limits and headers around routes, and around what guards them.
///
/// A handler that takes too long is dropped where it waits: what must go on belongs into a task of its own.
pub fn layers(router: Router, limits: &RequestLimits) -> Router {
    router
        // Ours holds for all that reads a body.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(limits.clone(), enforce_limits))
        .layer(CatchPanicLayer::custom(handle_panic))
        .layer(from_fn_with_state(limits.tls, set_security_headers))
}

/// Holds a request to its limits.
async fn enforce_limits(State(limits): State<RequestLimits>, request: Request, next: Next) -> Response {
    if let Err(overrun) = check_head(request.headers(), request.body(), &limits) {
        drain(request.into_body());
        return overrun.into_response();
    }
    let verdict = BodyErrorCell::default();
    let request = request.map(|body| match body.is_end_stream() {
        true => body,
        false => Body::new(LimitedBody::new(body, &limits, verdict.clone())),
    });
    let slow = LimitExceeded::RequestTimeout { limit: limits.request_timeout };
    let response = tokio::time::timeout(limits.request_timeout, next.run(request)).await;
    match verdict.get() {
        Some(overrun) => overrun.into_response(),
        None => response.unwrap_or_else(|_| slow.into_response()),
    }
}

/// What can be known before the body comes.
fn check_head(headers: &HeaderMap, body: &Body, limits: &RequestLimits) -> Result<(), LimitExceeded> {
    let bytes = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    if headers.len() > limits.headers || bytes.sum::<usize>() > limits.head_bytes {
        return Err(LimitExceeded::HeadersTooLarge);
    }
    if body.size_hint().lower() > u64::try_from(limits.body_bytes).unwrap_or(u64::MAX) {
        return Err(LimitExceeded::BodyTooLarge { limit: limits.body_bytes });
    }
    Ok(())
}

/// The panic itself is told by the program's hook.
fn handle_panic(_: Box<dyn Any + Send>) -> Response {
    LimitExceeded::Panicked.into_response()
}

/// Tells browsers what not to do with an answer.
async fn set_security_headers(State(tls): State<bool>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in RESPONSE_HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if tls {
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(HeaderValue::from_static(HSTS));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use http::StatusCode;
    use tower::ServiceExt as _;

    use super::*;

    fn router(limits: &RequestLimits) -> Router {
        let routes = Router::new()
            .route("/", post(|body: String| async move { body }))
            .route("/why", post(why))
            .route("/slow", get(std::future::pending::<()>))
            .route("/panic", get(async || -> () { panic!("a test") }))
            .route("/cached", get(|| async { [("cache-control", "max-age=60")] }));
        layers(routes, limits)
    }

    /// Tells why the body broke off, and is overruled.
    async fn why(request: Request) -> String {
        let read = http_body_util::BodyExt::collect(request.into_body()).await;
        let overrun = LimitExceeded::find_in(&read.unwrap_err()).copied();
        assert_eq!(overrun, Some(LimitExceeded::BodyTooLarge { limit: 10 }));
        "handled".to_owned()
    }

    fn few() -> RequestLimits {
        let short = Duration::from_millis(100);
        RequestLimits { body_bytes: 10, body_timeout: short, request_timeout: 2 * short, ..RequestLimits::default() }
    }

    async fn ask(request: http::request::Builder, body: Body) -> Response {
        router(&few()).oneshot(request.body(body).unwrap()).await.unwrap()
    }

    fn request(method: &str, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(path)
    }

    /// A body that does not tell its size.
    fn stream(parts: &'static [&'static str]) -> Body {
        Body::from_stream(futures::stream::iter(parts.iter().copied().map(Ok::<_, std::io::Error>)))
    }

    #[tokio::test]
    async fn bodies_are_no_larger_than_allowed_whatever_they_tell() {
        assert_eq!(ask(request("POST", "/"), Body::from("0123456789")).await.status(), StatusCode::OK);
        assert_eq!(ask(request("POST", "/"), stream(&["01234", "56789"])).await.status(), StatusCode::OK);
        for body in [Body::from("0123456789a"), stream(&["01234", "56789", "a"])] {
            let refused = ask(request("POST", "/"), body).await;
            assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
            assert_eq!(refused.headers()["content-type"], "application/problem+json");
        }
        assert_eq!(
            ask(request("POST", "/why"), stream(&["0123456789a"])).await.status(),
            StatusCode::PAYLOAD_TOO_LARGE
        );
    }

    #[tokio::test]
    async fn slow_bodies_and_slow_answers_end() {
        let begun = futures::StreamExt::chain(
            futures::stream::iter([Ok::<_, std::io::Error>("begun")]),
            futures::stream::pending(),
        );
        let refused = ask(request("POST", "/"), Body::from_stream(begun)).await;
        assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(ask(request("GET", "/slow"), Body::empty()).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn heads_are_no_larger_than_allowed() {
        let many = (0..101).fold(request("POST", "/"), |request, number| request.header(format!("x-{number}"), ""));
        assert_eq!(ask(many, Body::empty()).await.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let large = (0..17).fold(request("POST", "/"), |request, _| request.header("x", "y".repeat(4096)));
        assert_eq!(ask(large, Body::empty()).await.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }

    #[tokio::test]
    async fn every_answer_has_the_headers_and_a_panic_is_an_answer() {
        for (path, status) in [("/panic", 500), ("/nowhere", 404), ("/", 405), ("/slow", 503)] {
            let answer = ask(request("GET", path), Body::empty()).await;
            assert_eq!(answer.status(), status, "{path}");
            for (name, value) in RESPONSE_HEADERS {
                assert_eq!(answer.headers()[&name], value, "{path}");
            }
            assert!(!answer.headers().contains_key("strict-transport-security"));
        }
        let cached = ask(request("GET", "/cached"), Body::empty()).await;
        assert_eq!(cached.headers()["cache-control"], "max-age=60");
        let tls = RequestLimits { tls: true, ..few() };
        let answer = router(&tls).oneshot(request("GET", "/").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.headers()["strict-transport-security"], HSTS);
    }
}
