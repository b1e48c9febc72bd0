//! A request's body, no larger and no slower than allowed.

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

/// What nobody wants of a body is still taken for so long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// And not more than so many bytes.
const DRAIN_MAX_BYTES: usize = 64 * 1024 * 1024;

/// What was wrong with a body, told to who answers the request: handlers only see that it broke off.
pub(super) type BodyErrorCell = Arc<OnceLock<LimitExceeded>>;

/// A body that breaks off where it goes over a limit.
pub(super) struct LimitedBody {
    inner: Body,
    remaining: usize,
    /// Since somebody reads it.
    deadline: Option<Pin<Box<Sleep>>>,
    limits: RequestLimits,
    error: BodyErrorCell,
}

impl LimitedBody {
    pub(super) fn new(inner: Body, limits: &RequestLimits, verdict: BodyErrorCell) -> Self {
        Self { inner, remaining: limits.body_bytes, deadline: None, limits: limits.clone(), error: verdict }
    }

    fn fail(&self, overrun: LimitExceeded) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let _ = self.error.set(overrun);
        Poll::Ready(Some(Err(axum::Error::new(overrun))))
    }
}

impl Drop for LimitedBody {
    fn drop(&mut self) {
        drain(std::mem::take(&mut self.inner));
    }
}

/// Takes the rest of a body that nobody wants. Otherwise the connection would be closed under whoever still sends it, who
/// would hear of that instead of the answer; and who goes on to use the connection for something else.
pub(super) fn drain(mut body: Body) {
    if body.is_end_stream() {
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        let mut left = DRAIN_MAX_BYTES;
        let taken = async {
            while let Some(Ok(frame)) = body.frame().await {
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        };
        let _ = timeout(DRAIN_TIMEOUT, taken).await;
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
                Some(left) => self.remaining = left,
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
