//! Errors of loading plugins.

/// An error that makes a plugin, or the runtime as a whole, unusable.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Wasmtime can't be set up on this machine.
    #[error("plugins can't be run on this machine: {message}")]
    Engine {
        /// Message of Wasmtime.
        message: String,
    },
    /// The file can't be read.
    #[error("the plugin {origin} can't be read: {message}")]
    Unreadable {
        /// Origin of the plugin.
        origin: String,
        /// Cause of the failure.
        message: String,
    },
    /// The bytes are not those that were installed.
    #[error(
        "{origin} has changed since it was installed: its SHA-256 was {pinned}, and is {found}. If the change is yours, install it \
         again: `occopus plugin install FILE`"
    )]
    DigestMismatch {
        /// Origin of the plugin.
        origin: String,
        /// Digest of the installed bytes.
        pinned: String,
        /// Digest of the bytes in the file.
        found: String,
    },
    /// The file is not a WebAssembly component.
    #[error("{origin} is not a component: {message}")]
    NotAComponent {
        /// Origin of the plugin.
        origin: String,
        /// Actual kind of the file, and how to make a component.
        message: String,
    },
    /// The component does not export what a plugin exports.
    #[error("{origin} is a component, but not a plugin: {message}")]
    WrongWorld {
        /// Origin of the plugin.
        origin: String,
        /// Actual and expected exports.
        message: String,
    },
    /// The component imports an interface that this host does not have.
    #[error("{origin} can't be linked: {message}")]
    Link {
        /// Origin of the plugin.
        origin: String,
        /// Missing and available interfaces, and a remedy.
        message: String,
    },
    /// The component can't be compiled.
    #[error("{origin} can't be compiled: {message}")]
    Compile {
        /// Origin of the plugin.
        origin: String,
        /// Message of Wasmtime.
        message: String,
    },
    /// `describe` failed, or returned an unusable description.
    #[error("{origin} does not describe itself: {message}")]
    Describe {
        /// Origin of the plugin.
        origin: String,
        /// Cause of the failure.
        message: String,
    },
    /// The plugin is not admitted beside the others.
    #[error("{origin} is left out: {message}")]
    NotAdmitted {
        /// Origin of the plugin.
        origin: String,
        /// Reason, and a remedy.
        message: String,
    },
}
