//! How connections are taken: HTTP/1.1 and HTTP/2, with TLS or without, and none of them at the cost of the others.

mod body;
mod connection;
mod exposure;
mod file_limit;
mod idle;
mod layers;
mod limit_exceeded;
mod peer;
mod serve;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

pub use exposure::{ExposureError, check_exposure};
pub use layers::{RequestLimits, layers};
pub use limit_exceeded::LimitExceeded;
pub use peer::Peer;
pub(crate) use peer::network_of;
pub use serve::serve;
pub use tls::{TlsError, TlsFiles};

use tls::Certificates;

/// Where and how to listen.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Where; port 0 takes any that is free.
    pub address: SocketAddr,
    /// With TLS, by these files.
    pub tls: Option<TlsFiles>,
    /// What connections may take up.
    pub limits: ConnectionLimits,
}

/// What connections may take up.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// So many at a time. For others, those go that wait for a request; or they wait until one ends.
    pub connections: usize,
    /// So many at a time from one address, or one network of IPv6 (/64). For others, those from there go that wait for a
    /// request; or they are closed.
    pub connections_per_address: usize,
    /// For the handshake of TLS.
    pub handshake_timeout: Duration,
    /// For the head of a request, and from one request to the next.
    pub head_timeout: Duration,
    /// Bytes of the head of a request.
    pub head_bytes: usize,
    /// Lines of the head of a request.
    pub headers: usize,
    /// Requests at a time on one connection of HTTP/2.
    pub streams: u32,
    /// So long a connection of HTTP/2 may be silent, and may then take to answer a ping.
    pub ping_interval: Duration,
    /// How often it is looked whether the certificate's files have changed.
    pub certificate_check: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_address: 1024,
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            head_bytes: 64 * 1024,
            headers: 100,
            streams: 128,
            ping_interval: Duration::from_secs(20),
            certificate_check: Duration::from_secs(60),
        }
    }
}

/// Why it is not possible to listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Something else is there.
    #[error("something else listens on {address} already; end it, or choose another address")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The operating system does not allow it.
    #[error("it is not possible to listen on {address}: {source}")]
    Refused {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The files for TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A listener that has its port; who connects waits for [`serve`].
#[derive(Debug)]
pub struct BoundListener {
    listener: TcpListener,
    address: SocketAddr,
    certificates: Option<Certificates>,
    limits: ConnectionLimits,
}

impl ListenerConfig {
    /// At this address, without TLS, with the usual limits.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, tls: None, limits: ConnectionLimits::default() }
    }

    /// Reads the files and takes the port.
    pub async fn bind(self) -> Result<BoundListener, ListenError> {
        let Self { address, tls, mut limits } = self;
        let certificates = match tls {
            Some(files) => Some(Certificates::read(files).await?),
            None => None,
        };
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address },
            _ => ListenError::Refused { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        limits.connections = file_limit::raise_limit(limits.connections);
        Ok(BoundListener { listener, address, certificates, limits })
    }
}

impl BoundListener {
    /// Where it listens, with the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Most connections that it takes at a time, and of them from one address.
    pub fn connections(&self) -> (usize, usize) {
        (self.limits.connections, self.limits.connections_per_address.min(self.limits.connections))
    }

    /// Whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.certificates.is_some()
    }
}
