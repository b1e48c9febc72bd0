//! The route for the plugins of the service, with the schemas by which a client can check its descriptions.

use axum::Json;
use axum::extract::State;
use occopus_runtime::PluginInfo;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::access::{Caller, Scope};
use crate::problem::ApiError;
use crate::state::Service;

/// A plugin of the service.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PluginItem {
    /// The name of the plugin.
    name: String,
    /// The version of the plugin.
    version: String,
    /// `driver`, `health checker`, `contextualiser` or `config manager`.
    kind: String,
    /// The keyword that selects the plugin in a node definition.
    keyword: String,
    /// A summary in one line.
    summary: String,
    /// Origin of the plugin: `bundled` or `installed`.
    origin: String,
    /// SHA-256 of the component.
    digest: String,
    /// Version of the plugin contract that it was built for.
    contract: String,
    /// Size of the component in bytes.
    size: usize,
    /// JSON Schema of the plugin's section.
    schema: Value,
    /// JSON Schema of the plugin's credentials; null: it has none.
    credentials: Option<Value>,
    /// Network targets that the plugin requests.
    network: Vec<String>,
    /// Host interfaces that the plugin requests.
    interfaces: Vec<String>,
}

/// The plugins of the service.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PluginList {
    /// The plugins, ordered by kind and keyword.
    plugins: Vec<PluginItem>,
}

/// Origin of the plugins that are part of the program.
const BUNDLED: &str = "bundled";

impl From<PluginInfo> for PluginItem {
    fn from(info: PluginInfo) -> Self {
        let description = info.description;
        Self {
            name: description.name,
            version: description.version,
            kind: info.kind.name().to_owned(),
            keyword: description.keyword,
            summary: description.summary,
            origin: info.origin,
            digest: info.digest,
            contract: info.contract,
            size: info.size,
            schema: Value::clone(&description.section_schema),
            credentials: description.credentials_schema.map(|schema| Value::clone(&schema)),
            network: description.needs_network,
            interfaces: description.needs_interfaces,
        }
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
}

/// Lists the plugins of the service.
#[utoipa::path(
    get, path = "/plugins", operation_id = "list_plugins", tag = "service",
    security(("token" = ["read"])),
    responses((status = 200, body = PluginList)),
)]
pub(crate) async fn list(State(service): State<Service>, caller: Caller) -> Result<Json<PluginList>, ApiError> {
    caller.authorize(Scope::Read, None)?;
    let plugins = service.plugins().await?.into_iter().map(PluginItem::from);
    Ok(Json(PluginList { plugins: plugins.collect() }))
}
