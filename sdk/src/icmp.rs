//! One ICMP echo. Ask for `icmp` in [`crate::About::interfaces`].

use std::time::Duration;

use crate::{Fault, platform};

/// The round trip; none when no answer came in time.
///
/// # Errors
/// `denied` when not granted.
pub fn echo(address: &str, timeout: Duration) -> Result<Option<Duration>, Fault> {
    platform::echo(address, timeout)
}
