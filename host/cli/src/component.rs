//! `occopus component`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use occopus::{Config, Overrides};

use super::args::GlobalArgs;
use super::failure::Failure;

pub(crate) async fn serve(component: &Path, listen: SocketAddr, env: Vec<(String, String)>) -> Result<(), Failure> {
    occopus_runtime::serve::serve(component, listen, env).await.map_err(|error| Failure::new("component.serve", error))
}

pub(crate) async fn watch_outputs(directory: PathBuf) -> Result<(), Failure> {
    let result = tokio::task::spawn_blocking(move || occopus_runtime::run_output_rotation(&directory)).await;
    let failed = |message: String| Failure::new("component.watch", message);
    result.map_err(|error| failed(error.to_string()))?.map_err(|fault| failed(fault.message))
}

/// Starts a background process that rotates the output of `local` nodes after the end of this program, if there are such
/// nodes.
pub(crate) async fn spawn_output_watcher(common: &GlobalArgs) {
    let overrides = Overrides { config: common.cfg.clone(), auth_data: common.auth_data_path.clone() };
    let Ok((config, _)) = Config::load(&overrides) else { return };
    let processes = config.directories.data.join("processes");
    let spawned = tokio::task::spawn_blocking(move || {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let arguments = [Path::new("component"), Path::new("watch"), &processes];
        occopus_runtime::spawn_output_rotation(&processes, &program, &arguments).map_err(|fault| fault.message)
    });
    if let Ok(Err(error)) = spawned.await {
        tracing::warn!("the output of local nodes is not rotated: {error}");
    }
}
