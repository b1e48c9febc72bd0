//! What plugins say of their sections, and the check of a section against it.

mod explain;

use std::sync::Arc;

use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::yaml::Item;

/// A section of a node definition that a plugin is responsible for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// `resource`: a driver.
    Resource,
    /// `contextualisation`: a contextualiser.
    Contextualisation,
    /// `config_management`: a configuration manager.
    ConfigManagement,
    /// A key of `health_check`: a checker.
    HealthCheck,
    /// An item of a description's `webhooks`. No plugin serves it; it has credentials.
    Webhook,
}

impl SectionKind {
    /// The key in a node definition.
    pub fn key(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Contextualisation => "contextualisation",
            Self::ConfigManagement => "config_management",
            Self::HealthCheck => "health_check",
            Self::Webhook => "webhook",
        }
    }
}

/// What is known of the plugins' sections.
pub trait Schemas {
    /// The JSON Schema of a section, `type` left out. For [`Section::HealthCheck`] the keyword is the key in the section,
    /// and the schema is that of its value.
    fn schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Json>>;

    /// Why a keyword that has a schema can't be used all the same; none when it can.
    fn why_unavailable(&self, _section: SectionKind, _keyword: &str) -> Option<String> {
        None
    }

    /// Why nobody can connect to this endpoint of a section; none when somebody may.
    fn endpoint_problem(&self, _section: SectionKind, _keyword: &str, _endpoint: &str) -> Option<String> {
        None
    }

    /// Returns why nobody can be told anything at this URL of a webhook; none when somebody may.
    fn webhook_problem(&self, _url: &str) -> Option<String> {
        None
    }

    /// The keywords that there are.
    fn keywords(&self, section: SectionKind) -> Vec<String>;

    /// The JSON Schema of the credentials that go with a section.
    fn credentials_schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Json>>;
}

/// Checks a value against a schema, and tells of what does not fit at the user's lines. `omit` is a key of the value that
/// the schema does not know.
pub(crate) fn check(schema: &Json, item: &Item, omit: Option<&str>, what: &str, problems: &mut Diagnostics) {
    let mut value = item.json();
    if let (Some(key), Some(object)) = (omit, value.as_object_mut()) {
        object.shift_remove(key);
    }
    let validator = match jsonschema::options().should_validate_formats(true).build(schema) {
        Ok(validator) => validator,
        Err(error) => {
            let message = format!("{what} can't be checked: the plugin's schema is not valid: {error}");
            problems.push(Diagnostic::warning("schema.invalid", message).at(&item.at, "not checked"));
            return;
        }
    };
    let errors: Vec<_> = validator.iter_errors(&value).collect();
    explain::explain(&errors, schema, item, what, problems);
}
