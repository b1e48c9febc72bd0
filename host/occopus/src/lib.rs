//! Occopus as a library: a small facade that puts store, runtime and engine together as the command line uses them.
//!
//! [`Config::load`] reads the operator's configuration, [`Config::in_folder`] keeps everything in one folder, and
//! [`Occopus::new`] gives access to everything else. Nothing is opened before it is used.
//!
//! ```no_run
//! use occopus::engine::{BuildRequest, RunHandle};
//! use occopus::{Config, Occopus, Preparation, Purpose, Step};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let occopus = Occopus::new(Config::in_folder("state"));
//! let compiled = occopus.compile("infra.yaml".into(), Vec::new()).await?;
//! let mut preparation = Preparation::new(&occopus, compiled, Purpose::Deploy)?;
//! preparation.advance(Step::Authenticate, |plugin| println!("compiling {plugin}")).await?;
//! let (infrastructure, _) = preparation.into_parts();
//!
//! let (run, mut events) = RunHandle::new();
//! let watch = tokio::spawn(async move {
//!     while let Some(event) = events.recv().await {
//!         println!("{event}");
//!     }
//! });
//! let status = occopus.engine().await?.build(BuildRequest::new(infrastructure), run).await?;
//! watch.await?;
//! println!("{} is {}", status.id, status.state);
//! # Ok(())
//! # }
//! ```
//!
//! `examples/deploy.rs` deploys, watches, scales, maintains and destroys; `examples/own_driver.rs` adds a driver in the
//! program itself ([`Occopus::with_driver`]). For other stores or clocks, put an [`engine::Engine`] together from its
//! [`engine::ports`].

pub use occopus_engine as engine;
pub use occopus_model as model;
pub use occopus_runtime as runtime;
pub use occopus_store as store;

pub mod editor;
pub mod graph;
pub mod source_location;

mod authentication;
mod config;
mod config_error;
mod credentials;
mod directories;
mod disabled;
mod facade;
mod holder;
mod in_process;
mod installed;
mod needs;
mod planned;
mod plugin_sources;
mod preparation;
mod rehearsal;
mod webhooks;
mod workers;

pub use authentication::Authentication;
pub use config::{Config, Overrides, ServiceSettings};
pub use config_error::ConfigError;
pub use credentials::Credentials;
pub use directories::UserDirs;
pub use facade::{Occopus, OpenError};
pub use holder::{is_dead as holder_is_dead, this_process as this_holder};
pub use installed::{InstallError, InstalledPlugins};
pub use needs::{Need, needs_of_description, needs_of_status};
pub use planned::WithPlanned;
pub use preparation::{Preparation, PrepareError, Purpose, Step};
pub use webhooks::WebhookNotifier;
