//! Exit statuses of the command line.

use std::process::ExitCode;

/// The exit status of the program. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// The command is done.
    Success = 0,
    /// The command failed; nothing is left of what it began.
    Failed = 1,
    /// The arguments are wrong.
    Usage = 2,
    /// The user's files are wrong.
    Invalid = 3,
    /// Another process owns the infrastructure.
    Owned = 4,
    /// Something exists that should have been removed.
    LeftBehind = 5,
    /// The command is done as far as possible, and the infrastructure is not ready.
    NotReady = 6,
    /// Some machines could not be observed, and no failure is known.
    Unreachable = 7,
    /// The user interrupted the command.
    Interrupted = 130,
}

impl From<ExitStatus> for ExitCode {
    fn from(exit: ExitStatus) -> Self {
        Self::from(exit as u8)
    }
}
