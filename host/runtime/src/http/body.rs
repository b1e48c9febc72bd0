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

use super::error::error_chain;
use super::memory::MemoryReservation;
use super::{HttpError, HttpErrorKind, HttpLimits, RequestSent};

/// The guest's body, up to a number of bytes.
pub(super) struct BoundedRequestBody<B> {
    inner: Pin<Box<B>>,
    left: u64,
}

impl<B> BoundedRequestBody<B> {
    pub(super) fn new(inner: B, max_bytes: u64) -> Self {
        Self { inner: Box::pin(inner), left: max_bytes }
    }
}

impl<B> Body for BoundedRequestBody<B>
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
                return Poll::Ready(Some(Err(HttpError::new(
                    HttpErrorKind::InvalidRequest,
                    RequestSent::Maybe,
                    message,
                ))));
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
                Err(HttpError::new(HttpErrorKind::RequestTooLarge, RequestSent::Maybe, message))
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

/// A body in memory, with its reservation of the call's memory.
pub(super) struct BufferedBody {
    pub(super) bytes: Bytes,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) reservation: MemoryReservation,
}

impl BufferedBody {
    /// Reads a body into memory.
    ///
    /// # Errors
    /// Fails if the body fails, or there is no memory for it.
    pub(super) async fn collect(
        mut body: UnsyncBoxBody<Bytes, HttpError>,
        mut reservation: MemoryReservation,
    ) -> Result<Self, HttpError> {
        let (mut bytes, mut trailers) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            match frame?.into_data() {
                Ok(data) => {
                    reservation.try_grow(data.len())?;
                    bytes.extend_from_slice(&data);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok(Self { bytes: bytes.freeze(), trailers, reservation })
    }

    /// Converts it into a body again.
    pub(super) fn into_body(self) -> UnsyncBoxBody<Bytes, HttpError> {
        let bytes = Full::new(self.bytes).map_err(|never| match never {});
        let inner = match self.trailers {
            None => bytes.boxed_unsync(),
            Some(trailers) => bytes.with_trailers(async move { Some(Ok(trailers)) }).boxed_unsync(),
        };
        ReservedBody { inner, _reservation: self.reservation }.boxed_unsync()
    }
}

/// A body with its reservation of the call's memory, which is released with it.
pub(super) struct ReservedBody {
    pub(super) inner: UnsyncBoxBody<Bytes, HttpError>,
    pub(super) _reservation: MemoryReservation,
}

impl Body for ReservedBody {
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
pub(super) struct BoundedResponseBody<B> {
    inner: B,
    left: u64,
    read_timeout: Duration,
    /// Timer that runs while the reader waits for the server, not while the server waits for the reader.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> BoundedResponseBody<B> {
    pub(super) fn new(inner: B, limits: &HttpLimits) -> Self {
        Self { inner, left: limits.response_body, read_timeout: limits.between_bytes, timer: None }
    }
}

impl<B> Body for BoundedResponseBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let failed = |kind, message: String| Poll::Ready(Some(Err(HttpError::new(kind, RequestSent::Maybe, message))));
        let read_timeout = self.read_timeout;
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Pending => {
                ready!(self.timer.get_or_insert_with(|| Box::pin(sleep(read_timeout))).as_mut().poll(cx));
                let message = format!("the server sent no more of its answer within {read_timeout:?}");
                return failed(HttpErrorKind::BetweenBytesTimeout, message);
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => {
                return failed(HttpErrorKind::Protocol, format!("the answer broke off: {}", error_chain(&error)));
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
