//! Opening of connections: names are resolved, addresses checked, and TLS is used if the URL requires it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::connection::{Connection, RemoteEnd};
use super::proxy::{self, Proxies, Proxy};
use super::route::Route;
use super::tls::{TlsConfigs, TlsIdentity, handshake_error};
use super::{HttpError, HttpErrorKind, RequestSent};
use crate::grants::CallGrants;

/// Opener of connections, with TLS settings and proxies.
#[derive(Default)]
pub(super) struct Connector {
    tls: TlsConfigs,
    proxies: Proxies,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    /// Creates a connector that trusts these authorities instead of the system's.
    #[cfg(test)]
    pub(super) fn trusting(roots: rustls::RootCertStore) -> Self {
        Self { tls: TlsConfigs::trusting(roots), ..Self::default() }
    }

    /// Returns the same connector, through these proxies.
    #[cfg(test)]
    pub(super) fn with_proxies(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }

    /// Connects to an address of this route that the call may talk to.
    pub(super) async fn connect(
        &self,
        route: &Route,
        grants: &CallGrants,
        limit: Duration,
    ) -> Result<Connection, HttpError> {
        let deadline = Instant::now() + limit;
        let connecting = async {
            match route {
                Route::Socket(path) => Connection::http1(connect_unix(path).await?, RemoteEnd::Socket).await,
                Route::Host { tls, host, port, identity } => {
                    match self.proxies.of(route).filter(|_| grants.uses_proxies()) {
                        Some(proxy) => self.connect_via_proxy(&proxy, route, grants, limit).await,
                        None => {
                            let addresses = resolve_granted(host, *port, grants).await?;
                            let (stream, address) = connect_first(route, &addresses, limit).await?;
                            if *tls {
                                self.connect_tls(stream, host, identity.as_ref(), RemoteEnd::Address(address)).await
                            } else {
                                Connection::http1(stream, RemoteEnd::Address(address)).await
                            }
                        }
                    }
                }
            }
        };
        match timeout_at(deadline, connecting).await {
            Ok(connected) => {
                connected.map_err(|error| HttpError { message: format!("{route}: {}", error.message), ..error })
            }
            Err(_) => Err(HttpError::timeout(HttpErrorKind::ConnectTimeout, route, limit)),
        }
    }

    /// Connects through a proxy. The proxy resolves the name, which was checked; an address in place of a name is
    /// checked here.
    async fn connect_via_proxy(
        &self,
        proxy: &Proxy,
        route: &Route,
        grants: &CallGrants,
        limit: Duration,
    ) -> Result<Connection, HttpError> {
        let Route::Host { tls, host, port, identity } = route else {
            return Err(HttpError::invalid_request("a socket has no proxy"));
        };
        if let Some(address) = proxy::literal_address(host) {
            grants.check_address(address, *port, None)?;
        }
        let (proxy_host, proxy_port) = proxy.address()?;
        let failed = |error: &dyn fmt::Display| {
            let message = format!("the proxy {proxy_host}:{proxy_port}: {error}");
            HttpError::new(HttpErrorKind::Proxy, RequestSent::No, message)
        };
        let addresses =
            lookup_host((proxy_host, proxy_port)).await.map_err(|error| failed(&error))?.collect::<Vec<_>>();
        let (stream, _) = connect_first(route, &addresses, limit).await.map_err(|error| failed(&error))?;
        if *tls {
            self.connect_tls(proxy.tunnel(stream, route).await?, host, identity.as_ref(), RemoteEnd::Tunnel).await
        } else {
            Connection::http1(stream, RemoteEnd::Proxy(proxy.authorization())).await
        }
    }

    async fn connect_tls<S>(
        &self,
        stream: S,
        host: &str,
        identity: Option<&TlsIdentity>,
        remote: RemoteEnd,
    ) -> Result<Connection, HttpError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let failed = |message: String| HttpError::new(HttpErrorKind::Tls, RequestSent::No, message);
        // A fault of the user's certificates is permanent.
        let kind = if identity.is_some() { HttpErrorKind::Certificate } else { HttpErrorKind::Tls };
        let config = self.tls.of(identity).await.map_err(|message| HttpError { kind, ..failed(message) })?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string()))?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        let stream = stream.map_err(|error| handshake_error(&error))?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Connection::http2(stream, remote).await
        } else {
            Connection::http1(stream, remote).await
        }
    }
}

/// Returns the addresses of a host that this call may connect to. The check is made here, on the very addresses that
/// are connected to, so that a name can't be checked with one answer and connected with another.
async fn resolve_granted(host: &str, port: u16, grants: &CallGrants) -> Result<Vec<SocketAddr>, HttpError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        grants.check_address(address, port, None)?;
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let dns = |message: String| HttpError::new(HttpErrorKind::Dns, RequestSent::No, message);
    let found = lookup_host((host, port)).await.map_err(|error| dns(format!("the name can't be resolved: {error}")))?;
    let mut refusal = None;
    let mut granted = Vec::new();
    for address in found {
        match grants.check_address(address.ip(), port, Some(host)) {
            Ok(()) => granted.push(address),
            Err(error) => refusal = Some(error),
        }
    }
    match (granted.is_empty(), refusal) {
        (false, _) => Ok(granted),
        (true, Some(refusal)) => Err(refusal.into()),
        (true, None) => Err(dns("the name has no address".into())),
    }
}

/// Connects to the first address that accepts. Each has its share of the time, so that a silent one leaves some for the
/// others.
async fn connect_first(
    route: &Route,
    addresses: &[SocketAddr],
    limit: Duration,
) -> Result<(TcpStream, IpAddr), HttpError> {
    let deadline = Instant::now() + limit;
    let mut last_error = None;
    for (position, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - position).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are small; waiting for more bytes costs more than a packet.
                let _ = stream.set_nodelay(true);
                return Ok((stream, address.ip()));
            }
            Ok(Err(error)) => last_error = Some(error),
            Err(_) => {}
        }
    }
    let timed_out = || HttpError::timeout(HttpErrorKind::ConnectTimeout, route, limit);
    Err(last_error.map_or_else(timed_out, |error| connect_failed(&error)))
}

async fn connect_unix(path: &Path) -> Result<UnixStream, HttpError> {
    UnixStream::connect(path).await.map_err(|error| unix_connect_failed(path, &error))
}

/// Returns the failure in its own words. A socket that is missing from its directory may come: its service may be starting.
fn unix_connect_failed(path: &Path, error: &io::Error) -> HttpError {
    let (kind, why) = match error.kind() {
        io::ErrorKind::NotFound if path.parent().is_some_and(Path::is_dir) => {
            (HttpErrorKind::NoSocket, "there is no such socket; does the service that makes it run on this machine?")
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            (HttpErrorKind::NoSocketDirectory, "there is no such socket: its directory does not exist")
        }
        io::ErrorKind::PermissionDenied => {
            (HttpErrorKind::SocketDenied, "the user that runs this program may not open the socket (permission denied)")
        }
        _ => return connect_failed(error),
    };
    HttpError::new(kind, RequestSent::No, why)
}

fn connect_failed(error: &io::Error) -> HttpError {
    let kind = match error.kind() {
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => HttpErrorKind::NoRoute,
        _ => HttpErrorKind::Connect,
    };
    HttpError::new(kind, RequestSent::No, format!("can't connect: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn each_reason_for_no_connection_has_its_kind_and_those_of_a_socket_are_permanent() {
        for (error, of_socket, of_address) in [
            (ErrorKind::NotFound, HttpErrorKind::NoSocketDirectory, HttpErrorKind::Connect),
            (ErrorKind::NotADirectory, HttpErrorKind::NoSocketDirectory, HttpErrorKind::Connect),
            (ErrorKind::PermissionDenied, HttpErrorKind::SocketDenied, HttpErrorKind::Connect),
            (ErrorKind::ConnectionRefused, HttpErrorKind::Connect, HttpErrorKind::Connect),
            (ErrorKind::HostUnreachable, HttpErrorKind::NoRoute, HttpErrorKind::NoRoute),
            (ErrorKind::NetworkUnreachable, HttpErrorKind::NoRoute, HttpErrorKind::NoRoute),
        ] {
            let error = Error::from(error);
            let (socket, address) = (unix_connect_failed(Path::new("/nowhere/a.sock"), &error), connect_failed(&error));
            assert_eq!((socket.kind, address.kind), (of_socket, of_address), "{error}");
            assert_eq!((socket.sent, address.sent), (RequestSent::No, RequestSent::No), "{error}");
            let is_permanent = matches!(of_socket, HttpErrorKind::NoSocketDirectory | HttpErrorKind::SocketDenied);
            assert_eq!(socket.kind.permanent_code().is_some(), is_permanent, "{error}: a refused connection may pass");
        }
    }
}
