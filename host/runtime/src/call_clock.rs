//! Compute time of a call: the time for which it was polled. A call that waits for a server is not polled.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Compute clock of one call; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct CallClock(Arc<PollTimes>);

#[derive(Debug)]
struct PollTimes {
    base: Instant,
    /// Nanoseconds of completed polls.
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

    /// Runs `work`, and adds the duration of its polls to the compute time.
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

    /// Returns the compute time so far. Must be called from within a poll of [`measure`](Self::measure).
    pub(crate) fn compute_time(&self) -> Duration {
        let running = self.now() - self.0.last_poll_start_nanos.load(Ordering::Relaxed);
        Duration::from_nanos(self.0.completed_nanos.load(Ordering::Relaxed) + running)
    }

    /// Returns the nanoseconds since `base`: monotonic, and without overflow for centuries.
    fn now(&self) -> u64 {
        u64::try_from(self.0.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Error of a call that has used up its compute time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ComputeTimeExhausted;

/// Compute budget for long work of the host in one call. Yields to other tasks at intervals.
pub(crate) struct WorkBudget {
    /// Clock and limit; none for work that is never long.
    limit: Option<(CallClock, Duration)>,
    bytes_since_yield: usize,
}

impl WorkBudget {
    /// Bytes of work between two yields: some tenths of a millisecond.
    const BYTES_PER_YIELD: usize = 64 << 10;

    pub(crate) fn limited(clock: &CallClock, limit: Duration) -> Self {
        Self { limit: Some((clock.clone(), limit)), bytes_since_yield: 0 }
    }

    pub(crate) fn unlimited() -> Self {
        Self { limit: None, bytes_since_yield: 0 }
    }

    /// Accounts for `bytes` of work. Must be called before the work is done; yields to other tasks if it is time.
    ///
    /// # Errors
    /// Fails if the compute time is used up.
    pub(crate) async fn consume(&mut self, bytes: usize) -> Result<(), ComputeTimeExhausted> {
        self.bytes_since_yield += bytes;
        let Some((clock, limit)) = self.limit.as_ref().filter(|_| self.bytes_since_yield >= Self::BYTES_PER_YIELD)
        else {
            return Ok(());
        };
        self.bytes_since_yield = 0;
        if clock.compute_time() > *limit {
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
        let clock = CallClock::new();
        let so_far = clock
            .measure(async {
                tokio::time::sleep(Duration::from_millis(120)).await;
                std::thread::sleep(Duration::from_millis(20));
                clock.compute_time()
            })
            .await;
        assert!(so_far >= Duration::from_millis(20) && so_far < Duration::from_millis(100), "{so_far:?}");
    }
}
