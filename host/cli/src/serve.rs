//! `occopus serve`

use std::net::SocketAddr;
use std::path::PathBuf;

use occopus::{Config, Occopus, Overrides};
use occopus_engine::StopSignal;
use occopus_server::listen::{ListenerConfig, TlsFiles};
use occopus_server::{ServeError, Server, ServerOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::args::{GlobalArgs, OutputFormat, ServeArgs};
use super::failure::Failure;
use super::{print, signals};

pub(crate) async fn run(serve: ServeArgs, common: &GlobalArgs) -> Result<(), Failure> {
    let overrides = Overrides { config: common.cfg.clone(), auth_data: common.auth_data_path.clone() };
    let (config, warnings) = Config::load(&overrides)?;
    for warning in warnings {
        print::note(format_args!("warning: {warning}"));
    }
    let mut settings = config.service.clone();
    settings.allow_processes |= serve.allow_processes;
    let options = ServerOptions {
        listener: ListenerConfig { tls: tls(&serve), ..ListenerConfig::at(address(&serve)) },
        insecure_http: serve.insecure_http,
        interval: serve.interval,
        grace: serve.grace,
        settings,
    };
    // A description that comes over the network must not run a command here.
    let occopus = Occopus::new(Config { allow_commands: false, ..config });
    let server = Server::bind(occopus, options).await?;
    let url = format!("{}://{}", if server.is_tls() { "https" } else { "http" }, server.address());
    match serve.output.format {
        OutputFormat::Json => print::json(&json!({ "url": url })),
        OutputFormat::Text => print::line(format_args!("listening on {url}")),
    }
    let stop = StopSignal::default();
    signals::listen(
        stop.clone(),
        "shutting down when the current work is done (third time: exit at once, nothing is lost)",
    );
    let shutdown = CancellationToken::new();
    let trigger = shutdown.clone();
    tokio::spawn(async move {
        stop.requested().await;
        trigger.cancel();
    });
    Ok(server.run(shutdown).await?)
}

fn address(serve: &ServeArgs) -> SocketAddr {
    let (host, port) = (serve.host, serve.port);
    serve.listen.unwrap_or_else(|| SocketAddr::new(host, port))
}

/// Returns the files for TLS: both or none, since the arguments require each other.
fn tls(serve: &ServeArgs) -> Option<TlsFiles> {
    let files: (PathBuf, PathBuf) = serve.tls_certificate.clone().zip(serve.tls_key.clone())?;
    Some(TlsFiles { certificate: files.0, key: files.1 })
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Exposure(exposure) => Self::new(exposure.code(), exposure).help(exposure.help()),
            ServeError::Open(error) => error.into(),
            ServeError::Store(error) => occopus_engine::EngineError::from(error).into(),
            ServeError::Origin(error) => Self::new("config.invalid", error),
            other => Self::new("serve.failed", other),
        }
    }
}
