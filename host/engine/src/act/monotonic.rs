//! Monotonic time. Durations in records, such as how long a check has been failing, are measured by it, so that they
//! are not disturbed when the wall clock is set or the machine sleeps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::ports::Clock;

/// Largest difference between the wall clock and the elapsed time that does not count as a jump.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(10);

/// Timestamps that begin at the time of the wall clock and advance evenly until [`MonotonicTime::follow_clock`] sets them.
pub(crate) struct MonotonicTime {
    clock: Arc<dyn Clock>,
    /// A time of the wall clock, and the uptime at that moment.
    anchor: Mutex<(Timestamp, Duration)>,
}

impl MonotonicTime {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let anchor = Mutex::new((clock.now(), clock.uptime()));
        Self { clock, anchor }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let (then, uptime) = *self.anchor();
        then.checked_add(self.clock.uptime().saturating_sub(uptime)).unwrap_or(then)
    }

    /// Follows the wall clock if it has jumped; returns by how much.
    pub(crate) fn follow_clock(&self) -> Option<SignedDuration> {
        let jump = self.clock.now().duration_since(self.now());
        if jump.abs() < TOLERANCE {
            return None;
        }
        *self.anchor() = (self.clock.now(), self.clock.uptime());
        Some(jump)
    }

    fn anchor(&self) -> MutexGuard<'_, (Timestamp, Duration)> {
        self.anchor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the elapsed time; zero if the clock was set back.
pub(crate) fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
