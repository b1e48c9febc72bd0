//! Write an Occopus plugin.
//!
//! A plugin is a struct for what the user writes, a trait, and one macro:
//!
//! ```
//! use occopus_sdk::{About, Fault, HealthChecker, Observation, Target, Verdict};
//!
//! /// What the user writes.
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Section {
//!     /// The parity to insist on.
//!     even: bool,
//! }
//!
//! struct Parity;
//!
//! impl HealthChecker for Parity {
//!     type Section = Section;
//!     const ABOUT: About<'static> = About {
//!         name: "parity",
//!         version: env!("CARGO_PKG_VERSION"),
//!         keyword: "parity",
//!         summary: "The length of the address is even",
//!         network: &[],
//!         interfaces: &[],
//!     };
//!
//!     fn check(target: &Target<Section>) -> Result<Observation, Fault> {
//!         let even = target.address.len() % 2 == 0;
//!         Ok(if even == target.section.even {
//!             Observation::new(Verdict::Healthy, "ready")
//!         } else {
//!             Observation::new(Verdict::Unhealthy, "wrong parity")
//!         })
//!     }
//! }
//!
//! occopus_sdk::export_health_checker!(Parity);
//! ```
//!
//! The crate is a `cdylib` for `wasm32-wasip2`, and an ordinary library for its tests: natively the same code runs
//! against a fake host (`testing`).

mod about;
mod address;
mod call;
mod context;
mod credential;
mod driver;
mod export;
mod fault;
mod health;
mod host;

pub mod cache;
pub mod http;
pub mod icmp;
pub mod jinja;
pub mod log;
pub mod process;
pub mod section;
pub mod tcp;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use about::{About, Credentials, NoCredentials, schema_of};
pub use address::Address;
pub use call::Call;
pub use context::{ContextRequest, Contextualiser, Facts, Instance, Rendered};
pub use credential::{Credential, Encoding, Secret};
pub use driver::{Driver, Handle, Inventory, NodeRequest, Observed, Owned, Page, Phase, Scope};
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use export::Exported;
pub use fault::{Detail, Fault, Reaction};
pub use health::{HealthChecker, Observation, Target, Verdict};
pub use http::{Http, HttpError, HttpErrorKind, Response};
