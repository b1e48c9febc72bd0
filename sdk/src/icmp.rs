//! One ICMP echo. Ask for `icmp` in [`crate::About::interfaces`].

use std::time::Duration;

use crate::{Fault, host};

/// The round trip; none when no answer came in time.
///
/// # Errors
/// `denied` when not granted.
pub fn echo(address: &str, timeout: Duration) -> Result<Option<Duration>, Fault> {
    let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    Ok(host::icmp_echo(address, ms)?.map(Duration::from_micros))
}
