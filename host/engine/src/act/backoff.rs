//! Growing pauses: between observations of a machine that starts, and before another attempt.

use std::time::Duration;

use crate::settings::Settings;
use crate::state::digest;

/// Pauses between observations of a state that changes by itself: each is half as long again as the one before, up to
/// `max`.
pub(super) struct PollInterval {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl PollInterval {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { first: settings.poll_interval_min, max: settings.poll_interval_max, next: settings.poll_interval_min }
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = self.next.mul_f64(1.5).min(self.max);
        pause
    }

    /// Returns to the shortest pause, after a change that others may follow soon.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Longest pause that is accepted from a cloud, so that a server cannot make a node wait for ever.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// Returns the pause before attempt `attempt + 1`: it doubles, with a jitter of a quarter both ways so that calls that
/// failed together are not repeated together, and is not shorter than `retry_after`, up to [`MAX_RETRY_AFTER`]. The
/// jitter is derived from `caller`, so that a run can be replayed.
pub(super) fn retry_delay(settings: &Settings, attempt: u32, caller: &str, retry_after: Option<Duration>) -> Duration {
    let doubled = settings.retry_delay_min.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let capped = doubled.min(settings.retry_delay_max);
    let jitter = (digest(format!("{caller}/{attempt}").as_bytes()) % 1000) as f64 / 1000.0;
    capped.mul_f64(0.75 + jitter / 2.0).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_does_not_stop_a_node_for_ever() {
        let pause = |seconds| retry_delay(&Settings::default(), 1, "a", Some(Duration::from_secs(seconds)));
        assert_eq!(pause(120), Duration::from_secs(120));
        assert_eq!(pause(u64::MAX), MAX_RETRY_AFTER);
    }
}
