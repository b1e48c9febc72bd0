//! The plugins of a service, as far as descriptions are checked against them.

use std::sync::Arc;

use occopus_model::{Schemas, Section};
use occopus_runtime::Kind;
use serde::Deserialize;
use serde_json::Value;

use crate::plugin::{Card, Needs};

/// A plugin, as a service tells of it.
#[derive(Debug, Deserialize)]
pub(super) struct Plugin {
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

impl Plugin {
    /// None for a plugin of a kind that this version does not know.
    pub(super) fn card(self) -> Option<Card> {
        let kinds = [Kind::Driver, Kind::HealthChecker, Kind::Contextualiser, Kind::ConfigManager];
        Some(Card {
            kind: kinds.into_iter().find(|kind| kind.name() == self.kind)?,
            keyword: self.keyword,
            name: self.name,
            version: self.version,
            summary: self.summary,
            origin: self.origin,
            sha256: self.digest,
            contract: self.contract,
            needs: Needs { network: self.network, interfaces: self.interfaces },
            section_schema: self.schema,
            credentials_schema: self.credentials,
        })
    }
}

/// What the service says of its plugins.
pub(super) struct Plugins(pub(super) Vec<Card>);

impl Plugins {
    fn of(&self, section: Section) -> impl Iterator<Item = &Card> {
        let kind = match section {
            Section::Resource => Some(Kind::Driver),
            Section::Contextualisation => Some(Kind::Contextualiser),
            Section::ConfigManagement => Some(Kind::ConfigManager),
            Section::HealthCheck => Some(Kind::HealthChecker),
            Section::Webhook => None,
        };
        self.0.iter().filter(move |card| Some(card.kind) == kind)
    }

    fn find(&self, section: Section, keyword: &str) -> Option<&Card> {
        self.of(section).find(|card| card.keyword == keyword)
    }
}

impl Schemas for Plugins {
    fn schema(&self, section: Section, keyword: &str) -> Option<Arc<Value>> {
        self.find(section, keyword).map(|card| card.section_schema.clone())
    }

    fn keywords(&self, section: Section) -> Vec<String> {
        let mut keywords: Vec<_> = self.of(section).map(|card| card.keyword.clone()).collect();
        keywords.sort();
        keywords.dedup();
        keywords
    }

    fn credentials_schema(&self, section: Section, keyword: &str) -> Option<Arc<Value>> {
        self.find(section, keyword)?.credentials_schema.clone()
    }
}
