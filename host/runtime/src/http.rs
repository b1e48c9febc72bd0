//! Outgoing HTTP of all plugins: one pooled client for the process.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

use crate::grants::CallGrants;
use crate::secrets::CallSecrets;

/// The body of a response.
pub type ResponseBody = UnsyncBoxBody<Bytes, HttpError>;

/// Bounds of one exchange.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// For resolution, connection and TLS together.
    pub connect: Duration,
    /// From the connection to the head of the response.
    pub first_byte: Duration,
    /// Between two pieces of the response's body.
    pub between_bytes: Duration,
    /// Bytes of the request's body.
    pub request_body: u64,
    /// Bytes of the response's body.
    pub response_body: u64,
}

/// May the server have seen the request?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// No byte of it left this machine.
    No,
    /// Perhaps: the outcome is unknown.
    Maybe,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpErrorKind {
    /// Not granted. The message has the whole refusal.
    Refused,
    /// The request can't be sent as it is.
    InvalidRequest,
    /// The name can't be resolved.
    Dns,
    /// No connection.
    Connect,
    /// No TLS session.
    Tls,
    /// Not connected in time.
    ConnectTimeout,
    /// No answer in time.
    FirstByteTimeout,
    /// The answer stalled.
    BetweenBytesTimeout,
    /// The request's body is larger than the limit.
    RequestTooLarge,
    /// The response's body is larger than the limit.
    ResponseTooLarge,
    /// The connection broke, or the server does not speak HTTP.
    Protocol,
}

/// A failed exchange.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct HttpError {
    /// What went wrong.
    pub kind: HttpErrorKind,
    /// May the server have seen the request?
    pub sent: Sent,
    /// For people.
    pub message: String,
}

/// One client for the whole process; cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpClient {}

impl HttpClient {
    /// A client without connections. Opens nothing until it is used.
    pub fn new() -> Self {
        todo!()
    }

    /// Sends a request with an absolute `http` or `https` URI. Follows no redirect: that is a new request of the guest,
    /// checked like the first.
    pub async fn send<B>(
        &self,
        request: http::Request<B>,
        grants: &CallGrants,
        secrets: Option<&CallSecrets>,
        limits: &HttpLimits,
    ) -> Result<http::Response<ResponseBody>, HttpError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display + Send + Sync + 'static,
    {
        let _ = (request, grants, secrets, limits);
        todo!()
    }
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new()
    }
}
