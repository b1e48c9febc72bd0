//! Faults of the files of processes.

use std::io;
use std::path::Path;

use occopus_engine::ports::{Fault, Reaction};

/// Returns the fault of a file of the state that can't be used.
pub(super) fn file_error(operation: &str, path: &Path, error: &io::Error) -> Fault {
    Fault::new(Reaction::GiveUp, "process.state", format!("can't {operation} {}: {error}", path.display()))
}
