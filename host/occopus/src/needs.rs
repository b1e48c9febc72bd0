//! Which plugins a piece of work will call.

use std::collections::BTreeSet;

use occopus_engine::Status;
use occopus_model::{Infrastructure, Section};
use serde_json::Value;

/// A plugin by what the user writes to choose it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Where it is written.
    pub section: Section,
    /// What is written.
    pub keyword: String,
}

/// The plugins that a deployment may call.
pub fn needs_of_description(infrastructure: &Infrastructure) -> Vec<Need> {
    let implementations = infrastructure.nodes.iter().flat_map(|node| infrastructure.candidates(node));
    collect(implementations.flat_map(|(_, implementation)| {
        let typed = |section: &Value| section.get("type").and_then(Value::as_str).map(str::to_owned);
        let driver = typed(&implementation.resource).map(|keyword| (Section::Resource, keyword));
        let context = implementation.contextualisation.as_ref().and_then(typed);
        let context = context.map(|keyword| (Section::Contextualisation, keyword));
        let checks = implementation.health_check.checks.keys().map(|keyword| (Section::HealthCheck, keyword.clone()));
        driver.into_iter().chain(context).chain(checks).collect::<Vec<_>>()
    }))
}

/// The plugins that are called to look at what exists, or to remove it.
pub fn needs_of_status(status: &Status) -> Vec<Need> {
    let instances = status.nodes.iter().flat_map(|node| &node.instances);
    collect(instances.map(|instance| (Section::Resource, instance.driver.clone())))
}

/// Each once.
fn collect(all: impl Iterator<Item = (Section, String)>) -> Vec<Need> {
    let mut seen = BTreeSet::new();
    let new = all.filter(|(section, keyword)| seen.insert((format!("{section:?}"), keyword.clone())));
    new.map(|(section, keyword)| Need { section, keyword }).collect()
}
