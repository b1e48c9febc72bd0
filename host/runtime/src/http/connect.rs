//! Connections: resolved, checked by address, and encrypted where that is asked for.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::error::chain;
use super::route::Route;
use super::{HttpError, HttpErrorKind, RequestBody, Sent};
use crate::grants::CallGrants;

/// Opens connections.
#[derive(Default)]
pub(super) struct Connector {
    /// The system's roots are read when they are first needed: that takes some milliseconds.
    tls: OnceCell<Arc<ClientConfig>>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// What bytes go over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One connection to one server.
pub(super) struct Connection {
    sender: Sender,
    /// The other end; none for a unix socket.
    address: Option<IpAddr>,
    number: u64,
}

enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

/// What became of a request.
pub(super) enum Exchange {
    Answered(Response<Incoming>),
    /// Nothing of it left; here it is again.
    NotSent(Request<RequestBody>),
    /// It may have arrived.
    Failed(hyper::Error),
}

impl Connector {
    /// A connector that trusts these authorities instead of the system's.
    #[cfg(test)]
    pub(super) fn trusting(roots: RootCertStore) -> Self {
        Self { tls: OnceCell::new_with(Some(Arc::new(config(roots)))) }
    }

    /// Connects to an address of this route that the call may talk to.
    pub(super) async fn connect(&self, route: &Route, grants: &CallGrants, limit: Duration) -> Result<Connection, HttpError> {
        let deadline = Instant::now() + limit;
        let connecting = async {
            match route {
                Route::Socket(path) => http1(open_socket(path).await?, None).await,
                Route::Host { tls, host, port } => {
                    let addresses = resolve(host, *port, grants).await?;
                    let (stream, address) = open(route, &addresses, limit).await?;
                    if *tls { self.secure(stream, host, address).await } else { http1(Box::new(stream), Some(address)).await }
                }
            }
        };
        match timeout_at(deadline, connecting).await {
            Ok(connected) => connected.map_err(|error| HttpError { message: format!("{route}: {}", error.message), ..error }),
            Err(_) => Err(HttpError::timeout(HttpErrorKind::ConnectTimeout, route, limit)),
        }
    }

    async fn secure(&self, stream: TcpStream, host: &str, address: IpAddr) -> Result<Connection, HttpError> {
        let failed = |message: String| HttpError::new(HttpErrorKind::Tls, Sent::No, message);
        let config = self.tls.get_or_try_init(system_config).await.map_err(failed)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string()))?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| failed(chain(&error)))?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            http2(Box::new(stream), address).await
        } else {
            http1(Box::new(stream), Some(address)).await
        }
    }
}

/// The addresses of a host that this call may talk to. The check is made here, on the very addresses that are connected to,
/// so that a name can't be checked with one answer and connected with another.
async fn resolve(host: &str, port: u16, grants: &CallGrants) -> Result<Vec<SocketAddr>, HttpError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        grants.check_address(address, port, None)?;
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let dns = |message: String| HttpError::new(HttpErrorKind::Dns, Sent::No, message);
    let found = lookup_host((host, port)).await.map_err(|error| dns(format!("the name can't be resolved: {error}")))?;
    let mut refusal = None;
    let mut granted = Vec::new();
    for address in found {
        match grants.check_address(address.ip(), port, Some(host)) {
            Ok(()) => granted.push(address),
            Err(refused) => refusal = Some(refused),
        }
    }
    match (granted.is_empty(), refusal) {
        (false, _) => Ok(granted),
        (true, Some(refusal)) => Err(refusal.into()),
        (true, None) => Err(dns("the name has no address".into())),
    }
}

/// The first that accepts. Each has its share of the time, so that one that is silent leaves some for the others.
async fn open(route: &Route, addresses: &[SocketAddr], limit: Duration) -> Result<(TcpStream, IpAddr), HttpError> {
    let deadline = Instant::now() + limit;
    let mut failure = None;
    for (position, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - position).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are small; waiting for more bytes costs more than a packet.
                let _ = stream.set_nodelay(true);
                return Ok((stream, address.ip()));
            }
            Ok(Err(error)) => failure = Some(error),
            Err(_) => {}
        }
    }
    let silent = || HttpError::timeout(HttpErrorKind::ConnectTimeout, route, limit);
    Err(failure.map_or_else(silent, |error| no_connection(&error)))
}

async fn open_socket(path: &Path) -> Result<Box<dyn Stream>, HttpError> {
    let stream = UnixStream::connect(path).await.map_err(|error| no_connection(&error))?;
    Ok(Box::new(stream))
}

fn no_connection(error: &io::Error) -> HttpError {
    HttpError::new(HttpErrorKind::Connect, Sent::No, format!("can't connect: {error}"))
}

async fn http1(stream: Box<dyn Stream>, address: Option<IpAddr>) -> Result<Connection, HttpError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| no_session(&error))?;
    // Its errors reach whoever waits for an answer.
    tokio::spawn(async move { drop(connection.await) });
    Ok(Connection::new(Sender::Http1(sender), address))
}

async fn http2(stream: Box<dyn Stream>, address: IpAddr) -> Result<Connection, HttpError> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new());
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| no_session(&error))?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(Connection::new(Sender::Http2(sender), Some(address)))
}

fn no_session(error: &hyper::Error) -> HttpError {
    HttpError::new(HttpErrorKind::Connect, Sent::No, format!("can't open a session: {}", chain(error)))
}

async fn system_config() -> Result<Arc<ClientConfig>, String> {
    let load = || {
        let mut roots = RootCertStore::empty();
        let loaded = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(loaded.certs);
        (roots, loaded.errors)
    };
    let (roots, errors) = tokio::task::spawn_blocking(load).await.map_err(|error| error.to_string())?;
    if roots.is_empty() {
        let causes: String = errors.iter().map(|error| format!("; {error}")).collect();
        return Err(format!("this machine has no certificates of authorities (install ca-certificates){causes}"));
    }
    Ok(Arc::new(config(roots)))
}

fn config(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // Ring has the default versions: this can't fail.
    #[expect(clippy::expect_used, reason = "infallible with this provider")]
    let mut config = builder.expect("TLS 1.2 and 1.3").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

impl Connection {
    fn new(sender: Sender, address: Option<IpAddr>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Self { sender, address, number: NUMBER.fetch_add(1, Ordering::Relaxed) }
    }

    pub(super) async fn send(&mut self, mut request: Request<RequestBody>, route: &Route) -> Exchange {
        let sent = match &mut self.sender {
            Sender::Http1(sender) => {
                let absolute = request.uri().clone();
                *request.version_mut() = Version::HTTP_11;
                if let Ok(host) = route.authority().parse() {
                    request.headers_mut().insert(header::HOST, host);
                }
                // A server that is no proxy wants the path alone.
                *request.uri_mut() = absolute.path_and_query().cloned().map_or_else(|| absolute.clone(), Into::into);
                let sent = sender.try_send_request(request).await;
                sent.map_err(|mut error| {
                    if let Some(request) = error.take_message() {
                        return Err(with_uri(request, absolute));
                    }
                    Ok(error.into_error())
                })
            }
            Sender::Http2(sender) => {
                *request.version_mut() = Version::HTTP_2;
                // `:authority` says it.
                request.headers_mut().remove(header::HOST);
                let sent = sender.try_send_request(request).await;
                sent.map_err(|mut error| error.take_message().map_or_else(|| Ok(error.into_error()), Err))
            }
        };
        match sent {
            Ok(response) => Exchange::Answered(response),
            Err(Err(request)) => Exchange::NotSent(request),
            Err(Ok(error)) => Exchange::Failed(error),
        }
    }

    /// Waits until another request may be sent. False when it never may.
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

    /// May this call talk to the address at the other end? A unix socket has none: its route was found by the call's own
    /// grants.
    pub(super) fn is_granted(&self, route: &Route, grants: &CallGrants) -> bool {
        match (route, self.address) {
            (Route::Host { host, port, .. }, Some(address)) => {
                let name = host.parse::<IpAddr>().is_err().then_some(host.as_str());
                grants.check_address(address, *port, name).is_ok()
            }
            (Route::Socket(_), None) => true,
            _ => false,
        }
    }

    /// Another handle of a connection that takes many requests at once.
    pub(super) fn share(&self) -> Option<Self> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => {
                Some(Self { sender: Sender::Http2(sender.clone()), address: self.address, number: self.number })
            }
        }
    }

    pub(super) fn is_shared_with(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

fn with_uri(mut request: Request<RequestBody>, uri: http::Uri) -> Request<RequestBody> {
    *request.uri_mut() = uri;
    request
}
