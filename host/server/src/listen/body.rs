//! Request bodies, limited in size and time.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep, timeout};

use super::{LimitExceeded, RequestLimits};

/// Time for which the unread rest of a body is still received.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of the unread rest that are received at most.
const DRAIN_MAX_BYTES: usize = 64 * 1024 * 1024;

/// The limit that a body exceeded, for the layer that answers the request: handlers only see that the body broke off.
pub(super) type BodyErrorCell = Arc<OnceLock<LimitExceeded>>;

/// A body that breaks off when it exceeds a limit.
pub(super) struct LimitedBody {
    inner: Body,
    remaining: usize,
    /// Deadline of the body, which starts when it is first read.
    deadline: Option<Pin<Box<Sleep>>>,
    limits: RequestLimits,
    error: BodyErrorCell,
}

impl LimitedBody {
    pub(super) fn new(inner: Body, limits: &RequestLimits, error: BodyErrorCell) -> Self {
        Self { inner, remaining: limits.body_bytes, deadline: None, limits: limits.clone(), error }
    }

    fn fail(&self, error: LimitExceeded) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let _ = self.error.set(error);
        Poll::Ready(Some(Err(axum::Error::new(error))))
    }
}

impl Drop for LimitedBody {
    fn drop(&mut self) {
        drain(std::mem::take(&mut self.inner));
    }
}

/// Receives and drops the unread rest of a body, in a task of its own and within [`DRAIN_TIMEOUT`] and
/// [`DRAIN_MAX_BYTES`]. Otherwise the connection would be closed while the client still sends, and the client would see
/// that instead of the response; and it could not reuse the connection.
pub(super) fn drain(mut body: Body) {
    if body.is_end_stream() {
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        let mut remaining = DRAIN_MAX_BYTES;
        let draining = async {
            while let Some(Ok(frame)) = body.frame().await {
                match remaining.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(rest) => remaining = rest,
                    None => return,
                }
            }
        };
        let _ = timeout(DRAIN_TIMEOUT, draining).await;
    });
}

impl hyper::body::Body for LimitedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            match self.remaining.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(rest) => self.remaining = rest,
                None => return self.fail(LimitExceeded::BodyTooLarge { limit: self.limits.body_bytes }),
            }
        }
        let time = self.limits.body_timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(time)));
        if polled.is_pending() && deadline.as_mut().poll(context).is_ready() {
            return self.fail(LimitExceeded::BodyTimeout { limit: self.limits.body_timeout });
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
