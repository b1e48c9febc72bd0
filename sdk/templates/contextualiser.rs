//! The `NAME` contextualiser: user data for a machine's first boot.

use occopus_sdk::jinja::Templates;
use occopus_sdk::{About, ContextRequest, Contextualiser, Fault, Rendered};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

/// Section that the user writes below `contextualisation`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Template of the machine's user data.
    pub user_data: String,
}

pub struct Plugin;

impl Contextualiser for Plugin {
    type Section = Section;

    const ABOUT: About = About {
        name: "NAME",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "NAME",
        summary: "User data from a template",
        ..About::CONTEXT
    };

    /// Renders the user data. Pure: the same request gives the same answer, without network.
    fn render(request: &ContextRequest<Section>) -> Result<Rendered, Fault> {
        let templates = Templates::new(&request.template_data).with_facts(&request.facts);
        // The first argument is where the text stands in the section: mistakes are shown there.
        let user_data = templates.value("/user_data", &json!(request.section.user_data))?;
        let text = user_data.as_str().unwrap_or_default();
        Ok(Rendered { user_data: Some(text.as_bytes().to_vec()), ..Rendered::default() })
    }
}

occopus_sdk::export_contextualiser!(Plugin);
