//! Plugins of a service: their details, and the schemas that descriptions are checked against.

use std::sync::Arc;

use occopus_api::PluginItem;
use occopus_model::{Schemas, SectionKind};
use occopus_runtime::PluginKind;
use serde_json::Value;

use crate::plugin::{PluginDetails, PluginNeeds};

/// Converts a plugin of a service; none if this version does not know its kind.
pub(super) fn details(plugin: PluginItem) -> Option<PluginDetails> {
    let kinds = [PluginKind::Driver, PluginKind::HealthChecker, PluginKind::Contextualiser, PluginKind::ConfigManager];
    Some(PluginDetails {
        kind: kinds.into_iter().find(|kind| kind.name() == plugin.kind)?,
        keyword: plugin.keyword,
        name: plugin.name,
        version: plugin.version,
        summary: plugin.summary,
        origin: plugin.origin,
        sha256: plugin.digest,
        contract: plugin.contract,
        needs: PluginNeeds { network: plugin.network, interfaces: plugin.interfaces },
        section_schema: plugin.schema,
        credentials_schema: plugin.credentials,
    })
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
