//! The route for the plugins of the service, with the schemas by which a client can check its descriptions.

use axum::Json;
use axum::extract::State;
use occopus_api::{PluginItem, PluginList};
use occopus_runtime::PluginInfo;

use crate::access::{Caller, Scope};
use crate::problem::ApiError;
use crate::state::Service;

/// Origin of the plugins that are part of the program.
const BUNDLED: &str = "bundled";

fn item(info: PluginInfo) -> PluginItem {
    let description = info.description;
    PluginItem {
        name: description.name,
        version: description.version,
        kind: info.kind.name().to_owned(),
        keyword: description.keyword,
        summary: description.summary,
        origin: info.origin,
        digest: info.digest,
        contract: info.contract,
        size: info.size,
        schema: description.section_schema,
        credentials: description.credentials_schema,
        network: description.needs_network,
        interfaces: description.needs_interfaces,
    }
}

impl Service {
    /// Returns all plugins, without the paths of installed ones. The first call describes each of them, on a blocking
    /// thread.
    pub(crate) async fn plugins(&self) -> Result<Vec<PluginInfo>, ApiError> {
        let runtime = self.occopus.runtime().await?;
        let list = tokio::task::spawn_blocking(move || runtime.list()).await;
        let mut list = list.map_err(|error| {
            ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "service.panic", error.to_string())
        })?;
        // Paths on the machine of the service are not disclosed.
        for plugin in list.iter_mut().filter(|plugin| plugin.origin != BUNDLED) {
            plugin.origin = "installed".to_owned();
        }
        Ok(list)
    }

    /// Returns all plugins, as clients see them.
    pub(crate) async fn plugin_items(&self) -> Result<Vec<PluginItem>, ApiError> {
        Ok(self.plugins().await?.into_iter().map(item).collect())
    }
}

/// Lists the plugins of the service.
#[utoipa::path(
    get, path = "/plugins", operation_id = "list_plugins", tag = "service",
    security(("token" = ["read"])),
    responses((status = 200, body = PluginList)),
)]
pub(crate) async fn list(State(service): State<Service>, caller: Caller) -> Result<Json<PluginList>, ApiError> {
    caller.authorize(Scope::Read, None)?;
    Ok(Json(PluginList { plugins: service.plugin_items().await? }))
}
