//! The listener: accepts connections for HTTP/1.1 and HTTP/2, with TLS or without, and limits each so that none blocks
//! the others. In go an address and a router; routes, tokens and the engine must not be known here.

mod body;
mod connection;
mod exposure;
mod file_limit;
mod idle;
mod layers;
mod limit_exceeded;
mod peer;
mod request_limits;
mod serve;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

pub use exposure::{ExposureError, check_exposure};
pub use layers::layers;
pub use limit_exceeded::LimitExceeded;
pub use peer::Peer;
pub(crate) use peer::network_of;
pub use request_limits::RequestLimits;
pub use serve::serve;
pub use tls::{TlsError, TlsFiles};

use tls::Certificates;

/// Configuration of a listener.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Address to listen on; port 0 takes any that is free.
    pub address: SocketAddr,
    /// Files for TLS; `None` for no encryption.
    pub tls: Option<TlsFiles>,
    /// Limits of its connections.
    pub limits: ConnectionLimits,
}

/// Limits of connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Connections at a time. For another one an idle connection is evicted; if none is idle, it waits until one ends.
    pub connections: usize,
    /// Connections at a time from one address, or one network of IPv6 (/64). For another one an idle connection from
    /// there is evicted; if none is idle, it is closed.
    pub connections_per_address: usize,
    /// Time for the TLS handshake.
    pub handshake_timeout: Duration,
    /// Time for the head of a request, and from one request to the next.
    pub head_timeout: Duration,
    /// Bytes of the head of a request.
    pub head_bytes: usize,
    /// Number of headers of a request.
    pub headers: usize,
    /// Concurrent requests on one HTTP/2 connection.
    pub streams: u32,
    /// Time of silence on an HTTP/2 connection before a ping, and time for the answer to the ping.
    pub ping_interval: Duration,
    /// Interval at which the certificate's files are checked for changes.
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

/// Failure to listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Address in use.
    #[error("cannot listen on {address}: another process is using it; stop that process, or choose another address")]
    InUse {
        /// Requested address.
        address: SocketAddr,
    },
    /// Refusal by the operating system.
    #[error("cannot listen on {address}: {source}")]
    Refused {
        /// Requested address.
        address: SocketAddr,
        /// Cause.
        source: io::Error,
    },
    /// Unusable files for TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A listener that has its port; connections wait until [`serve`] accepts them.
#[derive(Debug)]
pub struct BoundListener {
    listener: TcpListener,
    address: SocketAddr,
    certificates: Option<Certificates>,
    limits: ConnectionLimits,
}

impl ListenerConfig {
    /// Creates a configuration for this address, without TLS and with default limits.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, tls: None, limits: ConnectionLimits::default() }
    }

    /// Reads the files for TLS, takes the port and raises the limit on open files.
    ///
    /// # Errors
    /// Returns [`ListenError::Tls`] if the files are unusable, and [`ListenError::InUse`] or [`ListenError::Refused`] if
    /// the port can't be taken.
    pub async fn bind(self) -> Result<BoundListener, ListenError> {
        let Self { address, tls, mut limits } = self;
        let certificates = match tls {
            Some(files) => Some(Certificates::read(files).await?),
            None => None,
        };
        let listen_error = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address },
            _ => ListenError::Refused { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        limits.connections = file_limit::raise_limit(limits.connections);
        Ok(BoundListener { listener, address, certificates, limits })
    }
}

impl BoundListener {
    /// Returns the address, with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the limits on connections at a time, in all and from one address.
    pub fn connections(&self) -> (usize, usize) {
        (self.limits.connections, self.limits.connections_per_address.min(self.limits.connections))
    }

    /// Returns true if connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.certificates.is_some()
    }
}
