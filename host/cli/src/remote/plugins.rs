//! The plugins of a service, as far as descriptions are checked against them.

use std::sync::Arc;

use occopus_model::{Schemas, SectionKind};
use occopus_runtime::Kind;
use serde::Deserialize;
use serde_json::Value;

use crate::plugin::{PluginDetails, PluginNeeds};

/// A plugin, as a service tells of it.
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
    /// None for a plugin of a kind that this version does not know.
    pub(super) fn into_details(self) -> Option<PluginDetails> {
        let kinds = [Kind::Driver, Kind::HealthChecker, Kind::Contextualiser, Kind::ConfigManager];
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

/// What the service says of its plugins.
pub(super) struct ServicePlugins(pub(super) Vec<PluginDetails>);

impl ServicePlugins {
    fn of_section(&self, section: SectionKind) -> impl Iterator<Item = &PluginDetails> {
        let kind = match section {
            SectionKind::Resource => Some(Kind::Driver),
            SectionKind::Contextualisation => Some(Kind::Contextualiser),
            SectionKind::ConfigManagement => Some(Kind::ConfigManager),
            SectionKind::HealthCheck => Some(Kind::HealthChecker),
            SectionKind::Webhook => None,
        };
        self.0.iter().filter(move |card| Some(card.kind) == kind)
    }

    fn find(&self, section: SectionKind, keyword: &str) -> Option<&PluginDetails> {
        self.of_section(section).find(|card| card.keyword == keyword)
    }
}

impl Schemas for ServicePlugins {
    fn schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        self.find(section, keyword).map(|card| card.section_schema.clone())
    }

    fn keywords(&self, section: SectionKind) -> Vec<String> {
        let mut keywords: Vec<_> = self.of_section(section).map(|card| card.keyword.clone()).collect();
        keywords.sort();
        keywords.dedup();
        keywords
    }

    fn credentials_schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        self.find(section, keyword)?.credentials_schema.clone()
    }
}
