//! Processes on this machine, for the `local` driver.

use std::path::PathBuf;
use std::time::Duration;

use occopus_engine::ports::Fault;

/// What to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Added to a minimal environment.
    pub environment: Vec<(String, String)>,
    /// Working directory.
    pub directory: Option<String>,
    /// Kept with the process.
    pub labels: Vec<(String, String)>,
}

/// State of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It ended by itself.
    Exited,
    /// None is known by this id.
    Gone,
}

/// A process that was started once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The id it was started under.
    pub instance_id: String,
    /// Its state.
    pub state: State,
    /// 0 unless known.
    pub pid: u32,
    /// A loopback address of its own.
    pub address: String,
    /// The file its output goes to.
    pub output: String,
    /// As they were given.
    pub labels: Vec<(String, String)>,
}

/// All processes under one directory of state; cheap to clone. Several hosts may use the same directory.
#[derive(Debug, Clone)]
pub struct Processes {}

impl Processes {
    /// Nothing is touched before the first call. `program` is what processes get as `OCCOPUS`.
    pub fn new(state_dir: impl Into<PathBuf>, program: impl Into<PathBuf>) -> Self {
        let _ = (state_dir.into(), program.into());
        todo!()
    }

    /// Starts a process, once for each id.
    pub async fn start(&self, instance_id: &str, command: Command) -> Result<Process, Fault> {
        let _ = (instance_id, command);
        todo!()
    }

    /// As many answers as ids, in their order.
    pub async fn inspect(&self, instance_ids: &[String]) -> Result<Vec<Process>, Fault> {
        let _ = instance_ids;
        todo!()
    }

    /// Ends the whole group and forgets it.
    pub async fn stop(&self, instance_id: &str, grace: Duration) -> Result<(), Fault> {
        let _ = (instance_id, grace);
        todo!()
    }

    /// All that have not been stopped, a page at a time.
    pub async fn list_all(&self, cursor: Option<&str>) -> Result<(Vec<Process>, Option<String>), Fault> {
        let _ = cursor;
        todo!()
    }
}
