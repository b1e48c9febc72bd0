//! Loads, limits and calls plugins; the only room that names Wasmtime.

pub mod grants;
pub mod http;
pub mod icmp;
pub mod process;
pub mod secrets;
pub mod serve;

mod admission;
mod bindings;
mod busy;
mod cache;
mod commands;
mod config_managers;
mod contextualisers;
mod convert;
mod describe;
mod described;
mod drivers;
mod error;
mod explain;
mod file;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod health;
mod host;
mod invoke;
mod kind;
mod leaving;
mod limits;
#[cfg(feature = "measure")]
mod measure;
mod offline;
mod plugin;
mod registry;
mod renew;
mod runtime;
mod sections;
mod wasm;
mod webhook;

pub use error::RuntimeError;
pub use file::read_component;
pub use kind::Kind;
pub use limits::Limits;
#[cfg(feature = "measure")]
pub use measure::AnswerSearch;

pub use plugin::{Description, Origin, Pin, PluginSource};
pub use process::{keep_outputs_short, leave_outputs_watched};
pub use runtime::{CredentialSource, PluginInfo, Runtime, RuntimeConfig};
pub use sections::{fillable, selecting};
pub use webhook::{Delivery, TrustedClient};
