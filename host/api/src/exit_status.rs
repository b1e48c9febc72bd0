//! Exit statuses of the command line.

use std::process::ExitCode;

use crate::ErrorCode;

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

/// Facts about a failure that outweigh its code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailureFacts {
    /// Instances exist that should have been removed.
    pub has_leftovers: bool,
    /// A node failed: the code is that of a plugin's call, and may be the word of a row by accident. A service reports it
    /// with 502.
    pub is_of_node: bool,
}

impl ExitStatus {
    /// Returns the exit status of a command that fails with a code, on this machine or on a service: that of the code's
    /// row. Instances that are left come first, then the failure of a node; a code without a row is [`Self::Failed`].
    pub fn of_failure(code: &str, facts: FailureFacts) -> Self {
        match ErrorCode::find(code) {
            _ if facts.has_leftovers => Self::LeftBehind,
            Some(row) if !facts.is_of_node => row.exit,
            _ => Self::Failed,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(exit: ExitStatus) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_and_failed_nodes_outweigh_the_code() {
        let exit =
            |code, has_leftovers, is_of_node| ExitStatus::of_failure(code, FailureFacts { has_leftovers, is_of_node });
        assert_eq!(exit("engine.owned", false, false), ExitStatus::Owned);
        assert_eq!(exit("engine.no-plugin", false, true), ExitStatus::Failed);
        assert_eq!(exit("of a plugin", false, false), ExitStatus::Failed);
        for code in ["engine.stopped", "node.slow", "of a plugin"] {
            assert_eq!(exit(code, true, true), ExitStatus::LeftBehind, "{code}");
        }
    }
}
