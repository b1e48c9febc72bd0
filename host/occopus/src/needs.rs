//! The plugins that a command will call.

use std::collections::BTreeSet;

use occopus_engine::Status;
use occopus_model::{Infrastructure, contains_template, section_type};
use occopus_runtime::PluginKind;
use serde_json::Value;

/// A plugin by its kind and keyword.
pub type Need = (PluginKind, String);

/// Returns the plugins that a deployment may call.
pub fn needs_of_description(infrastructure: &Infrastructure) -> Vec<Need> {
    let typed = |section: &Value| section_type(section).map(str::to_owned);
    let mut needs = BTreeSet::new();
    for (_, implementation) in infrastructure.nodes.iter().flat_map(|node| infrastructure.candidates(node)) {
        needs.extend(typed(&implementation.resource).map(|keyword| (PluginKind::Driver, keyword)));
        let context = implementation.contextualisation.as_ref().and_then(typed);
        needs.extend(context.map(|keyword| (PluginKind::Contextualiser, keyword)));
        if let Some(keyword) = implementation.config_management.as_ref().and_then(typed) {
            needs.extend([(PluginKind::ConfigManager, keyword), (PluginKind::Contextualiser, "basic".to_owned())]);
        }
        if contains_template(&implementation.resource) {
            needs.insert((PluginKind::Contextualiser, "basic".to_owned()));
        }
        let checks = implementation.health_check.checks.keys();
        needs.extend(checks.map(|keyword| (PluginKind::HealthChecker, keyword.clone())));
    }
    needs.into_iter().collect()
}

/// Returns the plugins that are called to observe existing machines, or to remove them.
pub fn needs_of_status(status: &Status) -> Vec<Need> {
    let instances = status.nodes.iter().flat_map(|node| &node.instances);
    let needs: BTreeSet<_> = instances.map(|instance| (PluginKind::Driver, instance.driver.clone())).collect();
    needs.into_iter().collect()
}
