//! Why a plugin can't be used.

/// Why a plugin, or the runtime as a whole, can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Wasmtime can't be set up on this machine.
    #[error("plugins can't be run on this machine: {message}")]
    Engine {
        /// Wasmtime's words.
        message: String,
    },
    /// The file can't be read.
    #[error("the plugin {origin} can't be read: {message}")]
    Unreadable {
        /// Where it came from.
        origin: String,
        /// Why.
        message: String,
    },
    /// It is not what was installed.
    #[error(
        "{origin} has changed since it was installed, and is refused: its SHA-256 was {pinned}, and is {found}. Install it again \
         if the change is yours: `occopus plugin install FILE`"
    )]
    DigestMismatch {
        /// Where it came from.
        origin: String,
        /// The digest of what was installed.
        pinned: String,
        /// The digest of what is there.
        found: String,
    },
    /// It is no WebAssembly component.
    #[error("{origin} is not a component: {message}")]
    NotAComponent {
        /// Where it came from.
        origin: String,
        /// What it is instead, and how to make a component.
        message: String,
    },
    /// It does not export what a plugin exports.
    #[error("{origin} is a component, but no plugin: {message}")]
    WrongWorld {
        /// Where it came from.
        origin: String,
        /// What it exports, and what is needed.
        message: String,
    },
    /// It imports what this host does not have.
    #[error("{origin} can't be linked: {message}")]
    Link {
        /// Where it came from.
        origin: String,
        /// What is missing, what there is, and what to do.
        message: String,
    },
    /// It can't be compiled.
    #[error("{origin} can't be compiled: {message}")]
    Compile {
        /// Where it came from.
        origin: String,
        /// Wasmtime's words.
        message: String,
    },
    /// Its `describe` failed, or described nothing usable.
    #[error("{origin} does not describe itself: {message}")]
    Describe {
        /// Where it came from.
        origin: String,
        /// Why.
        message: String,
    },
    /// Not taken in beside the others.
    #[error("{origin} is left out: {message}")]
    NotAdmitted {
        /// Where it came from.
        origin: String,
        /// Why, and what to do.
        message: String,
    },
}
