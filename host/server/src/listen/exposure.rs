//! Addresses that others reach need more than those that only this machine reaches.

use std::net::SocketAddr;

/// Why the service does not listen where others reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExposureError {
    /// Tokens would go over the network for everybody to read.
    #[error("other machines reach {address}, and connections there would not be encrypted")]
    Unencrypted {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// Nobody could use it.
    #[error("other machines reach {address}, and there is no token with which they could be let in")]
    NoToken {
        /// Where it was to listen.
        address: SocketAddr,
    },
}

impl ExposureError {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unencrypted { .. } => "serve.unencrypted",
            Self::NoToken { .. } => "serve.no-token",
        }
    }

    /// How to mend it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Unencrypted { .. } => {
                "give it a certificate with --tls-certificate and --tls-key; or, where a proxy on a network of trust \
                 encrypts, --insecure-http; or listen on 127.0.0.1"
            }
            Self::NoToken { .. } => "make one: `occopus token create NAME --scope read|operate|admin`",
        }
    }
}

/// Whether the service may listen there: on a loopback address always; elsewhere with TLS, or by the operator's explicit wish
/// without, and with a good token.
pub fn check_exposure(
    address: SocketAddr,
    tls: bool,
    insecure_http: bool,
    any_good_token: bool,
) -> Result<(), ExposureError> {
    if address.ip().to_canonical().is_loopback() {
        Ok(())
    } else if !tls && !insecure_http {
        Err(ExposureError::Unencrypted { address })
    } else if !any_good_token {
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
