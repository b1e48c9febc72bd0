//! A blocking HTTP client, to granted targets.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Call, Fault, host};

/// What is left of a call's time for the plugin to answer after a request timed out.
const MARGIN: Duration = Duration::from_millis(500);

/// The HTTP client of a call.
#[derive(Debug, Clone, Copy)]
pub struct Http<'a> {
    call: &'a Call,
}

impl<'a> Http<'a> {
    pub(crate) fn new(call: &'a Call) -> Self {
        Self { call }
    }

    /// A request with this method.
    pub fn request(self, method: &str, url: impl Into<String>) -> Request<'a> {
        Request {
            call: self.call,
            timeout: None,
            parts: Parts {
                method: method.to_owned(),
                url: url.into(),
                headers: Vec::new(),
                body: Vec::new(),
            },
        }
    }

    /// A GET request.
    pub fn get(self, url: impl Into<String>) -> Request<'a> {
        self.request("GET", url)
    }

    /// A HEAD request.
    pub fn head(self, url: impl Into<String>) -> Request<'a> {
        self.request("HEAD", url)
    }

    /// A POST request.
    pub fn post(self, url: impl Into<String>) -> Request<'a> {
        self.request("POST", url)
    }

    /// A PUT request.
    pub fn put(self, url: impl Into<String>) -> Request<'a> {
        self.request("PUT", url)
    }

    /// A DELETE request.
    pub fn delete(self, url: impl Into<String>) -> Request<'a> {
        self.request("DELETE", url)
    }
}

/// What goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// In order.
    pub headers: Vec<(String, String)>,
    /// Empty when none.
    pub body: Vec<u8>,
}

/// A request in the making.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request<'a> {
    call: &'a Call,
    timeout: Option<Duration>,
    parts: Parts,
}

impl Request<'_> {
    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parts.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.parts.body = body.into();
        self
    }

    /// Sets the body to JSON, and the content type.
    pub fn json(self, value: &impl Serialize) -> Self {
        // A value that can't be written as JSON (a map with keys that are no strings) becomes `null`, which any server refuses.
        let body = serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec());
        self.header("content-type", "application/json").body(body)
    }

    /// Gives up after this time. Without it: as long as the call lasts.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends it, and reads the whole answer.
    ///
    /// # Errors
    /// When there is no whole answer. A status of 400 and above is an answer.
    pub fn send(self) -> Result<Response, HttpError> {
        let mut body = Vec::new();
        let mut response = self.send_streaming(&mut |chunk| body.extend_from_slice(chunk))?;
        response.body = body;
        Ok(response)
    }

    /// Sends it, and hands over the body of the answer piece by piece as it comes; the response's own body stays empty.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub fn send_streaming(self, on_chunk: &mut dyn FnMut(&[u8])) -> Result<Response, HttpError> {
        let left = self.call.remaining().saturating_sub(MARGIN);
        let timeout = self.timeout.map_or(left, |timeout| timeout.min(left));
        host::send(self.parts, timeout, on_chunk)
    }
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// 200 and so on.
    pub status: u16,
    /// Names in lower case.
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
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
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

/// Did the server see the request?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpErrorKind {
    /// No: no connection was made.
    NotSent,
    /// Perhaps: the answer was lost or came too late.
    MaybeSent,
    /// No, and it never will: the host refused, or the request makes no sense.
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
    /// An error of this kind.
    pub fn new(kind: HttpErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// As a fault of a call that only reads: it may be repeated.
    pub fn while_reading(self, code: impl Into<String>) -> Fault {
        match self.kind {
            HttpErrorKind::Refused => Fault::denied(code, self.message),
            HttpErrorKind::NotSent | HttpErrorKind::MaybeSent => Fault::retry(code, self.message),
        }
    }

    /// As a fault of a call that changes something: it may be repeated only if it was not sent.
    pub fn while_changing(self, code: impl Into<String>) -> Fault {
        match self.kind {
            HttpErrorKind::Refused => Fault::denied(code, self.message),
            HttpErrorKind::NotSent => Fault::retry(code, self.message),
            HttpErrorKind::MaybeSent => Fault::unknown_outcome(code, self.message),
        }
    }
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HttpError {}
