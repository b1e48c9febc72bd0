//! The conformance suite of `occopus plugin test`: checks that a plugin fulfils its contract, also when the network or
//! the cloud fails. It needs the component and a [`Fixture`], which names a real server.
//!
//! All machines that it creates are removed again.

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

/// Error: nothing could be tested.
#[derive(Debug, thiserror::Error)]
pub enum ConformanceError {
    /// The fixture can't be used.
    #[error(transparent)]
    Fixture(#[from] FixtureError),
    /// The plugin can't be loaded.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The component is not a plugin, or can't describe itself.
    #[error("{0}")]
    Unusable(String),
    /// An operation of the operating system failed.
    #[error("the tests can't be run: {0}")]
    Io(#[from] std::io::Error),
}

/// A plugin with its fixture, and options of the test.
#[derive(Clone)]
pub struct Subject {
    /// The plugin.
    pub plugin: PluginSource,
    /// The fixture's file.
    pub fixture: PathBuf,
    /// Directory for compiled plugins.
    pub cache_dir: PathBuf,
    /// Ends the tests early; machines are removed all the same.
    pub stop: StopSignal,
}

/// Runs all checks for a plugin of its kind, and reports each one that ends or is still running after some seconds.
/// Blocks.
///
/// The plugin gets all grants that it requests.
///
/// # Errors
/// Fails if nothing could be tested. Failed checks are in the report.
pub fn run(subject: &Subject, on_progress: impl FnMut(&ProgressEvent<'_>) + Send) -> Result<Report, ConformanceError> {
    let meter = Meter::default();
    // A thread and a runtime of its own: everything that is logged there comes from the plugin.
    std::thread::scope(|scope| {
        let work = || {
            let subscriber = tracing_subscriber::registry().with(meter.clone());
            let _recording = tracing::subscriber::set_default(subscriber);
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            tokio.block_on(test(subject, &meter, Suite::new(on_progress, subject.stop.clone(), meter.clone())))
        };
        scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

async fn test(
    subject: &Subject,
    meter: &Meter,
    mut suite: Suite<impl FnMut(&ProgressEvent<'_>) + Send>,
) -> Result<Report, ConformanceError> {
    let testbed = Testbed::prepare(subject, meter.clone()).await?;
    match testbed.kind {
        PluginKind::Driver => driver::run(&mut suite, &testbed).await,
        PluginKind::HealthChecker => health::run(&mut suite, &testbed).await,
        PluginKind::Contextualiser => contextualiser::run(&mut suite, &testbed).await,
        PluginKind::ConfigManager => config_manager::run(&mut suite, &testbed).await,
    }
    testbed.check_leaks(&mut suite).await;
    Ok(suite.report(&testbed.name, testbed.kind))
}
