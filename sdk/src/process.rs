//! Processes on the machine of the host. Ask for `process` in [`crate::About::interfaces`].

use std::time::Duration;

use crate::{Fault, host};

/// What to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Added to a minimal environment.
    pub environment: Vec<(String, String)>,
    /// Working directory; the host's own when none.
    pub directory: Option<String>,
    /// Labels to keep with the process.
    pub labels: Vec<(String, String)>,
}

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It ended.
    Exited,
    /// There is none.
    Gone,
}

/// A process that the host knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The id it was started under.
    pub instance_id: String,
    /// How it is.
    pub state: State,
    /// 0 unless known.
    pub pid: u32,
    /// A loopback address that only this process was given.
    pub address: String,
    /// Where output goes.
    pub output: String,
    /// As given at the start.
    pub labels: Vec<(String, String)>,
}

/// Starts a process in a group of its own. Idempotent by instance id.
///
/// # Errors
/// The host's fault.
pub fn start(instance_id: &str, command: &Command) -> Result<Process, Fault> {
    host::process_start(instance_id, command)
}

/// By instance id; `Gone` where there is none.
///
/// # Errors
/// The host's fault.
pub fn inspect(instance_ids: &[String]) -> Result<Vec<Process>, Fault> {
    host::process_inspect(instance_ids)
}

/// Ends the group: SIGTERM, after the grace SIGKILL; then forgets it. Idempotent.
///
/// # Errors
/// The host's fault.
pub fn stop(instance_id: &str, grace: Duration) -> Result<(), Fault> {
    host::process_stop(instance_id, u64::try_from(grace.as_millis()).unwrap_or(u64::MAX))
}

/// All that was started and not stopped, a page at a time.
///
/// # Errors
/// The host's fault.
pub fn list_all(cursor: Option<&str>) -> Result<(Vec<Process>, Option<String>), Fault> {
    host::process_list_all(cursor)
}
