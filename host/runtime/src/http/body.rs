//! Bodies with bounds.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use tokio::time::{Sleep, sleep};

use super::error::chain;
use super::memory::Share;
use super::{HttpError, HttpErrorKind, HttpLimits, Sent};

/// The guest's body, up to a number of bytes.
pub(super) struct BoundedRequest<B> {
    inner: Pin<Box<B>>,
    left: u64,
}

impl<B> BoundedRequest<B> {
    pub(super) fn new(inner: B, most: u64) -> Self {
        Self { inner: Box::pin(inner), left: most }
    }
}

impl<B> Body for BoundedRequest<B>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = match ready!(self.inner.as_mut().poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                // The guest gave up in the middle of its request. The server may have seen the beginning.
                let message = format!("the plugin did not finish the request's body: {error}");
                return Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::InvalidRequest, Sent::Maybe, message))));
            }
        };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        Poll::Ready(Some(match self.left.checked_sub(length) {
            Some(left) => {
                self.left = left;
                Ok(frame)
            }
            None => {
                let message = "the request's body is larger than a plugin may send";
                Err(HttpError::new(HttpErrorKind::RequestTooLarge, Sent::Maybe, message))
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A body that is in memory, with its share of the call's.
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) share: Share,
}

impl Whole {
    /// Takes a body in.
    ///
    /// # Errors
    /// When the body fails, or there is no memory for it.
    pub(super) async fn of(mut body: UnsyncBoxBody<Bytes, HttpError>, mut share: Share) -> Result<Self, HttpError> {
        let (mut bytes, mut trailers) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            match frame?.into_data() {
                Ok(data) => {
                    share.grow(data.len())?;
                    bytes.extend_from_slice(&data);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok(Self { bytes: bytes.freeze(), trailers, share })
    }

    /// As a body again.
    pub(super) fn body(self) -> UnsyncBoxBody<Bytes, HttpError> {
        let bytes = Full::new(self.bytes).map_err(|never| match never {});
        let inner = match self.trailers {
            None => bytes.boxed_unsync(),
            Some(trailers) => bytes.with_trailers(async move { Some(Ok(trailers)) }).boxed_unsync(),
        };
        Held { inner, _share: self.share }.boxed_unsync()
    }
}

/// A body with what it needs of the call's memory.
pub(super) struct Held {
    pub(super) inner: UnsyncBoxBody<Bytes, HttpError>,
    pub(super) _share: Share,
}

impl Body for Held {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The server's body, up to a number of bytes, each part within a time.
pub(super) struct BoundedResponse<B> {
    inner: B,
    left: u64,
    patience: Duration,
    /// Runs while the reader waits for the server, not while the server waits for the reader.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> BoundedResponse<B> {
    pub(super) fn new(inner: B, limits: &HttpLimits) -> Self {
        Self { inner, left: limits.response_body, patience: limits.between_bytes, timer: None }
    }
}

impl<B> Body for BoundedResponse<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let failed = |kind, message: String| Poll::Ready(Some(Err(HttpError::new(kind, Sent::Maybe, message))));
        let patience = self.patience;
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Pending => {
                ready!(self.timer.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(cx));
                let message = format!("the server sent no more of its answer within {patience:?}");
                return failed(HttpErrorKind::BetweenBytesTimeout, message);
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => {
                return failed(HttpErrorKind::Protocol, format!("the answer broke off: {}", chain(&error)));
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        self.timer = None;
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(left) = self.left.checked_sub(length) else {
            return failed(HttpErrorKind::ResponseTooLarge, "the answer is larger than a plugin may receive".into());
        };
        self.left = left;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
