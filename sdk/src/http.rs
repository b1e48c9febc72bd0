//! A blocking HTTP client, to granted targets.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Call, Fault, platform};

/// How long to wait for a connection, unless the request says otherwise.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What is left of a call's time, so that the plugin can still answer after a request timed out.
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

    /// A request with this method.
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

    /// A GET request.
    pub fn get(self, url: impl Into<String>) -> Request {
        self.request("GET", url)
    }

    /// A HEAD request.
    pub fn head(self, url: impl Into<String>) -> Request {
        self.request("HEAD", url)
    }

    /// A POST request.
    pub fn post(self, url: impl Into<String>) -> Request {
        self.request("POST", url)
    }

    /// A PUT request.
    pub fn put(self, url: impl Into<String>) -> Request {
        self.request("PUT", url)
    }

    /// A DELETE request.
    pub fn delete(self, url: impl Into<String>) -> Request {
        self.request("DELETE", url)
    }
}

/// A request in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// In order.
    pub headers: Vec<(String, String)>,
    /// Empty when none.
    pub body: Vec<u8>,
    /// For the connection.
    pub connect_timeout: Duration,
    /// For the first byte of the answer, and between two of its pieces.
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
        // What can't be written as JSON (a map with keys that are no strings) becomes `null`, which any server refuses.
        let body = serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec());
        self.header("content-type", "application/json").body(body)
    }

    /// Gives up when there is no connection, or no answer, after these times.
    pub fn timeouts(mut self, connect: Duration, answer: Duration) -> Self {
        self.connect_timeout = connect;
        self.answer_timeout = answer;
        self
    }

    /// Sends it, and reads the whole answer.
    ///
    /// # Errors
    /// When there is no whole answer. A status of 400 and above is an answer.
    pub fn send(self) -> Result<Response, HttpError> {
        platform::send(self)
    }
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// 200 and so on.
    pub status: u16,
    /// In order.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

impl Response {
    /// Is the status 2xx?
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of this name, without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// When to come again, by the server's `Retry-After` in seconds (RFC 9110, section 10.2.3).
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.trim().parse().ok().map(Duration::from_secs)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body from JSON.
    ///
    /// # Errors
    /// When it is not JSON of that shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

/// Percent-encoded for a path's segment or a query (RFC 3986, section 2.1): all but unreserved characters.
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

/// Did the server see the request?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpErrorKind {
    /// No: no connection was made.
    NotSent,
    /// Perhaps: the answer was lost or came too late.
    MaybeSent,
    /// No: the host refused.
    Refused,
}

/// A request without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpError {
    /// Did the server see it?
    pub kind: HttpErrorKind,
    /// What happened.
    pub message: String,
}

impl HttpError {
    /// As the fault of a call that only reads: it may be repeated.
    pub fn of_reading(self, code: &str) -> Fault {
        match self.kind {
            HttpErrorKind::Refused => Fault::denied(code, self.message),
            HttpErrorKind::NotSent | HttpErrorKind::MaybeSent => Fault::retry(code, self.message),
        }
    }

    /// As the fault of a call that changes something: it may be repeated only if it was not sent.
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
