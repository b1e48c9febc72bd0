//! Exits of processes.
//!
//! Only a process's parent learns its exit status. A host stores that of each process that it started, as soon as the
//! process ends, for later hosts. For a process that outlives its host nobody does, but while it is a zombie (its new
//! parent has not waited for it) the kernel shows the status to everybody.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use serde::{Deserialize, Serialize};

use super::directory::ProcessDirectory;
use super::procfs::ProcessIdentity;

/// Exit of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProcessExit {
    /// Exit status of a process that ended by itself.
    Status(i32),
    /// Signal that ended the process.
    Signal(i32),
}

impl ProcessExit {
    /// Converts a status of `wait`; none for a process that has not ended.
    pub(super) fn from_status(status: ExitStatus) -> Option<Self> {
        status.code().map(Self::Status).or_else(|| status.signal().map(Self::Signal))
    }

    /// Stores it in the process's directory, unless that is gone.
    pub(super) fn save(self, directory: &ProcessDirectory) {
        let (path, draft) = (directory.exit_file(), directory.exit_file().with_extension("new"));
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
            file.write_all(&serde_json::to_vec(&self)?)?;
            fs::rename(&draft, &path)
        };
        // Stored for people; nothing depends on it.
        if let Err(error) = write() {
            tracing::debug!("the exit status of {} is not stored: {error}", directory.id());
        }
    }

    /// Returns the exit of the process of this directory; none if it is unknown.
    pub(super) fn load(directory: &ProcessDirectory, started: Option<&ProcessIdentity>) -> Option<Self> {
        let stored = || serde_json::from_slice(&fs::read(directory.exit_file()).ok()?).ok();
        let zombie = || Self::from_status(ExitStatus::from_raw(started?.stat().filter(|stat| stat.zombie)?.exit_code));
        stored().or_else(zombie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_signals_are_told_apart() {
        assert_eq!(ProcessExit::from_status(ExitStatus::from_raw(3 << 8)), Some(ProcessExit::Status(3)));
        assert_eq!(ProcessExit::from_status(ExitStatus::from_raw(0)), Some(ProcessExit::Status(0)));
        assert_eq!(ProcessExit::from_status(ExitStatus::from_raw(9)), Some(ProcessExit::Signal(9)));
    }
}
