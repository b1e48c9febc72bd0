//! Wall-clock time that follows Tokio's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::ports::Clock;

/// A clock that starts at 2026-01-01 and follows Tokio's time. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct VirtualClock {
    start: Instant,
    /// Milliseconds by which it was set forward.
    jumped: Arc<AtomicI64>,
}

impl VirtualClock {
    /// Creates a clock that starts now. Needs a Tokio runtime.
    pub fn new() -> Self {
        Self { start: Instant::now(), jumped: Arc::default() }
    }

    /// Sets the wall clock forward or back, as after a sleep of the host; the uptime does not change.
    pub fn jump(&self, milliseconds: i64) {
        self.jumped.fetch_add(milliseconds, Ordering::Relaxed);
    }
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        let passed = passed.saturating_add(self.jumped.load(Ordering::Relaxed));
        Timestamp::from_millisecond(1_767_225_600_000_i64.saturating_add(passed)).unwrap_or(Timestamp::MAX)
    }

    fn uptime(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
