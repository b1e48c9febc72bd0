//! Serving of one connection: TLS handshake, HTTP/1.1 or HTTP/2, and its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::idle::{ActiveRequest, TrackedConnection};
use super::{ConnectionLimits, Peer};

/// State shared by all connections of a listener.
pub(super) struct ConnectionContext {
    pub(super) router: Router,
    pub(super) tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    pub(super) limits: ConnectionLimits,
    pub(super) shutdown: CancellationToken,
}

/// Serves a connection until the client closes it, until it is evicted, or until the service shuts down and the last
/// request is answered.
pub(super) async fn serve_connection(
    stream: TcpStream,
    peer: Peer,
    tracked: Arc<TrackedConnection>,
    context: Arc<ConnectionContext>,
) {
    // Responses are small; waiting for more bytes costs more than a packet.
    let _ = stream.set_nodelay(true);
    match &context.tls {
        // Boxed, so that connections without TLS take up no memory for it.
        Some(tls) => Box::pin(serve_tls(stream, tls, peer, &tracked, &context)).await,
        None => serve_http(stream, peer, &tracked, &context).await,
    }
}

async fn serve_tls(
    stream: TcpStream,
    tls: &watch::Receiver<Arc<ServerConfig>>,
    peer: Peer,
    tracked: &Arc<TrackedConnection>,
    context: &ConnectionContext,
) {
    let config = tls.borrow().clone();
    let handshake = timeout(context.limits.handshake_timeout, TlsAcceptor::from(config).accept(stream));
    let outcome = tokio::select! {
        outcome = handshake => outcome,
        () = wait_for_close(tracked, context) => return,
    };
    match outcome {
        Ok(Ok(stream)) => serve_http(stream, peer, tracked, context).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    tracked: &Arc<TrackedConnection>,
    context: &ConnectionContext,
) {
    let requested = Arc::new(Notify::new());
    let service = service_fn({
        let (requested, router, tracked) = (requested.clone(), context.router.clone(), tracked.clone());
        move |request: Request<Incoming>| {
            requested.notify_one();
            handle_request(router.clone(), request, peer, tracked.begin_request())
        }
    });
    let protocol = http_builder(&context.limits);
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = first_request_timeout(&requested, context.limits.head_timeout) => {
            return tracing::debug!("a connection sent no request in time");
        }
        () = wait_for_close(tracked, context) => {
            if !context.shutdown.is_cancelled() && !tracked.is_busy() {
                return tracing::debug!("an idle connection was evicted");
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        // Clients may close connections at any time.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Handles a request. The connection is busy until the whole response is sent.
async fn handle_request(
    router: Router,
    mut request: Request<Incoming>,
    peer: Peer,
    active: ActiveRequest,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(peer);
    let response = router.oneshot(request.map(Body::new)).await?;
    Ok(response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held = &active;
            frame
        }))
    }))
}

/// Waits until a connection is to take no more requests: until it is evicted, or the service shuts down.
async fn wait_for_close(tracked: &TrackedConnection, context: &ConnectionContext) {
    tokio::select! {
        () = tracked.wait_for_eviction() => {}
        () = context.shutdown.cancelled() => {}
    }
}

/// Returns if no first request arrives in time, else never. Hyper's own timeout does not start before the protocol is
/// known.
async fn first_request_timeout(requested: &Notify, limit: Duration) {
    if timeout(limit, requested.notified()).await.is_ok() {
        std::future::pending().await
    }
}

fn http_builder(limits: &ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        // Hyper panics on less.
        .max_buf_size(limits.head_bytes.max(8192))
        .max_headers(limits.headers);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_interval);
    builder
}
