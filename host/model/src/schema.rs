//! Schemas of the plugins' sections, and the check of a section against its schema.

mod explain;

use std::sync::Arc;

use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::yaml::{Item, Span};

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
    /// Returns the key in a node definition.
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

/// A source of the plugins' schemas and keywords.
pub trait Schemas {
    /// Returns the JSON Schema of a section, `type` left out. For [`SectionKind::HealthCheck`] the keyword is the key
    /// in the section, and the schema is that of its value.
    fn schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Json>>;

    /// Returns the reason why a keyword that has a schema can't be used; `None` if it can.
    fn why_unavailable(&self, _section: SectionKind, _keyword: &str) -> Option<String> {
        None
    }

    /// Returns the reason why no connection can be made to this endpoint of a section; `None` if it may be possible.
    fn endpoint_problem(&self, _section: SectionKind, _keyword: &str, _endpoint: &str) -> Option<String> {
        None
    }

    /// Returns the reason why no event can be sent to this URL of a webhook; `None` if it may be possible.
    fn webhook_problem(&self, _url: &str) -> Option<String> {
        None
    }

    /// Returns the keywords of a section's plugins.
    fn keywords(&self, section: SectionKind) -> Vec<String>;

    /// Returns the JSON Schema of the credentials of a section.
    fn credentials_schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Json>>;
}

/// Checks a value against a schema, and reports errors at the user's lines. `omit` is a key of the value that the
/// schema does not have.
pub(crate) fn check(schema: &Json, item: &Item, omit: Option<&str>, what: &str, diagnostics: &mut Diagnostics) {
    let mut value = item.json();
    if let (Some(key), Some(object)) = (omit, value.as_object_mut()) {
        object.shift_remove(key);
    }
    let validator = match jsonschema::options().should_validate_formats(true).build(schema) {
        Ok(validator) => validator,
        Err(error) => {
            let message = format!("{what} can't be checked: the plugin's schema is not valid: {error}");
            diagnostics.push(Diagnostic::warning("schema.invalid", message).at(&item.at, "not checked"));
            return;
        }
    };
    let errors: Vec<_> = validator.iter_errors(&value).collect();
    explain::explain(&errors, schema, item, what, diagnostics);
}

/// Warns of a plugin whose section can be checked, but that can't be called.
pub(crate) fn warn_if_unavailable(
    section: SectionKind,
    keyword: &str,
    at: &Span,
    schemas: &dyn Schemas,
    diagnostics: &mut Diagnostics,
) {
    if let Some(why) = schemas.why_unavailable(section, keyword) {
        let message = format!("nothing can be deployed with `{keyword}`: {why}");
        let diagnostic = Diagnostic::warning("plugin.unavailable", message).at(at, "checked, but not to be deployed");
        diagnostics.push(diagnostic.reported_once());
    }
}
