//! What can go wrong, and what may have happened nevertheless.

use std::error::Error;
use std::time::Duration;

use super::route::Route;
use crate::grants::GrantRefusal;

/// May the server have seen the request?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestSent {
    /// No: nothing happened.
    No,
    /// Perhaps: the outcome is unknown.
    Maybe,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpErrorKind {
    /// Not granted. The message has the whole refusal.
    NotGranted,
    /// The request can't be sent as it is.
    InvalidRequest,
    /// The name can't be resolved.
    Dns,
    /// No connection.
    Connect,
    /// No way to the address.
    NoRoute,
    /// No file at the path of the socket.
    NoSocket,
    /// A socket that this user may not open.
    SocketDenied,
    /// No way through the proxy that the environment names.
    Proxy,
    /// No TLS session.
    Tls,
    /// The server's certificate is not trusted here.
    Certificate,
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
    /// The bodies of the call need more memory at a time than the limit.
    OutOfMemory,
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
    pub sent: RequestSent,
    /// For people.
    pub message: String,
}

impl HttpErrorKind {
    /// Returns the code of a fault that does not pass by itself, so that nobody waits for it; none of others.
    pub(crate) fn permanent_code(self) -> Option<&'static str> {
        match self {
            Self::Certificate => Some("host.certificate"),
            Self::NoSocket | Self::SocketDenied => Some("host.socket"),
            _ => None,
        }
    }
}

impl HttpError {
    pub(super) fn new(kind: HttpErrorKind, sent: RequestSent, message: impl Into<String>) -> Self {
        Self { kind, sent, message: message.into() }
    }

    /// The guest made a request that can't be sent.
    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(HttpErrorKind::InvalidRequest, RequestSent::No, message)
    }

    pub(super) fn timeout(kind: HttpErrorKind, route: &Route, after: Duration) -> Self {
        let (what, sent) = match kind {
            HttpErrorKind::ConnectTimeout => ("did not accept a connection", RequestSent::No),
            _ => ("did not answer", RequestSent::Maybe),
        };
        Self::new(kind, sent, format!("{route} {what} within {after:?}"))
    }

    /// The connection failed after the request began to leave.
    pub(super) fn from_exchange(route: &Route, error: &hyper::Error) -> Self {
        // The request's own body may be the cause.
        let refusal =
            || causes(error).filter_map(|cause| cause.downcast_ref()).find_map(super::tls::client_certificate_refusal);
        match causes(error).find_map(|cause| cause.downcast_ref()) {
            Some(own) => Self::clone(own),
            None if let Some(message) = refusal() => {
                Self::new(HttpErrorKind::Certificate, RequestSent::No, format!("{route}: {message}"))
            }
            None => Self::new(HttpErrorKind::Protocol, RequestSent::Maybe, format!("{route}: {}", error_chain(error))),
        }
    }
}

/// An error with its causes, each once.
pub(super) fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in causes(error) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&'a (dyn Error + 'static)| {
        let cause: &'a (dyn Error + 'static) = *cause;
        cause.source()
    })
}

impl From<GrantRefusal> for HttpError {
    fn from(refusal: GrantRefusal) -> Self {
        Self::new(HttpErrorKind::NotGranted, RequestSent::No, refusal.to_string())
    }
}
