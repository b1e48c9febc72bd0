//! How long a call has computed: the time in which it was polled. Whoever waits for a server is not polled.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The clock of one call; clones are the same clock.
#[derive(Debug, Clone)]
pub(crate) struct Busy(Arc<Clock>);

#[derive(Debug)]
struct Clock {
    base: Instant,
    /// Nanoseconds of the polls that have ended.
    ended: AtomicU64,
    /// Nanoseconds after `base` at which the last poll began.
    began: AtomicU64,
}

impl Busy {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Clock { base: Instant::now(), ended: AtomicU64::new(0), began: AtomicU64::new(0) }))
    }

    /// Returns the answer of `work`, whose polls are measured.
    pub(crate) async fn measure<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            let began = self.now();
            self.0.began.store(began, Ordering::Relaxed);
            let polled = work.as_mut().poll(cx);
            self.0.ended.fetch_add(self.now() - began, Ordering::Relaxed);
            polled
        })
        .await
    }

    /// Returns the time of computing so far. Asked from within a poll.
    pub(crate) fn so_far(&self) -> Duration {
        let running = self.now() - self.0.began.load(Ordering::Relaxed);
        Duration::from_nanos(self.0.ended.load(Ordering::Relaxed) + running)
    }

    /// Never earlier than an earlier answer, and good for centuries.
    fn now(&self) -> u64 {
        u64::try_from(self.0.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A call has computed for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent;

/// Long work of the host for one call: others get their turn in the middle of it, and it ends with the call's budget.
pub(crate) struct Pace {
    /// None for work that is never long.
    budget: Option<(Busy, Duration)>,
    done: usize,
}

impl Pace {
    /// Bytes after which others get their turn: some tenths of a millisecond.
    const STEP: usize = 64 << 10;

    pub(crate) fn within(busy: &Busy, most: Duration) -> Self {
        Self { budget: Some((busy.clone(), most)), done: 0 }
    }

    pub(crate) fn endless() -> Self {
        Self { budget: None, done: 0 }
    }

    /// To be called before this many bytes are worked on.
    ///
    /// # Errors
    /// When the budget is used up.
    pub(crate) async fn step(&mut self, bytes: usize) -> Result<(), Spent> {
        self.done += bytes;
        let Some((busy, most)) = self.budget.as_ref().filter(|_| self.done >= Self::STEP) else { return Ok(()) };
        self.done = 0;
        if busy.so_far() > *most {
            return Err(Spent);
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
        let busy = Busy::new();
        let so_far = busy
            .measure(async {
                tokio::time::sleep(Duration::from_millis(120)).await;
                std::thread::sleep(Duration::from_millis(20));
                busy.so_far()
            })
            .await;
        assert!(so_far >= Duration::from_millis(20) && so_far < Duration::from_millis(100), "{so_far:?}");
    }
}
