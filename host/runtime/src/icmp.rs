//! One ICMP echo.

use std::net::IpAddr;
use std::time::Duration;

use occopus_engine::ports::Fault;

/// The round trip; none when no answer came in time.
pub async fn echo(address: IpAddr, timeout: Duration) -> Result<Option<Duration>, Fault> {
    let _ = (address, timeout);
    todo!()
}
