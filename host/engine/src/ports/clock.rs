//! Time, so that tests can make their own.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// Wall-clock time and waiting.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Now. May jump, in both directions.
    fn now(&self) -> Timestamp;
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

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
