//! Errors of an exchange, and whether the request may have had an effect.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::time::Duration;

use rustls::AlertDescription;

use crate::grants::GrantRefusal;

/// Possibility that the server has seen the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestSent {
    /// The request was not sent: it had no effect.
    No,
    /// The request may have been sent: its outcome is unknown.
    Maybe,
}

/// Kind of a failed exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpErrorKind {
    /// Refusal: the target is not granted. The message has all of it.
    NotGranted,
    /// The request is not valid.
    InvalidRequest,
    /// The name can't be resolved.
    Dns,
    /// The connection failed.
    Connect,
    /// No route to the address.
    NoRoute,
    /// No socket in its directory: its service does not run, or not yet.
    NoSocket,
    /// No directory at the path of the socket.
    NoSocketDirectory,
    /// A socket that this user may not open.
    SocketDenied,
    /// The proxy that the environment names did not connect.
    Proxy,
    /// The TLS handshake failed.
    Tls,
    /// The server's certificate is not trusted here.
    Certificate,
    /// The connection took too long.
    ConnectTimeout,
    /// The head of the answer took too long.
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
    /// Kind of the failure.
    pub kind: HttpErrorKind,
    /// Possibility that the server has seen the request.
    pub sent: RequestSent,
    /// Message for users.
    pub message: String,
}

impl HttpErrorKind {
    /// Returns the code of a fault that does not pass by itself, so that nobody waits for it; none of others.
    pub(crate) fn permanent_code(self) -> Option<&'static str> {
        match self {
            Self::Certificate => Some("host.certificate"),
            Self::NoSocketDirectory | Self::SocketDenied => Some("host.socket"),
            _ => None,
        }
    }
}

impl HttpError {
    pub(super) fn new(kind: HttpErrorKind, sent: RequestSent, message: impl Into<String>) -> Self {
        Self { kind, sent, message: message.into() }
    }

    /// Creates the error of a request that can't be sent.
    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(HttpErrorKind::InvalidRequest, RequestSent::No, message)
    }

    pub(super) fn timeout(kind: HttpErrorKind, route: &dyn Display, after: Duration) -> Self {
        let (failure, sent) = match kind {
            HttpErrorKind::ConnectTimeout => ("did not accept a connection", RequestSent::No),
            _ => ("did not answer", RequestSent::Maybe),
        };
        Self::new(kind, sent, format!("{route} {failure} within {after:?}"))
    }

    /// Creates the error of an exchange that failed after the request began to be sent.
    pub(super) fn from_exchange(route: &dyn Display, error: &hyper::Error) -> Self {
        // The request's own body may be the cause.
        let refusal = || causes(error).filter_map(|cause| cause.downcast_ref()).find_map(client_certificate_refusal);
        match causes(error).find_map(|cause| cause.downcast_ref()) {
            Some(own) => Self::clone(own),
            None if let Some(message) = refusal() => {
                Self::new(HttpErrorKind::Certificate, RequestSent::No, format!("{route}: {message}"))
            }
            None => Self::new(HttpErrorKind::Protocol, RequestSent::Maybe, format!("{route}: {}", error_chain(error))),
        }
    }
}

/// Returns an error with its causes, each once.
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

/// Returns a message if a server requires another client certificate. With TLS 1.3 it reports that after the client
/// considers the session open; it processes nothing of what was sent meanwhile.
pub(super) fn client_certificate_refusal(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) if requires_certificate(*alert) => Some(format!(
            "it refuses the client, which shows no certificate that it trusts (its alert: {alert:?}); the credentials may have \
             one (`client_certificate`, `client_key`)"
        )),
        _ => None,
    }
}

/// Returns whether an alert requires another client certificate (RFC 8446, section 6.2).
fn requires_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
    )
}

impl From<GrantRefusal> for HttpError {
    fn from(refusal: GrantRefusal) -> Self {
        Self::new(HttpErrorKind::NotGranted, RequestSent::No, refusal.to_string())
    }
}
