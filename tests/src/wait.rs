//! Waiting for what happens by itself.

use std::time::{Duration, Instant};

/// Time within which everything that is waited for happens.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until a condition is met.
///
/// # Panics
/// Panics if this takes more than a minute.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, String::new, || condition().then_some(()));
}

/// Waits until there is a value, and returns it.
///
/// # Panics
/// Panics if this takes more than a minute. The message contains `context`, such as a log.
#[track_caller]
pub fn wait_for<T>(what: &str, context: impl Fn() -> String, mut value: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(began.elapsed() < WAIT_TIMEOUT, "timed out waiting until {what}\n{}", context());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Pauses where nothing can be awaited. `reason` says why, in the test.
///
/// # Panics
/// Panics if there is no reason.
pub fn pause(reason: &str, time: Duration) {
    assert!(!reason.is_empty(), "await what happens, and do not pause");
    std::thread::sleep(time);
}
