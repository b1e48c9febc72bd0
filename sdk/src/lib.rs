//! SDK for Occopus plugins.
//!
//! A plugin is a struct for what the user writes, a trait, and one macro:
//!
//! ```
//! use occopus_sdk::{About, Fault, HealthChecker, Observation, Target};
//!
//! /// What the user writes.
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Section {
//!     /// The ending to insist on.
//!     ends_with: String,
//! }
//!
//! struct Ending;
//!
//! impl HealthChecker for Ending {
//!     type Section = Section;
//!
//!     const ABOUT: About = About {
//!         name: "ending",
//!         version: env!("CARGO_PKG_VERSION"),
//!         keyword: "ending",
//!         summary: "the address ends as it should",
//!         ..About::HEALTH
//!     };
//!
//!     fn check(target: &Target<Section>) -> Result<Observation, Fault> {
//!         Ok(if target.address.ends_with(&target.section.ends_with) {
//!             Observation::healthy("it does")
//!         } else {
//!             Observation::unhealthy("it does not")
//!         })
//!     }
//! }
//!
//! occopus_sdk::export_health_checker!(Ending);
//! ```
//!
//! The crate is a `cdylib` for `wasm32-wasip2`, and an ordinary library for its tests: there the same code runs against
//! the fake host of `testing`.

mod about;
mod cache;
mod call;
mod config;
mod context;
mod driver;
mod export;
mod fault;
mod health;
mod launch;
mod platform;
mod secrets;
mod text;

pub mod http;
pub mod icmp;
pub mod idempotent;
pub mod jinja;
pub mod log;
pub mod process;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

/// Bindings that wit-bindgen makes of the contract, for the export macros.
#[doc(hidden)]
pub mod bindings {
    pub use occopus_bindings_config as config;
    pub use occopus_bindings_context as context;
    pub use occopus_bindings_driver as driver;
    pub use occopus_bindings_driver_full as driver_full;
    pub use occopus_bindings_health as health;
    pub use occopus_bindings_imports as imports;
}

pub use about::{About, Credentials, NoCredentials};
pub use bindings::imports::occopus::types::types::{Address, Reaction};
pub use cache::Cache;
pub use call::Call;
pub use config::{ConfigManager, ConfigPhase, ConfigScope, Registration};
pub use context::{ContextRequest, Contextualiser, Facts, Instance, Rendered};
pub use driver::{Driver, Handle, Inventory, NodeRequest, Observed, Owned, Page, Phase, Scope};
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use export::{ConfigAdapter, ContextAdapter, DriverAdapter, HealthAdapter};
pub use fault::{Detail, Fault};
pub use health::{HealthChecker, Observation, Target, Verdict};
pub use launch::Launch;
pub use secrets::{AwsRequest, AwsSignature, Credential, Encoding, Secret};
pub use text::Text;
