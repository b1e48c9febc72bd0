//! Waiting for what happens by itself.

use std::time::{Duration, Instant};

/// Waits until a condition is met.
///
/// # Panics
/// Panics if this takes more than a minute.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
