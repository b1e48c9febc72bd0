//! Details of a plugin for output: of this machine or of a service.

use std::sync::Arc;

use occopus_runtime::{PluginInfo, PluginKind};
use serde::Serialize;
use serde_json::Value;

use crate::print;

/// Details of a plugin, as they are printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PluginDetails {
    pub(crate) kind: PluginKind,
    pub(crate) keyword: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) summary: String,
    pub(crate) origin: String,
    pub(crate) sha256: String,
    pub(crate) contract: String,
    pub(crate) needs: PluginNeeds,
    /// JSON Schema of its section, without `type`.
    pub(crate) section_schema: Arc<Value>,
    /// JSON Schema of its credentials.
    pub(crate) credentials_schema: Option<Arc<Value>>,
}

/// Grants that a plugin requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct PluginNeeds {
    pub(crate) network: Vec<String>,
    pub(crate) interfaces: Vec<String>,
}

impl From<&PluginInfo> for PluginDetails {
    fn from(info: &PluginInfo) -> Self {
        let description = info.description.clone();
        Self {
            kind: info.kind,
            keyword: description.keyword,
            name: description.name,
            version: description.version,
            summary: description.summary,
            origin: info.origin.clone(),
            sha256: info.digest.clone(),
            contract: info.contract.clone(),
            needs: PluginNeeds { network: description.needs_network, interfaces: description.needs_interfaces },
            section_schema: description.section_schema,
            credentials_schema: description.credentials_schema,
        }
    }
}

impl PluginDetails {
    /// Returns whether this is the plugin's name or keyword.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name == name || self.keyword == name
    }

    /// Returns the details without the schemas as JSON, for programs.
    pub(crate) fn to_json_without_schemas(&self) -> Value {
        let mut value = serde_json::json!(self);
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|key, _| !key.ends_with("_schema"));
        }
        value
    }

    /// Prints all details for people.
    pub(crate) fn print(&self) {
        let or_none = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        print::line(format_args!("{} {}: {}", self.name, self.version, self.summary));
        print::line(format_args!("kind:        {} (contract {})", self.kind.name(), self.contract));
        print::line(format_args!("keyword:     {}", self.keyword));
        print::line(format_args!("origin:      {}", self.origin));
        print::line(format_args!("sha256:      {}", self.sha256));
        print::line(format_args!("network:     {}", or_none(&self.needs.network)));
        print::line(format_args!("interfaces:  {}", or_none(&self.needs.interfaces)));
        print_schema("section", Some(&self.section_schema));
        print_schema("credentials", self.credentials_schema.as_deref());
    }
}

fn print_schema(label: &str, schema: Option<&Value>) {
    match schema {
        Some(schema) => print::line(format_args!("{label}:\n{schema:#}")),
        None => print::line(format_args!("{label}: none")),
    }
}

/// Prints a line for each plugin, in columns.
pub(crate) fn print_list(plugins: &[PluginDetails]) {
    let widest = |cell: fn(&PluginDetails) -> usize| plugins.iter().map(cell).max().unwrap_or_default();
    let kind_width = widest(|plugin| plugin.kind.name().len());
    let keyword_width = widest(|plugin| plugin.keyword.len());
    for PluginDetails { kind, keyword, version, summary, origin, .. } in plugins {
        let origin = if origin == "bundled" { String::new() } else { format!(" ({origin})") };
        let kind = kind.name();
        print::line(format_args!("{kind:kind_width$}  {keyword:keyword_width$}  {version}  {summary}{origin}"));
    }
}
