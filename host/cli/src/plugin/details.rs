//! A plugin, as it is shown: one of this machine or of a service.

use std::sync::Arc;

use occopus_runtime::{Kind, PluginInfo};
use serde::Serialize;
use serde_json::Value;

use crate::print;

/// What is told of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PluginDetails {
    pub(crate) kind: Kind,
    pub(crate) keyword: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) summary: String,
    pub(crate) origin: String,
    pub(crate) sha256: String,
    pub(crate) contract: String,
    pub(crate) needs: PluginNeeds,
    /// The JSON Schema of its section, without `type`.
    pub(crate) section_schema: Arc<Value>,
    /// The JSON Schema of its credentials.
    pub(crate) credentials_schema: Option<Arc<Value>>,
}

/// What a plugin asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct PluginNeeds {
    pub(crate) network: Vec<String>,
    pub(crate) interfaces: Vec<String>,
}

impl From<&PluginInfo> for PluginDetails {
    fn from(info: &PluginInfo) -> Self {
        let it = info.description.clone();
        Self {
            kind: info.kind,
            keyword: it.keyword,
            name: it.name,
            version: it.version,
            summary: it.summary,
            origin: info.origin.clone(),
            sha256: info.digest.clone(),
            contract: info.contract.clone(),
            needs: PluginNeeds { network: it.needs_network, interfaces: it.needs_interfaces },
            section_schema: it.section_schema,
            credentials_schema: it.credentials_schema,
        }
    }
}

impl PluginDetails {
    /// By its name or keyword.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name == name || self.keyword == name
    }

    /// Without the schemas, for programs.
    pub(crate) fn to_json_without_schemas(&self) -> Value {
        let mut value = serde_json::json!(self);
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|key, _| !key.ends_with("_schema"));
        }
        value
    }

    /// Everything, for people.
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

fn print_schema(what: &str, schema: Option<&Value>) {
    match schema {
        Some(schema) => print::line(format_args!("{what}:\n{schema:#}")),
        None => print::line(format_args!("{what}: none")),
    }
}

/// A line for each, in columns.
pub(crate) fn print_list(cards: &[PluginDetails]) {
    let widest = |cell: fn(&PluginDetails) -> usize| cards.iter().map(cell).max().unwrap_or_default();
    let (kind, keyword) = (widest(|it| it.kind.name().len()), widest(|it| it.keyword.len()));
    for it in cards {
        let from = if it.origin == "bundled" { String::new() } else { format!(" ({})", it.origin) };
        let (of, word) = (it.kind.name(), &it.keyword);
        print::line(format_args!("{of:kind$}  {word:keyword$}  {}  {}{from}", it.version, it.summary));
    }
}
