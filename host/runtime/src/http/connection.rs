//! Connections to one server each, over HTTP/1.1 or HTTP/2.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{self, HeaderValue};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::error_chain;
use super::route::Route;
use super::{HttpError, HttpErrorKind, RequestBody, RequestSent};
use crate::grants::CallGrants;

pub(super) struct Connection {
    sender: Sender,
    remote: RemoteEnd,
    number: u64,
}

/// Remote end of a connection.
#[derive(Debug, Clone)]
pub(super) enum RemoteEnd {
    /// A socket of this machine.
    Socket,
    /// The server.
    Address(IpAddr),
    /// The server, behind a proxy that does not read what is sent.
    Tunnel,
    /// A proxy, which reads each request, and our credentials for it.
    Proxy(Option<HeaderValue>),
}

enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

/// Outcome of sending a request.
pub(super) enum SendOutcome {
    Answered(Response<Incoming>),
    /// The request, of which nothing was sent.
    NotSent(Box<Request<RequestBody>>),
    /// The server may have received it.
    Failed(hyper::Error),
}

impl Connection {
    pub(super) async fn http1<S>(stream: S, remote: RemoteEnd) -> Result<Self, HttpError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| handshake_failed(&error))?;
        // Its errors reach the sender that waits for an answer.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self::new(Sender::Http1(sender), remote))
    }

    pub(super) async fn http2<S>(stream: S, remote: RemoteEnd) -> Result<Self, HttpError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        let (sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| handshake_failed(&error))?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self::new(Sender::Http2(sender), remote))
    }

    fn new(sender: Sender, remote: RemoteEnd) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Self { sender, remote, number: NUMBER.fetch_add(1, Ordering::Relaxed) }
    }

    /// Sends a request with an absolute URI.
    pub(super) async fn send(&mut self, mut request: Request<RequestBody>, route: &Route) -> SendOutcome {
        match &mut self.sender {
            Sender::Http1(sender) => {
                let absolute = request.uri().clone();
                *request.version_mut() = Version::HTTP_11;
                if let Ok(host) = route.authority().parse() {
                    request.headers_mut().insert(header::HOST, host);
                }
                match &self.remote {
                    RemoteEnd::Proxy(authorization) => {
                        if let Some(value) = authorization {
                            request.headers_mut().insert(header::PROXY_AUTHORIZATION, value.clone());
                        }
                    }
                    // A server that is not a proxy expects the path alone.
                    _ => {
                        if let Some(path) = absolute.path_and_query() {
                            *request.uri_mut() = path.clone().into();
                        }
                    }
                }
                let mut outcome = SendOutcome::from(sender.try_send_request(request).await);
                if let SendOutcome::NotSent(request) = &mut outcome {
                    *request.uri_mut() = absolute;
                }
                outcome
            }
            Sender::Http2(sender) => {
                *request.version_mut() = Version::HTTP_2;
                // HTTP/2 has `:authority` in its place.
                request.headers_mut().remove(header::HOST);
                SendOutcome::from(sender.try_send_request(request).await)
            }
        }
    }

    /// Waits until another request may be sent. Returns false if the connection is closed.
    pub(super) async fn ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// Returns whether this call may connect to the address at the remote end. A unix socket has none, and a proxy's is
    /// not the server's: those routes were found by the call's own grants.
    pub(super) fn is_granted(&self, route: &Route, grants: &CallGrants) -> bool {
        match (route, &self.remote) {
            (Route::Host { host, port, .. }, RemoteEnd::Address(address)) => {
                let name = host.parse::<IpAddr>().is_err().then_some(host.as_str());
                grants.check_address(*address, *port, name).is_ok()
            }
            (Route::Host { .. }, RemoteEnd::Tunnel | RemoteEnd::Proxy(_)) => grants.uses_proxies(),
            (Route::Socket(_), RemoteEnd::Socket) => true,
            _ => false,
        }
    }

    /// Returns another handle of a connection that takes many requests at once.
    pub(super) fn share(&self) -> Option<Self> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => {
                Some(Self { sender: Sender::Http2(sender.clone()), remote: self.remote.clone(), number: self.number })
            }
        }
    }

    /// Returns whether both are handles of one connection.
    pub(super) fn is_same_connection(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl From<Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> for SendOutcome {
    fn from(sent: Result<Response<Incoming>, TrySendError<Request<RequestBody>>>) -> Self {
        match sent {
            Ok(response) => Self::Answered(response),
            Err(mut error) => match error.take_message() {
                Some(request) => Self::NotSent(Box::new(request)),
                None => Self::Failed(error.into_error()),
            },
        }
    }
}

fn handshake_failed(error: &hyper::Error) -> HttpError {
    HttpError::new(HttpErrorKind::Connect, RequestSent::No, format!("can't open a session: {}", error_chain(error)))
}
