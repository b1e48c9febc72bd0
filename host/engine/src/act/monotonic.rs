//! Time that passes evenly. What lasts is measured by it, so that it does not matter when the clock is set, or when the machine
//! sleeps: for how long a check fails, for instance.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::ports::Clock;

/// The clock may differ from the time that has passed by so much before it counts as set.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(10);

/// Begins at the time of the clock, and goes on evenly until [`Steady::follow`] sets it.
pub(crate) struct MonotonicTime {
    clock: Arc<dyn Clock>,
    /// A time of the clock, and the time without jumps at that moment.
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

    /// Sets it by the clock. Tells by how much, when the clock has jumped.
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
