//! Connection of one client.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::component::ServedComponent;

/// Serves a connection (HTTP/1 or HTTP/2) until the client closes it, or until `shutdown` and its last request.
pub(super) async fn run(stream: TcpStream, component: Arc<ServedComponent>, shutdown: CancellationToken) {
    let service = service_fn(move |request| {
        let component = component.clone();
        async move { Ok::<_, Infallible>(answer(&component, request).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        // Clients may leave at any time.
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(component: &ServedComponent, mut request: Request<Incoming>) -> Response<HyperOutgoingBody> {
    // HTTP/1.0 has no `host`, but components need one.
    if request.uri().authority().is_none() {
        request.headers_mut().entry(HOST).or_insert(HeaderValue::from_static("localhost"));
    }
    component.answer(request).await.unwrap_or_else(|error| {
        tracing::warn!(error = format!("{error:#}"), "the component did not answer a request");
        let body = Full::from("The component did not answer. Its log says why.\n");
        let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    })
}
