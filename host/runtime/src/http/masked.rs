//! Answers without the credential's values: what a server repeats does not get to the guest.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::{Body, Frame, SizeHint};

use super::{HttpError, HttpErrorKind, ResponseBody, Sent};
use crate::secrets::{Scan, Wanted};

/// Headers of requests whose answers come in a form in which nothing can be found: compressed, in another script, or in parts of the
/// guest's choice. A server may leave all of them out of account.
const HIDING: [HeaderName; 5] =
    [header::ACCEPT_CHARSET, header::ACCEPT_ENCODING, header::RANGE, header::IF_RANGE, HeaderName::from_static("a-im")];

/// Takes those headers out of a request.
pub(super) fn ask_openly(headers: &mut HeaderMap) {
    for name in HIDING {
        headers.remove(name);
    }
}

/// Masks the values in the head of an answer.
///
/// # Errors
/// When the answer is compressed all the same.
pub(super) fn mask_head(parts: &mut Parts, wanted: &Wanted) -> Result<(), HttpError> {
    let encodings = [header::CONTENT_ENCODING, header::TRANSFER_ENCODING];
    let mut given = encodings.iter().flat_map(|name| parts.headers.get_all(name));
    let open = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| {
            let mut names = text.split(',').map(str::trim);
            names.all(|name| ["", "identity", "chunked"].iter().any(|open| name.eq_ignore_ascii_case(open)))
        })
    };
    if let Some(encoding) = given.find(|value| !open(value)) {
        let message = format!(
            "the answer is compressed ({}), though nobody asked for that: a credential can't be found in it, so the plugin may not read it",
            encoding.to_str().unwrap_or("in no way that has a name").chars().take(64).collect::<String>()
        );
        return Err(HttpError::new(HttpErrorKind::Protocol, Sent::Maybe, message));
    }
    mask_names(&mut parts.headers, wanted);
    let values = joined(&parts.headers);
    if let Some(masked) = wanted.masked(&values) {
        wanted.note_repeated();
        replace(&mut parts.headers, &masked);
    }
    Ok(())
}

/// All values one behind the other, so that what was cut in two is found as well.
fn joined(headers: &HeaderMap) -> Vec<u8> {
    headers.values().map(HeaderValue::as_bytes).collect::<Vec<_>>().concat()
}

/// The other way round.
fn replace(headers: &mut HeaderMap, mut joined: &[u8]) {
    for value in headers.values_mut() {
        let Some((own, rest)) = joined.split_at_checked(value.len()) else { return };
        // What was a value before is one with asterisks in it.
        if let Ok(masked) = HeaderValue::from_bytes(own) {
            *value = masked;
        }
        joined = rest;
    }
}

fn mask_names(headers: &mut HeaderMap, wanted: &Wanted) {
    let holds = |name: &HeaderName| wanted.masked(name.as_str().as_bytes()).is_some();
    let found: Vec<HeaderName> = headers.keys().filter(|name| holds(name)).cloned().collect();
    for name in &found {
        wanted.note_repeated();
        headers.remove(name);
    }
}

/// A body whose values are masked as it is read. It keeps its length.
pub(super) struct Masked {
    inner: ResponseBody,
    wanted: Arc<Wanted>,
    scan: Scan,
    /// Given away after the last data.
    trailers: Option<HeaderMap>,
    over: bool,
}

impl Masked {
    pub(super) fn new(inner: ResponseBody, wanted: Arc<Wanted>) -> Self {
        Self { inner, wanted, scan: Scan::new(), trailers: None, over: false }
    }

    /// The rest of the data, and the trailers as if they followed them.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Bytes {
        self.over = true;
        let held = self.scan.held();
        let values = trailers.as_ref().map(joined).unwrap_or_default();
        let mut rest = self.scan.end(&self.wanted, &values);
        let values = rest.split_off(held.min(rest.len()));
        self.trailers = trailers.map(|mut trailers| {
            replace(&mut trailers, &values);
            mask_names(&mut trailers, &self.wanted);
            trailers
        });
        rest.into()
    }
}

impl Body for Masked {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        loop {
            if self.over {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let data = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.end(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let this = &mut *self;
                        this.scan.next(&this.wanted, &data).into()
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().ok();
                        self.end(trailers)
                    }
                },
            };
            if self.scan.found() {
                self.wanted.note_repeated();
            }
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        if self.over { self.trailers.is_none() } else { self.inner.is_end_stream() && self.scan.held() == 0 }
    }

    fn size_hint(&self) -> SizeHint {
        if self.over {
            return SizeHint::with_exact(0);
        }
        let (held, inner) = (self.scan.held() as u64, self.inner.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(held));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}
