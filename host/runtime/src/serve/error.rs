//! Why a component is not served.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a component is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is no such file.
    #[error("There is no file {}. Check the path; a component is built with `cargo build --target wasm32-wasip2`.", path.display())]
    NoSuchFile {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file is there, but not readable.
    #[error("{} cannot be read: {source}.", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no component, or one that this program does not understand.
    #[error("{} is not a WebAssembly component: {reason}.", path.display())]
    NotAComponent {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// The component is of another world than `wasi:http/proxy`.
    #[error("{} is not an HTTP service: {reason}. It has to be of the world `wasi:http/proxy`, version 0.2.", path.display())]
    WrongWorld {
        /// The file.
        path: PathBuf,
        /// What it lacks, or needs too much.
        reason: String,
    },
    /// Something else listens there already.
    #[error("Something else listens on {address} already. End it, or choose another address.")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("It is not possible to listen on {address}: {source}.")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Wasmtime could not be set up.
    #[error("The WebAssembly engine could not be started: {message}.")]
    Compiler {
        /// Why.
        message: String,
    },
    /// The process cannot hear signals.
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
