//! Plugin runtime: loads, limits and calls plugins. The only crate that names Wasmtime.

pub mod grants;
pub mod serve;

mod admission;
mod bindings;
mod call_clock;
mod calls;
mod commands;
mod component_file;
mod config_managers;
mod contextualisers;
mod convert;
mod credential_renewal;
mod credential_source;
mod describe;
mod description_check;
mod drivers;
mod error;
mod explain;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod health_checkers;
mod host;
mod http;
mod icmp;
mod invoke;
mod kind;
mod limits;
#[cfg(feature = "measure")]
mod measure;
mod offline;
mod plugin;
mod process;
mod registry;
mod reported_warnings;
mod runtime;
mod sanitize;
mod secrets;
mod sections;
mod token_cache;
mod wasm;
mod webhook;

pub use component_file::read_component;
pub use credential_source::CredentialSource;
pub use error::RuntimeError;
pub use http::HttpError;
pub use kind::PluginKind;
pub use limits::CallLimits;
#[cfg(feature = "measure")]
pub use measure::AnswerSearch;

pub use plugin::{Consent, Description, Origin, PluginSource};
pub use process::{run_output_rotation, spawn_output_rotation};
pub use runtime::{PluginInfo, Runtime, RuntimeConfig};
pub use secrets::public_fields;
pub use sections::{credential_selector, fillable_keys};
pub use webhook::{TrustedClient, WebhookDelivery};
