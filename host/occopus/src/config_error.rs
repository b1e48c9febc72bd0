//! Errors of the configuration.

use std::io;
use std::path::PathBuf;

use crate::installed::InstallError;

/// An error of reading the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Missing home directory: `$HOME` and `$OCCOPUS_HOME` are not set.
    #[error("there is no home directory: set HOME, or OCCOPUS_HOME to a folder for everything")]
    NoHome,
    /// A file that the command line or a variable names does not exist.
    #[error("file not found: {path}, given by {by}")]
    FileNotFound {
        /// The file.
        path: PathBuf,
        /// The command line, or the name of the variable.
        by: &'static str,
    },
    /// The file cannot be read.
    #[error("the configuration {path} can't be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The list of installed plugins is broken.
    #[error(transparent)]
    Installed(#[from] InstallError),
    /// The file has errors.
    #[error("the configuration {path} is not usable: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The cause.
        message: String,
    },
}
