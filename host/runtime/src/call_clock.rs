//! How long a call has computed: the time in which it was polled. Whoever waits for a server is not polled.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The clock of one call; clones are the same clock.
#[derive(Debug, Clone)]
pub(crate) struct CallClock(Arc<PollTimes>);

#[derive(Debug)]
struct PollTimes {
    base: Instant,
    /// Nanoseconds of the polls that have ended.
    completed_nanos: AtomicU64,
    /// Nanoseconds after `base` at which the last poll began.
    last_poll_start_nanos: AtomicU64,
}

impl CallClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(PollTimes {
            base: Instant::now(),
            completed_nanos: AtomicU64::new(0),
            last_poll_start_nanos: AtomicU64::new(0),
        }))
    }

    /// Returns the answer of `work`, whose polls are measured.
    pub(crate) async fn measure<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            let began = self.now();
            self.0.last_poll_start_nanos.store(began, Ordering::Relaxed);
            let polled = work.as_mut().poll(cx);
            self.0.completed_nanos.fetch_add(self.now() - began, Ordering::Relaxed);
            polled
        })
        .await
    }

    /// Returns the time of computing so far. Asked from within a poll.
    pub(crate) fn compute_time(&self) -> Duration {
        let running = self.now() - self.0.last_poll_start_nanos.load(Ordering::Relaxed);
        Duration::from_nanos(self.0.completed_nanos.load(Ordering::Relaxed) + running)
    }

    /// Never earlier than an earlier answer, and good for centuries.
    fn now(&self) -> u64 {
        u64::try_from(self.0.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A call has computed for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ComputeTimeExhausted;

/// Long work of the host for one call: others get their turn in the middle of it, and it ends with the call's budget.
pub(crate) struct WorkBudget {
    /// None for work that is never long.
    limit: Option<(CallClock, Duration)>,
    bytes_since_yield: usize,
}

impl WorkBudget {
    /// Bytes after which others get their turn: some tenths of a millisecond.
    const BYTES_PER_YIELD: usize = 64 << 10;

    pub(crate) fn limited(busy: &CallClock, most: Duration) -> Self {
        Self { limit: Some((busy.clone(), most)), bytes_since_yield: 0 }
    }

    pub(crate) fn unlimited() -> Self {
        Self { limit: None, bytes_since_yield: 0 }
    }

    /// To be called before this many bytes are worked on.
    ///
    /// # Errors
    /// When the budget is used up.
    pub(crate) async fn consume(&mut self, bytes: usize) -> Result<(), ComputeTimeExhausted> {
        self.bytes_since_yield += bytes;
        let Some((busy, most)) = self.limit.as_ref().filter(|_| self.bytes_since_yield >= Self::BYTES_PER_YIELD) else {
            return Ok(());
        };
        self.bytes_since_yield = 0;
        if busy.compute_time() > *most {
            return Err(ComputeTimeExhausted);
        }
        tokio::task::yield_now().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_does_not_count_and_computing_does() {
        let busy = CallClock::new();
        let so_far = busy
            .measure(async {
                tokio::time::sleep(Duration::from_millis(120)).await;
                std::thread::sleep(Duration::from_millis(20));
                busy.compute_time()
            })
            .await;
        assert!(so_far >= Duration::from_millis(20) && so_far < Duration::from_millis(100), "{so_far:?}");
    }
}
