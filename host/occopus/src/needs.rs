//! Which plugins a piece of work will call.

use std::collections::BTreeSet;

use occopus_engine::Status;
use occopus_model::Infrastructure;
use occopus_runtime::Kind;
use serde_json::Value;

/// A plugin by its kind and by what the user writes to choose it.
pub type Need = (Kind, String);

/// The plugins that a deployment may call.
pub fn needs_of_description(infrastructure: &Infrastructure) -> Vec<Need> {
    let typed = |section: &Value| section.get("type").and_then(Value::as_str).map(str::to_owned);
    let mut needs = BTreeSet::new();
    for (_, implementation) in infrastructure.nodes.iter().flat_map(|node| infrastructure.candidates(node)) {
        needs.extend(typed(&implementation.resource).map(|keyword| (Kind::Driver, keyword)));
        let context = implementation.contextualisation.as_ref().and_then(typed);
        needs.extend(context.map(|keyword| (Kind::Contextualiser, keyword)));
        if let Some(keyword) = implementation.config_management.as_ref().and_then(typed) {
            needs.extend([(Kind::ConfigManager, keyword), (Kind::Contextualiser, "basic".to_owned())]);
        }
        if has_template(&implementation.resource) {
            needs.insert((Kind::Contextualiser, "basic".to_owned()));
        }
        let checks = implementation.health_check.checks.keys();
        needs.extend(checks.map(|keyword| (Kind::HealthChecker, keyword.clone())));
    }
    needs.into_iter().collect()
}

/// The plugins that are called to look at what exists, or to remove it.
pub fn needs_of_status(status: &Status) -> Vec<Need> {
    let instances = status.nodes.iter().flat_map(|node| &node.instances);
    let needs: BTreeSet<_> = instances.map(|instance| (Kind::Driver, instance.driver.clone())).collect();
    needs.into_iter().collect()
}

/// Whether the engine has it rendered: a comment is a template as well.
fn has_template(value: &Value) -> bool {
    match value {
        Value::String(text) => ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)),
        Value::Array(items) => items.iter().any(has_template),
        Value::Object(fields) => fields.values().any(has_template),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::has_template;

    #[test]
    fn all_that_is_rendered_is_a_template() {
        for text in ["{{ a }}", "{% if a %}", "a {# comment #}"] {
            assert!(has_template(&json!({"a": [1, {"b": text}]})), "{text}");
        }
        assert!(!has_template(&json!({"a": ["{ }", "#", 1, null]})));
    }
}
