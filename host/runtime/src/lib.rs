//! Loads, limits and calls plugins; the only room that names Wasmtime.

pub mod grants;
pub mod http;
pub mod icmp;
pub mod process;
pub mod secrets;
pub mod serve;

mod bindings;
mod busy;
mod cache;
mod commands;
mod config_managers;
mod contextualisers;
mod convert;
mod drivers;
mod error;
mod explain;
mod file;
mod health;
mod host;
mod invoke;
mod kind;
mod leaving;
mod limits;
#[cfg(feature = "measure")]
mod measure;
mod plugin;
mod renew;
mod runtime;
mod wasm;
mod webhook;

pub use error::RuntimeError;
pub use file::read_component;
pub use kind::Kind;
pub use limits::Limits;
#[cfg(feature = "measure")]
pub use measure::AnswerSearch;
pub use plugin::{Description, Origin, PluginSource};
pub use process::{keep_outputs_short, leave_outputs_watched};
pub use runtime::{CredentialSource, PluginInfo, Runtime, RuntimeConfig};
pub use webhook::{Delivery, TrustedClient};
