//! Time, so that tests can make their own.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;

/// Wall-clock time and waiting.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Now. May jump, in both directions.
    fn now(&self) -> Timestamp;
    /// Time since some moment, without jumps: what is measured by it is not disturbed when the clock is set, or when the
    /// machine sleeps.
    fn uptime(&self) -> Duration;
    /// Waits at least this long.
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
