//! `basic`: attributes, and nothing for the first boot.

use occopus_sdk::jinja::Templates;
use occopus_sdk::{About, ContextRequest, Contextualiser, Fault, Rendered};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Section that the user writes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Attributes for the driver or the config manager. Every text in it is a template.
    #[serde(default)]
    attributes: Map<String, Value>,
}

/// The plugin.
pub struct Basic;

impl Contextualiser for Basic {
    type Section = Section;

    const ABOUT: About = About {
        name: "basic",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "basic",
        summary: "attributes only",
        ..About::CONTEXT
    };

    fn render(request: &ContextRequest<Section>) -> Result<Rendered, Fault> {
        let templates = Templates::new(&request.template_data).with_facts(&request.facts);
        let mut attributes = templates.value("/attributes", &Value::Object(request.section.attributes.clone()))?;
        attributes["connections"] = request.connections.clone();
        Ok(Rendered { attributes, ..Rendered::default() })
    }
}

occopus_sdk::export_contextualiser!(Basic);

#[cfg(test)]
mod tests {
    use occopus_sdk::testing::{FakeFacts, render};
    use serde_json::json;

    use super::Basic;

    #[test]
    fn attributes_are_rendered() {
        let section = json!({"type": "basic", "attributes": {"a": ["{{ node_id }}", 1], "{{ key }}": null}});
        let rendered =
            render::<Basic>(&section, json!({}), json!({"node_id": "n1"}), FakeFacts::default()).expect("it renders");
        assert_eq!(rendered.attributes, json!({"a": ["n1", 1], "{{ key }}": null, "connections": []}));
        assert!(rendered.user_data.is_none() && rendered.resource.is_none());
    }

    #[test]
    fn no_section_is_an_empty_one() {
        let rendered = render::<Basic>(&json!({}), json!({}), json!({}), FakeFacts::default()).expect("it renders");
        assert_eq!(rendered.attributes, json!({"connections": []}));
    }
}
