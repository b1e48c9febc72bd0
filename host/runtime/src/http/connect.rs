//! Connections: resolved, checked by address, and encrypted where that is asked for.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::connection::Connection;
use super::error::chain;
use super::route::Route;
use super::{HttpError, HttpErrorKind, Sent};
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

impl Connector {
    /// A connector that trusts these authorities instead of the system's.
    #[cfg(test)]
    pub(super) fn trusting(roots: RootCertStore) -> Self {
        Self { tls: OnceCell::new_with(Some(config(roots).unwrap())) }
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
                Route::Socket(path) => Connection::http1(open_socket(path).await?, None).await,
                Route::Host { tls, host, port } => {
                    let addresses = resolve(host, *port, grants).await?;
                    let (stream, address) = open(route, &addresses, limit).await?;
                    if *tls {
                        self.secure(stream, host, address).await
                    } else {
                        Connection::http1(stream, Some(address)).await
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

    async fn secure(&self, stream: TcpStream, host: &str, address: IpAddr) -> Result<Connection, HttpError> {
        let failed = |message: String| HttpError::new(HttpErrorKind::Tls, Sent::No, message);
        let config = self.tls.get_or_try_init(system_config).await.map_err(failed)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string()))?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
            let is_certificate = matches!(inner, Some(rustls::Error::InvalidCertificate(_)));
            let kind = if is_certificate { HttpErrorKind::Certificate } else { HttpErrorKind::Tls };
            HttpError { kind, ..failed(chain(&error)) }
        })?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Connection::http2(stream, address).await
        } else {
            Connection::http1(stream, Some(address)).await
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

async fn open_socket(path: &Path) -> Result<UnixStream, HttpError> {
    UnixStream::connect(path).await.map_err(|error| no_connection(&error))
}

fn no_connection(error: &io::Error) -> HttpError {
    HttpError::new(HttpErrorKind::Connect, Sent::No, format!("can't connect: {error}"))
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
    config(roots)
}

fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
