//! What plugins say of their sections, for whoever checks what the user wrote.

use std::sync::Arc;

use serde_json::Value;

/// The sections that plugins serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// `resource`: drivers.
    Resource,
    /// `contextualisation`: contextualisers.
    Contextualisation,
    /// `config_management`: config managers.
    ConfigManagement,
    /// A key of `health_check`: health checkers.
    HealthCheck,
}

impl Section {
    /// The key in a node definition.
    pub fn key(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Contextualisation => "contextualisation",
            Self::ConfigManagement => "config_management",
            Self::HealthCheck => "health_check",
        }
    }
}

/// Knows the plugins that there are.
pub trait Schemas {
    /// JSON Schema (draft 2020-12) of the section without `type`; none when there is no such plugin.
    fn schema(&self, section: Section, keyword: &str) -> Option<Arc<Value>>;
    /// The keywords that there are, sorted.
    fn keywords(&self, section: Section) -> Vec<String>;
    /// JSON Schema of the credentials; none when the plugin takes none, or when there is no such plugin.
    fn credentials_schema(&self, section: Section, keyword: &str) -> Option<Arc<Value>>;
}
