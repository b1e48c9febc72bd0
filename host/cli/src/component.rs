//! `occopus component serve`

use std::net::SocketAddr;
use std::path::Path;

use super::failure::{Exit, Failure};

pub(crate) async fn serve(component: &Path, listen: SocketAddr, env: Vec<(String, String)>) -> Result<(), Failure> {
    occopus_runtime::serve::serve(component, listen, env)
        .await
        .map_err(|error| Failure::new(Exit::Failed, "component.serve", error))
}
