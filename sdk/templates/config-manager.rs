//! The `NAME` config manager: variables for templates.

use occopus_sdk::{About, ConfigManager, ConfigScope, Fault, NoCredentials};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Section that the user writes below `config_management`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Roles of the node.
    pub roles: Vec<String>,
}

pub struct Plugin;

impl ConfigManager for Plugin {
    type Section = Section;
    type Credentials = NoCredentials;

    const ABOUT: About = About {
        name: "NAME",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "NAME",
        summary: "Roles for templates",
        ..About::CONTEXT
    };

    /// Returns variables for the node's template: here `{{ NAME.roles }}`.
    fn template_data(scope: &ConfigScope<Section>) -> Result<Value, Fault> {
        Ok(json!({ "NAME": { "roles": scope.section.roles.join(" ") } }))
    }
}

occopus_sdk::export_config_manager!(Plugin);
