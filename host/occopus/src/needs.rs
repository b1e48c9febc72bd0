//! Which plugins a piece of work will call.

use std::collections::BTreeSet;

use occopus_engine::Status;
use occopus_model::{Infrastructure, contains_template};
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
        if contains_template(&implementation.resource) {
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
