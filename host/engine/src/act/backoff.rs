//! Pauses that grow.

use std::time::Duration;

use crate::settings::Settings;
use crate::state::digest;

/// Looks at something that changes by itself: from short pauses to long ones.
pub(super) struct Polling {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Polling {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { first: settings.poll_first, longest: settings.poll_longest, next: settings.poll_first }
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = self.next.mul_f64(1.5).min(self.longest);
        pause
    }

    /// Something changed, so more may soon.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// The pause before attempt `attempt + 1`: doubling, spread out so that many that failed together do not come back
/// together, and never shorter than what the cloud asked for. The spread comes from `who`, so that a run can be replayed.
pub(super) fn before_retry(settings: &Settings, attempt: u32, who: &str, asked: Option<Duration>) -> Duration {
    let doubled = settings.retry_first.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let capped = doubled.min(settings.retry_longest);
    let spread = (digest(format!("{who}/{attempt}").as_bytes()) % 1000) as f64 / 1000.0;
    capped.mul_f64(0.75 + spread / 2.0).max(asked.unwrap_or_default())
}
