//! Limits of requests.

use std::time::Duration;

/// Limits of a request.
#[derive(Debug, Clone)]
pub struct RequestLimits {
    /// Number of headers.
    pub headers: usize,
    /// Bytes of all headers.
    pub head_bytes: usize,
    /// Bytes of the body.
    pub body_bytes: usize,
    /// Time for the body to arrive.
    pub body_timeout: Duration,
    /// Time for the response to begin. Its body may take longer: event streams have no end.
    pub request_timeout: Duration,
    /// TLS on connections.
    pub tls: bool,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            headers: 100,
            head_bytes: 64 * 1024,
            body_bytes: 4 * 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(120),
            tls: false,
        }
    }
}
