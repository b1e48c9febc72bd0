//! Masking of the credential's values in answers, so that a server can't repeat them to the guest.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::{Body, Frame, SizeHint};

use super::{HttpError, HttpErrorKind, RequestSent, ResponseBody};
use crate::secrets::{SecretPatterns, StreamMasker};

/// Headers of requests that allow an answer which can't be searched: compressed, in another character set, or in parts
/// of the guest's choice. A server may ignore all of them.
const ENCODING_HEADERS: [HeaderName; 5] =
    [header::ACCEPT_CHARSET, header::ACCEPT_ENCODING, header::RANGE, header::IF_RANGE, HeaderName::from_static("a-im")];

/// Removes those headers from a request.
pub(super) fn strip_encoding_headers(headers: &mut HeaderMap) {
    for name in ENCODING_HEADERS {
        headers.remove(name);
    }
}

/// Masks the values in the head of an answer.
///
/// # Errors
/// Fails if the answer is compressed all the same.
pub(super) fn mask_head(parts: &mut Parts, patterns: &SecretPatterns) -> Result<(), HttpError> {
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
            "the answer is compressed ({}), although the request does not accept that: it can't be \
             searched for the credential, so the plugin may not read it",
            encoding.to_str().unwrap_or("unknown encoding").chars().take(64).collect::<String>()
        );
        return Err(HttpError::new(HttpErrorKind::Protocol, RequestSent::Maybe, message));
    }
    mask_names(&mut parts.headers, patterns);
    let values = join_values(&parts.headers);
    if let Some(masked) = patterns.masked(&values) {
        patterns.note_repeated();
        replace_values(&mut parts.headers, &masked);
    }
    Ok(())
}

/// Returns all values concatenated, so that a secret which is split over two of them is found as well.
fn join_values(headers: &HeaderMap) -> Vec<u8> {
    headers.values().map(HeaderValue::as_bytes).collect::<Vec<_>>().concat()
}

/// Writes concatenated values back to their headers.
fn replace_values(headers: &mut HeaderMap, mut joined: &[u8]) {
    for value in headers.values_mut() {
        let Some((own, rest)) = joined.split_at_checked(value.len()) else { return };
        // A valid value stays valid with asterisks in it.
        if let Ok(masked) = HeaderValue::from_bytes(own) {
            *value = masked;
        }
        joined = rest;
    }
}

fn mask_names(headers: &mut HeaderMap, patterns: &SecretPatterns) {
    let holds = |name: &HeaderName| patterns.masked(name.as_str().as_bytes()).is_some();
    let found: Vec<HeaderName> = headers.keys().filter(|name| holds(name)).cloned().collect();
    for name in &found {
        patterns.note_repeated();
        headers.remove(name);
    }
}

/// A body whose values are masked as it is read. It keeps its length.
pub(super) struct MaskedBody {
    inner: ResponseBody,
    patterns: Arc<SecretPatterns>,
    masker: StreamMasker,
    /// Trailers that follow the last data.
    trailers: Option<HeaderMap>,
    finished: bool,
}

impl MaskedBody {
    pub(super) fn new(inner: ResponseBody, patterns: Arc<SecretPatterns>) -> Self {
        Self { inner, patterns, masker: StreamMasker::new(), trailers: None, finished: false }
    }

    /// Returns the rest of the data, and masks the trailers as if they followed it.
    fn finish(&mut self, trailers: Option<HeaderMap>) -> Bytes {
        self.finished = true;
        let pending = self.masker.pending_len();
        let values = trailers.as_ref().map(join_values).unwrap_or_default();
        let mut rest = self.masker.finish(&self.patterns, &values);
        let values = rest.split_off(pending.min(rest.len()));
        self.trailers = trailers.map(|mut trailers| {
            replace_values(&mut trailers, &values);
            mask_names(&mut trailers, &self.patterns);
            trailers
        });
        rest.into()
    }
}

impl Body for MaskedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        loop {
            if self.finished {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let data = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.finish(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let this = &mut *self;
                        this.masker.feed(&this.patterns, &data).into()
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().ok();
                        self.finish(trailers)
                    }
                },
            };
            if self.masker.has_matches() {
                self.patterns.note_repeated();
            }
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        if self.finished {
            self.trailers.is_none()
        } else {
            self.inner.is_end_stream() && self.masker.pending_len() == 0
        }
    }

    fn size_hint(&self) -> SizeHint {
        if self.finished {
            return SizeHint::with_exact(0);
        }
        let (pending, inner) = (self.masker.pending_len() as u64, self.inner.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(pending));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(pending));
        }
        hint
    }
}
