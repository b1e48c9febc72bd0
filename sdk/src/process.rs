//! Processes on the machine of the host. Needs `process` in [`crate::About::interfaces`].

use std::time::Duration;

use crate::{Fault, platform};

pub use crate::bindings::imports::occopus::host::process::{Command, Ending, Process, State};

/// Starts a process in a group of its own. Idempotent by instance id.
///
/// # Errors
/// A fault of the host.
pub fn start(instance_id: &str, command: &Command) -> Result<Process, Fault> {
    platform::process_start(instance_id, command)
}

/// Returns processes by instance id; `Gone` where there is none.
///
/// # Errors
/// A fault of the host.
pub fn inspect(instance_ids: &[String]) -> Result<Vec<Process>, Fault> {
    platform::process_inspect(instance_ids)
}

/// Ends the group with SIGTERM, and after the grace with SIGKILL; then forgets it. Idempotent.
///
/// # Errors
/// A fault of the host.
pub fn stop(instance_id: &str, grace: Duration) -> Result<(), Fault> {
    platform::process_stop(instance_id, grace)
}

/// Lists all processes that were started and not stopped, a page at a time.
///
/// # Errors
/// A fault of the host.
pub fn list_all(cursor: Option<&str>) -> Result<(Vec<Process>, Option<String>), Fault> {
    platform::process_list_all(cursor)
}

/// Returns the endings of processes by instance id; none for one that runs, or whose ending is unknown.
///
/// # Errors
/// A fault of the host.
pub fn endings(instance_ids: &[String]) -> Result<Vec<Option<Ending>>, Fault> {
    platform::process_endings(instance_ids)
}

/// Returns the last lines that a process wrote, oldest first, at most `lines`.
///
/// # Errors
/// A fault of the host.
pub fn tail(instance_id: &str, lines: u32) -> Result<String, Fault> {
    platform::process_tail(instance_id, lines)
}
