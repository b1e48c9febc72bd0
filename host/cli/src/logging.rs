//! Log lines and panics on standard error.

use std::panic;

use tracing_subscriber::filter::{EnvFilter, FilterExt as _, LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::print;
use super::report::LogWriter;
use super::telemetry::Telemetry;

const METRICS_TARGET: &str = "occopus::metrics";

/// Initialises the log on standard error: warnings only, more with `verbose` or `OCCOPUS_LOG`.
pub(crate) fn init_logging(verbose: u8, telemetry: Option<&Telemetry>) {
    let directives = match verbose {
        0 => "warn",
        1 => {
            "warn,occopus=info,occopus_model=info,occopus_engine=info,occopus_store=info,occopus_runtime=info,plugin=info"
        }
        _ => {
            "info,occopus=trace,occopus_model=trace,occopus_engine=trace,occopus_store=debug,occopus_runtime=debug,plugin=trace"
        }
    };
    let filter = std::env::var("OCCOPUS_LOG").ok().filter(|value| !value.is_empty());
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .parse_lossy(filter.as_deref().unwrap_or(directives));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(LogWriter)
        .with_ansi(print::colours_on_stderr())
        .with_target(verbose > 1)
        // Metrics are not log lines. Wasmtime traces the arguments of each call of WASI, without bounds.
        .with_filter(
            filter.and(
                Targets::new()
                    .with_default(LevelFilter::TRACE)
                    .with_target("wasmtime", LevelFilter::DEBUG)
                    .with_target(METRICS_TARGET, LevelFilter::OFF),
            ),
        );
    let subscriber = tracing_subscriber::registry().with(lines).with(telemetry.map(Telemetry::layer));
    // Fails only if there is one already, which there is not.
    let _ = subscriber.try_init();
}

/// Installs a panic hook that reports an internal error, and that nothing is lost.
pub(crate) fn install_panic_hook() {
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        print::note(format_args!(
            "\ninternal error in Occopus {}: {text}{location}.\n\
             What was begun is on record: `occopus status` shows it, and the same command again, or `occopus destroy`, finishes it.\n\
             Please report these lines at {}/issues.",
            env!("CARGO_PKG_VERSION"),
            env!("CARGO_PKG_REPOSITORY"),
        ));
    }));
}
