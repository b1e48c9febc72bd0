//! Plugins of a service: their details, and the schemas that descriptions are checked against.

use std::sync::Arc;

use occopus_model::{Schemas, SectionKind};
use occopus_runtime::PluginKind;
use serde::Deserialize;
use serde_json::Value;

use crate::plugin::{PluginDetails, PluginNeeds};

/// A plugin in a response of a service.
#[derive(Debug, Deserialize)]
pub(super) struct PluginResponse {
    name: String,
    version: String,
    kind: String,
    keyword: String,
    summary: String,
    origin: String,
    digest: String,
    contract: String,
    schema: Arc<Value>,
    credentials: Option<Arc<Value>>,
    network: Vec<String>,
    interfaces: Vec<String>,
}

impl PluginResponse {
    /// Converts the response; none if this version does not know the kind of the plugin.
    pub(super) fn into_details(self) -> Option<PluginDetails> {
        let kinds =
            [PluginKind::Driver, PluginKind::HealthChecker, PluginKind::Contextualiser, PluginKind::ConfigManager];
        Some(PluginDetails {
            kind: kinds.into_iter().find(|kind| kind.name() == self.kind)?,
            keyword: self.keyword,
            name: self.name,
            version: self.version,
            summary: self.summary,
            origin: self.origin,
            sha256: self.digest,
            contract: self.contract,
            needs: PluginNeeds { network: self.network, interfaces: self.interfaces },
            section_schema: self.schema,
            credentials_schema: self.credentials,
        })
    }
}

/// The plugins of a service, as a source of schemas.
pub(super) struct ServicePlugins(pub(super) Vec<PluginDetails>);

impl ServicePlugins {
    fn of_section(&self, section: SectionKind) -> impl Iterator<Item = &PluginDetails> {
        let kind = match section {
            SectionKind::Resource => Some(PluginKind::Driver),
            SectionKind::Contextualisation => Some(PluginKind::Contextualiser),
            SectionKind::ConfigManagement => Some(PluginKind::ConfigManager),
            SectionKind::HealthCheck => Some(PluginKind::HealthChecker),
            SectionKind::Webhook => None,
        };
        self.0.iter().filter(move |plugin| Some(plugin.kind) == kind)
    }

    fn find(&self, section: SectionKind, keyword: &str) -> Option<&PluginDetails> {
        self.of_section(section).find(|plugin| plugin.keyword == keyword)
    }
}

impl Schemas for ServicePlugins {
    fn schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        self.find(section, keyword).map(|plugin| plugin.section_schema.clone())
    }

    fn keywords(&self, section: SectionKind) -> Vec<String> {
        let mut keywords: Vec<_> = self.of_section(section).map(|plugin| plugin.keyword.clone()).collect();
        keywords.sort();
        keywords.dedup();
        keywords
    }

    fn credentials_schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        self.find(section, keyword)?.credentials_schema.clone()
    }
}
