//! A blocking HTTP client, to granted targets.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Call, Fault, platform};

/// Time-out for a connection, unless the request sets another.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that is left of a call after a request has timed out, so that the plugin can still answer.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// The HTTP client of a call.
#[derive(Debug, Clone, Copy)]
pub struct Http {
    remaining: Duration,
}

impl Http {
    pub(crate) fn new(call: &Call) -> Self {
        Self { remaining: call.remaining().saturating_sub(ANSWER_MARGIN) }
    }

    /// Returns a request with this method.
    pub fn request(self, method: &str, url: impl Into<String>) -> Request {
        Request {
            method: method.to_owned(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            connect_timeout: DEFAULT_CONNECT_TIMEOUT.min(self.remaining),
            answer_timeout: self.remaining,
        }
    }

    /// Returns a GET request.
    pub fn get(self, url: impl Into<String>) -> Request {
        self.request("GET", url)
    }

    /// Returns a HEAD request.
    pub fn head(self, url: impl Into<String>) -> Request {
        self.request("HEAD", url)
    }

    /// Returns a POST request.
    pub fn post(self, url: impl Into<String>) -> Request {
        self.request("POST", url)
    }

    /// Returns a PUT request.
    pub fn put(self, url: impl Into<String>) -> Request {
        self.request("PUT", url)
    }

    /// Returns a DELETE request.
    pub fn delete(self, url: impl Into<String>) -> Request {
        self.request("DELETE", url)
    }
}

/// A request in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    /// Method: `GET`, `POST` and so on.
    pub method: String,
    /// Whole URL.
    pub url: String,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// Body; empty if there is none.
    pub body: Vec<u8>,
    /// Time-out for the connection.
    pub connect_timeout: Duration,
    /// Time-out for the first byte of the answer, and between two of its pieces.
    pub answer_timeout: Duration,
}

impl Request {
    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a parameter to the URL's query, percent-encoded.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        let separator = if self.url.contains('?') { '&' } else { '?' };
        self.url.push_str(&format!("{separator}{}={}", encoded(name), encoded(value)));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to JSON, and the content type.
    pub fn json(self, value: &impl Serialize) -> Self {
        // A value that can't be written as JSON (a map whose keys are not strings) becomes `null`, which any server
        // refuses.
        let body = serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec());
        self.header("content-type", "application/json").body(body)
    }

    /// Sets the time-outs for the connection and for the answer.
    pub fn timeouts(mut self, connect: Duration, answer: Duration) -> Self {
        self.connect_timeout = connect;
        self.answer_timeout = answer;
        self
    }

    /// Sends the request, and reads the whole answer. Blocks.
    ///
    /// # Errors
    /// Fails if there is no whole answer. A status of 400 and above is an answer.
    pub fn send(self) -> Result<Response, HttpError> {
        platform::send(self)
    }
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// Status: 200 and so on.
    pub status: u16,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// Whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns true if the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the first header of this name, without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the time before which the request is not repeated, by the server's `Retry-After` in seconds (RFC 9110,
    /// section 10.2.3).
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.trim().parse().ok().map(Duration::from_secs)
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    /// Fails if it is not JSON of that shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

/// Percent-encodes a segment of a path or a query (RFC 3986, section 2.1): all but unreserved characters.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// Kinds of failed requests, by whether the server has seen the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpErrorKind {
    /// Unseen: no connection was made.
    NotSent,
    /// Perhaps seen: the answer was lost or came too late.
    MaybeSent,
    /// Unseen: the host refused.
    Refused,
}

/// A request without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpError {
    /// Kind, by whether the server has seen the request.
    pub kind: HttpErrorKind,
    /// Description of the failure.
    pub message: String,
}

impl HttpError {
    /// Returns the fault of a call that only reads: it may be repeated.
    pub fn of_reading(self, code: &str) -> Fault {
        match self.kind {
            HttpErrorKind::Refused => Fault::denied(code, self.message),
            HttpErrorKind::NotSent | HttpErrorKind::MaybeSent => Fault::retry(code, self.message),
        }
    }

    /// Returns the fault of a call that changes something: it may be repeated only if it was not sent.
    pub fn of_change(self, code: &str) -> Fault {
        match self.kind {
            HttpErrorKind::Refused => Fault::denied(code, self.message),
            HttpErrorKind::NotSent => Fault::retry(code, self.message),
            HttpErrorKind::MaybeSent => Fault::unknown_outcome(code, self.message),
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HttpError {}
