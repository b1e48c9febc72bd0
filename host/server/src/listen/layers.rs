//! Layers around all routes: limits of requests, and security headers of responses.

use std::any::Any;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{self, HeaderMap, HeaderName};
use hyper::body::Body as _;
use tower_http::catch_panic::CatchPanicLayer;

use super::body::{BodyErrorCell, LimitedBody, drain};
use super::{LimitExceeded, RequestLimits};

/// Headers of responses, unless a handler sets its own.
const RESPONSE_HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With `no-referrer`, browsers would send no origin with this service's own forms, and the origin check needs it.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];
/// Value of `Strict-Transport-Security` with TLS: browsers use TLS only, for a year.
const HSTS: &str = "max-age=31536000";

/// Wraps routes and their guard in limits and security headers.
///
/// A handler that exceeds `request_timeout` is cancelled where it waits: work that must go on belongs into a task of its
/// own.
pub fn layers(router: Router, limits: &RequestLimits) -> Router {
    router
        // The limit below holds for everything that reads a body.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(limits.clone(), enforce_limits))
        .layer(CatchPanicLayer::custom(handle_panic))
        .layer(from_fn_with_state(limits.tls, set_security_headers))
}

/// Enforces the limits of a request.
async fn enforce_limits(State(limits): State<RequestLimits>, request: Request, next: Next) -> Response {
    if let Err(error) = check_head(request.headers(), request.body(), &limits) {
        drain(request.into_body());
        return error.into_response();
    }
    let body_error = BodyErrorCell::default();
    let request = request.map(|body| match body.is_end_stream() {
        true => body,
        false => Body::new(LimitedBody::new(body, &limits, body_error.clone())),
    });
    let timeout_error = LimitExceeded::RequestTimeout { limit: limits.request_timeout };
    let response = tokio::time::timeout(limits.request_timeout, next.run(request)).await;
    match body_error.get() {
        Some(error) => error.into_response(),
        None => response.unwrap_or_else(|_| timeout_error.into_response()),
    }
}

/// Checks the limits that can be checked before the body arrives.
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

/// Answers a request whose handler panicked. The program's panic hook reports the panic itself.
fn handle_panic(_: Box<dyn Any + Send>) -> Response {
    LimitExceeded::Panicked.into_response()
}

/// Adds the headers with which browsers restrict the use of a response.
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
    use std::time::Duration;

    use axum::routing::{get, post};
    use http::StatusCode;
    use tower::ServiceExt as _;

    use super::*;

    fn router(limits: &RequestLimits) -> Router {
        let routes = Router::new()
            .route("/", post(|body: String| async move { body }))
            .route("/why", post(read_body_error))
            .route("/slow", get(std::future::pending::<()>))
            .route("/panic", get(async || -> () { panic!("a test") }))
            .route("/cached", get(|| async { [("cache-control", "max-age=60")] }));
        layers(routes, limits)
    }

    /// Checks the error of the body. Its own response is overruled by the layer.
    async fn read_body_error(request: Request) -> String {
        let read = http_body_util::BodyExt::collect(request.into_body()).await;
        let error = LimitExceeded::find_in(&read.unwrap_err()).copied();
        assert_eq!(error, Some(LimitExceeded::BodyTooLarge { limit: 10 }));
        "handled".to_owned()
    }

    fn few() -> RequestLimits {
        let short = Duration::from_millis(100);
        RequestLimits { body_bytes: 10, body_timeout: short, request_timeout: 2 * short, ..RequestLimits::default() }
    }

    async fn send(request: http::request::Builder, body: Body) -> Response {
        router(&few()).oneshot(request.body(body).unwrap()).await.unwrap()
    }

    fn request(method: &str, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(path)
    }

    /// Creates a body of unknown size.
    fn stream(parts: &'static [&'static str]) -> Body {
        Body::from_stream(futures::stream::iter(parts.iter().copied().map(Ok::<_, std::io::Error>)))
    }

    #[tokio::test]
    async fn bodies_are_no_larger_than_allowed_whatever_they_tell() {
        assert_eq!(send(request("POST", "/"), Body::from("0123456789")).await.status(), StatusCode::OK);
        assert_eq!(send(request("POST", "/"), stream(&["01234", "56789"])).await.status(), StatusCode::OK);
        for body in [Body::from("0123456789a"), stream(&["01234", "56789", "a"])] {
            let response = send(request("POST", "/"), body).await;
            assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
        assert_eq!(
            send(request("POST", "/why"), stream(&["0123456789a"])).await.status(),
            StatusCode::PAYLOAD_TOO_LARGE
        );
    }

    #[tokio::test]
    async fn slow_bodies_and_slow_answers_end() {
        let endless = futures::StreamExt::chain(
            futures::stream::iter([Ok::<_, std::io::Error>("begun")]),
            futures::stream::pending(),
        );
        let response = send(request("POST", "/"), Body::from_stream(endless)).await;
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(send(request("GET", "/slow"), Body::empty()).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn heads_are_no_larger_than_allowed() {
        let many = (0..101).fold(request("POST", "/"), |request, number| request.header(format!("x-{number}"), ""));
        assert_eq!(send(many, Body::empty()).await.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let large = (0..17).fold(request("POST", "/"), |request, _| request.header("x", "y".repeat(4096)));
        assert_eq!(send(large, Body::empty()).await.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }

    #[tokio::test]
    async fn every_answer_has_the_headers_and_a_panic_is_an_answer() {
        for (path, status) in [("/panic", 500), ("/nowhere", 404), ("/", 405), ("/slow", 503)] {
            let response = send(request("GET", path), Body::empty()).await;
            assert_eq!(response.status(), status, "{path}");
            for (name, value) in RESPONSE_HEADERS {
                assert_eq!(response.headers()[&name], value, "{path}");
            }
            assert!(!response.headers().contains_key("strict-transport-security"));
        }
        let cached = send(request("GET", "/cached"), Body::empty()).await;
        assert_eq!(cached.headers()["cache-control"], "max-age=60");
        let tls = RequestLimits { tls: true, ..few() };
        let response = router(&tls).oneshot(request("GET", "/").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["strict-transport-security"], HSTS);
    }
}
