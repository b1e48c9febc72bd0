//! `puppet_solo`: Puppet without a server. Manifests and modules reach the node by its cloud-init template.

use occopus_sdk::jinja::python_str;
use occopus_sdk::{About, ConfigManager, ConfigScope, Fault, NoCredentials};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Section that the user writes. Every text in it is a template.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// URLs of manifests, which the node downloads and applies.
    manifests: Vec<Value>,
    /// Names of modules, which the node installs.
    modules: Option<Vec<Value>>,
    /// Values for the manifests: mappings of one name to one value each.
    attributes: Option<Vec<Value>>,
}

/// The plugin.
pub struct PuppetSolo;

impl ConfigManager for PuppetSolo {
    type Section = Section;
    type Credentials = NoCredentials;

    const ABOUT: About = About {
        name: "puppet_solo",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "puppet_solo",
        summary: "Puppet without a server",
        ..About::CONTEXT
    };

    /// Returns `puppet.modules`, `puppet.manifests` and `puppet.attributes`, each as one text. Existing templates parse
    /// the text of the attributes as Python prints them: `{'name': 'value'} {'other': 'value'}`.
    fn template_data(scope: &ConfigScope<Section>) -> Result<Value, Fault> {
        let text = |items: &[Value]| items.iter().map(python_str).collect::<Vec<_>>().join(" ");
        let section = &scope.section;
        Ok(json!({"puppet": {
            "manifests": text(&section.manifests),
            "modules": text(section.modules.as_deref().unwrap_or_default()),
            "attributes": text(section.attributes.as_deref().unwrap_or_default()),
        }}))
    }
}

occopus_sdk::export_config_manager!(PuppetSolo);

#[cfg(test)]
mod tests {
    use occopus_sdk::testing::template_data;
    use serde_json::json;

    use super::PuppetSolo;

    #[test]
    fn lists_become_texts_as_python_prints_them() {
        let section = json!({
            "type": "puppet_solo",
            "manifests": ["http://a/x.pp", "http://a/y.pp"],
            "attributes": [{"mysql::user": "it's"}, {"port": 3306}],
        });
        let data = template_data::<PuppetSolo>(&section).expect("template data");
        let puppet = json!({
            "manifests": "http://a/x.pp http://a/y.pp",
            "modules": "",
            "attributes": "{'mysql::user': \"it's\"} {'port': 3306}",
        });
        assert_eq!(data, json!({ "puppet": puppet }));
    }
}
