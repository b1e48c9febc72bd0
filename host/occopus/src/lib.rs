//! Occopus as a library: a small facade that puts store, runtime and engine together as the command line uses them.
//!
//! [`Config::load`] finds what the operator set, [`Occopus::new`] gives access to everything else. Nothing is opened
//! before it is used.

pub mod editor;
pub mod graph;

mod authentication;
mod config;
mod credentials;
mod facade;
mod holder;
mod needs;
mod nothing;
mod places;
mod planned;
mod rehearsal;
mod sources;
mod webhooks;

pub use authentication::Authentication;
pub use config::{Config, ConfigError, Overrides};
pub use credentials::Credentials;
pub use facade::{Occopus, OpenError};
pub use needs::{Need, needs_of_description, needs_of_status};
pub use places::Places;
pub use rehearsal::rehearse;
pub use webhooks::Notifier;
