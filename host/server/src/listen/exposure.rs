//! Requirements for listening on an address that other machines can reach: encryption, and a token.

use std::net::SocketAddr;

/// Reason why the service does not listen on an address that other machines can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExposureError {
    /// Missing encryption: tokens would be readable on the network.
    #[error("other machines can reach {address}, and connections to it would not be encrypted")]
    Unencrypted {
        /// Configured address.
        address: SocketAddr,
    },
    /// Missing token: nobody could use the service.
    #[error("other machines can reach {address}, and there is no valid token to admit them")]
    NoToken {
        /// Configured address.
        address: SocketAddr,
    },
}

impl ExposureError {
    /// Returns the error code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unencrypted { .. } => "serve.unencrypted",
            Self::NoToken { .. } => "serve.no-token",
        }
    }

    /// Returns advice on how to resolve the error.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Unencrypted { .. } => {
                "give it a certificate with --tls-certificate and --tls-key; or, if a proxy on a trusted network \
                 encrypts, --insecure-http; or listen on 127.0.0.1"
            }
            Self::NoToken { .. } => "create one: `occopus token create NAME --scope read|operate|admin`",
        }
    }
}

/// Checks that the service may listen on an address: on a loopback address always; elsewhere with TLS, or without it if
/// the operator allows that explicitly, and only if there is a valid token.
///
/// # Errors
/// Returns [`ExposureError::Unencrypted`] or [`ExposureError::NoToken`] if it may not.
pub fn check_exposure(
    address: SocketAddr,
    tls: bool,
    insecure_http: bool,
    has_valid_token: bool,
) -> Result<(), ExposureError> {
    if address.ip().to_canonical().is_loopback() {
        Ok(())
    } else if !tls && !insecure_http {
        Err(ExposureError::Unencrypted { address })
    } else if !has_valid_token {
        Err(ExposureError::NoToken { address })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_comes_without_anything() {
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(check_exposure(address.parse().unwrap(), false, false, false), Ok(()));
        }
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[fe80::1]:1"] {
            let address = address.parse().unwrap();
            let check = |tls, insecure, token| check_exposure(address, tls, insecure, token);
            assert_eq!(check(false, false, true), Err(ExposureError::Unencrypted { address }));
            assert_eq!(check(true, false, false), Err(ExposureError::NoToken { address }));
            assert_eq!(check(false, true, false), Err(ExposureError::NoToken { address }));
            assert_eq!(check(true, false, true), Ok(()));
            assert_eq!(check(false, true, true), Ok(()));
        }
    }
}
