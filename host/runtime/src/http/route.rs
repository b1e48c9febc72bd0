//! Routes: the servers to which requests are sent.

use std::fmt;
use std::path::PathBuf;

use http::Uri;
use http::uri::Scheme;

use super::HttpError;
use super::tls::TlsIdentity;
use crate::grants::CallGrants;

/// A server, as the pool distinguishes it from others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Route {
    Host { tls: bool, host: String, port: u16, identity: Option<TlsIdentity> },
    Socket(PathBuf),
}

impl Route {
    /// Returns the route of a URI. Checks that the host is granted, and finds the socket behind a generated name.
    pub(super) fn of(uri: &Uri, grants: &CallGrants) -> Result<Self, HttpError> {
        let Some(authority) = uri.authority() else {
            return Err(HttpError::invalid_request("the request has no host"));
        };
        if authority.as_str().contains('@') {
            return Err(HttpError::invalid_request("user names and passwords are not allowed in a URL"));
        }
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(HttpError::invalid_request("only `http` and `https` URLs are supported")),
        };
        let port = match (authority.port_u16(), authority.port().is_some()) {
            (Some(port), _) => port,
            (None, false) if tls => 443,
            (None, false) => 80,
            (None, true) => return Err(HttpError::invalid_request("the port is not valid")),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if let Some(path) = grants.socket_of(&host) {
            return if tls {
                Err(HttpError::invalid_request("a unix socket has no TLS"))
            } else {
                Ok(Self::Socket(path))
            };
        }
        grants.check_name(&host, port)?;
        let identity = grants.tls_identity_for(&host, port).filter(|_| tls);
        Ok(Self::Host { tls, host, port, identity })
    }

    /// Returns the value of `Host` and of `:authority`.
    pub(super) fn authority(&self) -> String {
        match self {
            Self::Socket(_) => "localhost".to_owned(),
            Self::Host { tls, host, port, .. } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                if *port == if *tls { 443 } else { 80 } { host } else { format!("{host}:{port}") }
            }
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Host { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}
