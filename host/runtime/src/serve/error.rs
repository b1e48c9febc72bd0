//! Errors of serving a component.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// An error that keeps a component from being served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The file does not exist.
    #[error("File {} not found. Check the path; a component is built with `cargo build --target wasm32-wasip2`.", path.display())]
    NoSuchFile {
        /// Path of the file.
        path: PathBuf,
    },
    /// The file is there, but not readable.
    #[error("Cannot read {}: {source}.", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        source: io::Error,
    },
    /// The file is not a component, or one that this program does not understand.
    #[error("{} is not a WebAssembly component: {reason}.", path.display())]
    NotAComponent {
        /// Path of the file.
        path: PathBuf,
        /// Actual kind of the file.
        reason: String,
    },
    /// The component is of another world than `wasi:http/proxy`.
    #[error("{} is not an HTTP service: {reason}. It has to be of the world `wasi:http/proxy`, version 0.2.", path.display())]
    WrongWorld {
        /// Path of the file.
        path: PathBuf,
        /// Missing export, or import that is not available.
        reason: String,
    },
    /// The address is in use.
    #[error("Address {address} is already in use. End the program that uses it, or choose another address.")]
    AddressInUse {
        /// Address to listen on.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("Cannot listen on {address}: {source}.")]
    Listen {
        /// Address to listen on.
        address: SocketAddr,
        /// Cause of the failure.
        source: io::Error,
    },
    /// Wasmtime could not be set up.
    #[error("The WebAssembly engine could not be started: {message}.")]
    Compiler {
        /// Cause of the failure.
        message: String,
    },
    /// The process cannot receive signals.
    #[error("The process cannot listen for signals: {0}.")]
    Signals(io::Error),
}

impl ServeError {
    pub(super) fn from_listen_error(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse { address },
            _ => Self::Listen { address, source },
        }
    }

    pub(super) fn from_read_error(path: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::NoSuchFile { path },
            _ => Self::Unreadable { path, source },
        }
    }
}
