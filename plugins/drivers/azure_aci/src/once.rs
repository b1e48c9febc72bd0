//! Work for things that groups share: of the calls of one moment one does it, and the others wait for it.

use std::time::Duration;

use occopus_azure_arm::Arm;
use occopus_sdk::Fault;

use crate::handle::now;

/// Time within which the call that works has ended.
const WORK_MAX: Duration = Duration::from_secs(30);
/// Pause of calls that wait for it.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Time that a call keeps for doing the work itself.
const WORK_MARGIN: Duration = Duration::from_secs(20);

/// Does something, unless it was done within `known_for`, by the key in the host's cache. Returns none if another call did it.
pub(crate) fn once<T>(
    arm: &Arm<'_>,
    key: &str,
    known_for: Duration,
    work: impl FnOnce() -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    let (cache, call, under_way) = (arm.cache(), arm.call(), format!("{key}\nunder way"));
    let text = |key: &str| String::from_utf8(cache.get(key)?).ok().filter(|text| !text.is_empty());
    loop {
        if text(key).is_some() {
            return Ok(None);
        }
        let since = text(&under_way).and_then(|since| since.parse::<u64>().ok());
        let is_under_way = since.is_some_and(|since| now() < since.saturating_add(WORK_MAX.as_secs()));
        if !is_under_way || call.cancelled() || call.remaining() < WORK_MARGIN {
            break;
        }
        call.wait(POLL_INTERVAL);
    }
    cache.put(&under_way, now().to_string().as_bytes(), WORK_MAX);
    let done = work();
    cache.put(&under_way, b"", Duration::ZERO);
    if done.is_ok() {
        cache.put(key, b"done", known_for);
    }
    done.map(Some)
}

/// Forgets that something was done.
pub(crate) fn forget(arm: &Arm<'_>, key: &str) {
    arm.cache().put(key, b"", Duration::ZERO);
}
