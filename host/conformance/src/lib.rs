//! The conformance suite of `occopus plugin test`: does a plugin keep what its contract promises, also when the network
//! and the cloud do not? It needs the component and a [`Fixture`], which says where a real server is.
//!
//! Whatever it makes it removes again.

mod broken_server;
mod chaos;
mod config_manager;
mod contextualiser;
mod driver;
mod fault_injection;
mod fixture;
mod health;
mod meter;
mod proxy;
mod recording_driver;
mod report;
mod server;
mod testbed;

use std::path::PathBuf;

use occopus_engine::StopSignal;
use occopus_runtime::{PluginKind, PluginSource, RuntimeError};
use tracing_subscriber::layer::SubscriberExt as _;

pub use chaos::Chaos;
pub use fixture::{Fixture, FixtureError, RefusedSection, ServerProgram, Stranger, UnhealthyCase};
pub use meter::Usage;
pub use proxy::{ForeignAnswer, Proxy, ProxyAction, Request};
pub use report::{Check, Outcome, ProgressEvent, Report};

use crate::meter::Meter;
use crate::report::Suite;
use crate::testbed::Testbed;

/// Why nothing could be tested.
#[derive(Debug, thiserror::Error)]
pub enum ConformanceError {
    /// The file that says how.
    #[error(transparent)]
    Fixture(#[from] FixtureError),
    /// The plugin.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// It is no plugin, or can't say what it is.
    #[error("{0}")]
    Unusable(String),
    /// What it runs on.
    #[error("the tests can't be run: {0}")]
    Io(#[from] std::io::Error),
}

/// What is tested, with what.
#[derive(Clone)]
pub struct Subject {
    /// The plugin.
    pub plugin: PluginSource,
    /// The fixture's file.
    pub fixture: PathBuf,
    /// For compiled plugins.
    pub cache_dir: PathBuf,
    /// Ends the tests early; what was made is removed all the same.
    pub stop: StopSignal,
}

/// Runs all checks for a plugin of this kind, and tells of each when it has ended or takes its time. Blocks.
///
/// The plugin is granted what it asks for.
///
/// # Errors
/// When nothing could be tested. That a check failed is in the report.
pub fn run(subject: &Subject, tell: impl FnMut(&ProgressEvent<'_>) + Send) -> Result<Report, ConformanceError> {
    let meter = Meter::default();
    // A thread and a runtime of its own: everything that is logged while it runs is the plugin's doing.
    std::thread::scope(|scope| {
        let work = || {
            let subscriber = tracing_subscriber::registry().with(meter.clone());
            let _all_is_heard = tracing::subscriber::set_default(subscriber);
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            tokio.block_on(test(subject, &meter, Suite::new(tell, subject.stop.clone(), meter.clone())))
        };
        scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

async fn test(
    subject: &Subject,
    meter: &Meter,
    mut suite: Suite<impl FnMut(&ProgressEvent<'_>) + Send>,
) -> Result<Report, ConformanceError> {
    let bed = Testbed::prepare(subject, meter.clone()).await?;
    match bed.kind {
        PluginKind::Driver => driver::run(&mut suite, &bed).await,
        PluginKind::HealthChecker => health::run(&mut suite, &bed).await,
        PluginKind::Contextualiser => contextualiser::run(&mut suite, &bed).await,
        PluginKind::ConfigManager => config_manager::run(&mut suite, &bed).await,
    }
    bed.check_leaks(&mut suite).await;
    Ok(suite.report(&bed.name, bed.kind))
}
