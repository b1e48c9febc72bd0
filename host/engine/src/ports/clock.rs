//! Time as a port, so that tests can control it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;

/// Wall-clock time and waiting.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Returns the time of the wall clock. It may jump, in both directions.
    fn now(&self) -> Timestamp;
    /// Returns the time since an arbitrary moment, without jumps: durations measured by it are not disturbed when the
    /// clock is set or the machine sleeps.
    fn uptime(&self) -> Duration;
    /// Waits for at least `duration`.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock, with Tokio's timer (which tests may pause).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn uptime(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
