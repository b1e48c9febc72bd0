//! Pauses that grow.

use std::time::Duration;

use crate::settings::Settings;
use crate::state::digest;

/// Looks at something that changes by itself: from short pauses to long ones.
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

    /// Something changed, so more may soon.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Longest pause that is kept because a cloud asks for it: a node does not wait for ever by the word of a server.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// The pause before attempt `attempt + 1`: doubling, spread out so that many that failed together do not come back
/// together, and not shorter than what the cloud asked for, up to ten minutes. The spread comes from `who`, so that a run can be replayed.
pub(super) fn retry_delay(settings: &Settings, attempt: u32, who: &str, asked: Option<Duration>) -> Duration {
    let doubled = settings.retry_delay_min.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let capped = doubled.min(settings.retry_delay_max);
    let spread = (digest(format!("{who}/{attempt}").as_bytes()) % 1000) as f64 / 1000.0;
    capped.mul_f64(0.75 + spread / 2.0).max(asked.unwrap_or_default().min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_does_not_stop_a_node_for_ever() {
        let pause = |asked| retry_delay(&Settings::default(), 1, "a", Some(Duration::from_secs(asked)));
        assert_eq!(pause(120), Duration::from_secs(120));
        assert_eq!(pause(u64::MAX), MAX_RETRY_AFTER);
    }
}
