//! The plugins of the service, with the schemas by which a client can check what it is about to post.

use axum::Json;
use axum::extract::State;
use occopus_runtime::PluginInfo;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::access::{Caller, Scope};
use crate::problem::ApiError;
use crate::state::Service;

/// A plugin.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PluginItem {
    /// Its name.
    name: String,
    /// Its version.
    version: String,
    /// `driver`, `health checker`, `contextualiser` or `config manager`.
    kind: String,
    /// What the user writes to choose it.
    keyword: String,
    /// One line.
    summary: String,
    /// `bundled` or `installed`.
    origin: String,
    /// SHA-256 of its bytes.
    digest: String,
    /// The version of the contract that it was built for.
    contract: String,
    /// Bytes of the component.
    size: usize,
    /// JSON Schema of its section.
    schema: Value,
    /// JSON Schema of its credentials.
    credentials: Option<Value>,
    /// Network targets that it asks for.
    network: Vec<String>,
    /// Host interfaces that it asks for.
    interfaces: Vec<String>,
}

/// All plugins.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PluginList {
    /// By kind and keyword.
    plugins: Vec<PluginItem>,
}

/// The origin of what comes with the program.
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
    /// What is known of all plugins.
    pub(crate) async fn plugins(&self) -> Result<Vec<PluginInfo>, ApiError> {
        let runtime = self.occopus.runtime().await?;
        // The first time, each is asked what it is.
        let list = tokio::task::spawn_blocking(move || runtime.list()).await;
        let mut list = list.map_err(|error| {
            ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "service.panic", error.to_string())
        })?;
        // Where one lies on the machine of the service is nobody's business.
        for plugin in list.iter_mut().filter(|plugin| plugin.origin != BUNDLED) {
            plugin.origin = "installed".to_owned();
        }
        Ok(list)
    }
}

/// The plugins of the service.
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
