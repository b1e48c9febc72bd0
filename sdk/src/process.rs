//! Processes on the machine of the host. Ask for `process` in [`crate::About::interfaces`].

use std::time::Duration;

use crate::{Fault, platform};

pub use crate::bindings::imports::occopus::host::process::{Command, Ending, Process, State};

/// Starts a process in a group of its own. Idempotent by instance id.
///
/// # Errors
/// The host's.
pub fn start(instance_id: &str, command: &Command) -> Result<Process, Fault> {
    platform::process_start(instance_id, command)
}

/// By instance id; `Gone` where there is none.
///
/// # Errors
/// The host's.
pub fn inspect(instance_ids: &[String]) -> Result<Vec<Process>, Fault> {
    platform::process_inspect(instance_ids)
}

/// Ends the group: SIGTERM, after the grace SIGKILL; then forgets it. Idempotent.
///
/// # Errors
/// The host's.
pub fn stop(instance_id: &str, grace: Duration) -> Result<(), Fault> {
    platform::process_stop(instance_id, grace)
}

/// All that was started and not stopped, a page at a time.
///
/// # Errors
/// The host's.
pub fn list_all(cursor: Option<&str>) -> Result<(Vec<Process>, Option<String>), Fault> {
    platform::process_list_all(cursor)
}

/// How processes ended, by instance id; none for one that runs, and when nobody knows it.
///
/// # Errors
/// The host's.
pub fn endings(instance_ids: &[String]) -> Result<Vec<Option<Ending>>, Fault> {
    platform::process_endings(instance_ids)
}

/// The last lines that a process wrote, oldest first, at most so many.
///
/// # Errors
/// The host's.
pub fn tail(instance_id: &str, lines: u32) -> Result<String, Fault> {
    platform::process_tail(instance_id, lines)
}
