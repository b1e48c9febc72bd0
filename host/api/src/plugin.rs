//! Plugins of the service, with the schemas by which a client can check its descriptions.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A plugin of the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PluginItem {
    /// The name of the plugin.
    pub name: String,
    /// The version of the plugin.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub version: String,
    /// `driver`, `health-checker`, `contextualiser` or `config-manager`.
    pub kind: String,
    /// The keyword that selects the plugin in a node definition.
    pub keyword: String,
    /// A summary in one line.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub summary: String,
    /// Origin of the plugin: `bundled` or `installed`.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub origin: String,
    /// SHA-256 of the component.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub digest: String,
    /// Version of the plugin contract that it was built for.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub contract: String,
    /// Size of the component in bytes.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub size: usize,
    /// JSON Schema of the plugin's section.
    #[cfg_attr(feature = "openapi", schema(value_type = Value))]
    pub schema: Arc<Value>,
    /// JSON Schema of the plugin's credentials; null: it has none.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Value>))]
    pub credentials: Option<Arc<Value>>,
    /// Network targets that the plugin requests.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub network: Vec<String>,
    /// Host interfaces that the plugin requests.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub interfaces: Vec<String>,
}

/// The plugins of the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PluginList {
    /// The plugins, ordered by kind and keyword.
    pub plugins: Vec<PluginItem>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_reads_a_plugin_by_what_it_needs() {
        let text = r#"{"plugins": [{"name": "n", "kind": "driver", "keyword": "k", "schema": {}, "more": 1}]}"#;
        let list: PluginList = serde_json::from_str(text).unwrap();
        assert_eq!((list.plugins[0].keyword.as_str(), list.plugins[0].size), ("k", 0));
    }
}
