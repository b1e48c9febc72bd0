//! ICMP echo. Needs `icmp` in [`crate::About::interfaces`].

use std::time::Duration;

use crate::{Fault, platform};

/// Sends an echo and returns the round-trip time; none if no answer came in time.
///
/// # Errors
/// `denied` if `icmp` is not granted.
pub fn echo(address: &str, timeout: Duration) -> Result<Option<Duration>, Fault> {
    platform::echo(address, timeout)
}
