//! One connection.

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

/// What all connections share.
pub(super) struct ConnectionContext {
    pub(super) router: Router,
    pub(super) tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    pub(super) limits: ConnectionLimits,
    pub(super) shutdown: CancellationToken,
}

/// Serves a connection until the other end closes it, until it is to make room, or until the service ends and its last request
/// is answered.
pub(super) async fn serve_connection(
    stream: TcpStream,
    peer: Peer,
    visitor: Arc<TrackedConnection>,
    shared: Arc<ConnectionContext>,
) {
    // Answers are small; waiting for more bytes costs more than a packet.
    let _ = stream.set_nodelay(true);
    match &shared.tls {
        // Apart, so that connections without TLS take up no memory for it.
        Some(tls) => Box::pin(serve_tls(stream, tls, peer, &visitor, &shared)).await,
        None => serve_http(stream, peer, &visitor, &shared).await,
    }
}

async fn serve_tls(
    stream: TcpStream,
    tls: &watch::Receiver<Arc<ServerConfig>>,
    peer: Peer,
    visitor: &Arc<TrackedConnection>,
    shared: &ConnectionContext,
) {
    let config = tls.borrow().clone();
    let handshake = timeout(shared.limits.handshake_timeout, TlsAcceptor::from(config).accept(stream));
    let done = tokio::select! {
        done = handshake => done,
        () = wait_for_close(visitor, shared) => return,
    };
    match done {
        Ok(Ok(stream)) => serve_http(stream, peer, visitor, shared).await,
        Ok(Err(error)) => tracing::debug!(%error, "a connection was not encrypted"),
        Err(_) => tracing::debug!("a connection took too long to be encrypted"),
    }
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    visitor: &Arc<TrackedConnection>,
    shared: &ConnectionContext,
) {
    let asked = Arc::new(Notify::new());
    let service = service_fn({
        let (asked, router, visitor) = (asked.clone(), shared.router.clone(), visitor.clone());
        move |request: Request<Incoming>| {
            asked.notify_one();
            handle_request(router.clone(), request, peer, visitor.begin_request())
        }
    });
    let protocol = http_builder(&shared.limits);
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = first_request_timeout(&asked, shared.limits.head_timeout) => return tracing::debug!("a connection asked for nothing"),
        () = wait_for_close(visitor, shared) => {
            if !shared.shutdown.is_cancelled() && !visitor.is_busy() {
                return tracing::debug!("a connection that waited for a request made room");
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        // Clients go as they like.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Answers; the connection is busy until the whole answer is sent.
async fn handle_request(
    router: Router,
    mut request: Request<Incoming>,
    peer: Peer,
    busy: ActiveRequest,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(peer);
    let response = router.oneshot(request.map(Body::new)).await?;
    Ok(response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held = &busy;
            frame
        }))
    }))
}

/// Ends when a connection is to take no more requests.
async fn wait_for_close(visitor: &TrackedConnection, shared: &ConnectionContext) {
    tokio::select! {
        () = visitor.wait_for_eviction() => {}
        () = shared.shutdown.cancelled() => {}
    }
}

/// Ends when there was no first request in time. Hyper's own limit does not begin before it knows the protocol.
async fn first_request_timeout(asked: &Notify, limit: Duration) {
    if timeout(limit, asked.notified()).await.is_ok() {
        std::future::pending().await
    }
}

fn http_builder(limits: &ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        // Hyper takes no less.
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
