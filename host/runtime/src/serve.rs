//! `occopus component serve`: runs a component of the standard world `wasi:http/proxy` as a server.
//!
//! Meant for examples and small services that need nothing installed. Each request gets an instance of its own, which
//! is gone when the request is answered.
//!
//! **This is not a sandbox for foreign code.** A served component is the user's own program on the user's own machine,
//! like one started from a shell. It cannot read files, and it sees only the variables that it was given; but it may
//! send HTTP requests to wherever this machine can. Plugins are another matter: they run under `Grants`.

mod component;
mod connection;
mod error;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use component::ServedComponent;
pub use error::ServeError;

/// Time that running requests have after the signal to end. Shorter than the grace of the `local` driver.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(4);

/// Pause after an error that concerns the listener (no more file descriptors), before the next attempt.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Serves the component until SIGTERM or SIGINT; running requests are finished then.
///
/// The component's environment is `env`, and of this process's variables the two that describe its node:
/// `OCCOPUS_ADDRESS` and `OCCOPUS_INSTANCE_ID`. Its output goes to standard error.
///
/// # Errors
/// Returns [`ServeError`] if the component can't be loaded, or the address can't be listened on.
pub async fn serve(component: &Path, listen: SocketAddr, env: Vec<(String, String)>) -> Result<(), ServeError> {
    // Before anything that takes time, so that a signal is never missed.
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;

    let mut variables = node_variables();
    variables.extend(env);
    let path = component.to_owned();
    let load = tokio::task::spawn_blocking(move || ServedComponent::load(&path, variables));
    let program = load.await.map_err(|error| ServeError::Compiler { message: error.to_string() })??;
    let program = Arc::new(program);

    let listener = TcpListener::bind(listen).await.map_err(|source| ServeError::from_listen_error(listen, source))?;
    tracing::info!(component = %component.display(), %listen, "serving");

    let shutdown = CancellationToken::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection::run(stream, program.clone(), shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
            // Ended ones are taken out, so that the set does not grow.
            Some(_) = connections.join_next() => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    drop(listener);
    shutdown.cancel();
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_GRACE, finished).await.is_err() {
        tracing::warn!("requests that did not end in time were given up");
    }
    Ok(())
}

/// Returns the variables that the host sets for a process of the `local` driver.
fn node_variables() -> Vec<(String, String)> {
    ["OCCOPUS_ADDRESS", "OCCOPUS_INSTANCE_ID"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect()
}
