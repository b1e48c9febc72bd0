//! Plugins of the Python Occopus that do not exist here yet: their sections are checked, so that users see the errors in
//! their files, and a build is refused before anything is changed.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use occopus_model::{Schemas, SectionKind};
use serde::Deserialize;
use serde_json::Value;

/// Planned plugins by section and keyword.
type PlannedPlugins = BTreeMap<String, BTreeMap<String, PlannedPlugin>>;

#[derive(Deserialize)]
struct PlannedPlugin {
    section: Arc<Value>,
    credentials: Option<Arc<Value>>,
}

static PLANNED_PLUGINS: LazyLock<PlannedPlugins> =
    LazyLock::new(|| serde_json::from_str(include_str!("planned.json")).unwrap_or_default());

/// Schemas of the existing plugins, and behind them those of the planned ones.
pub struct WithPlanned<'a>(pub &'a dyn Schemas);

fn find_planned(section: SectionKind, keyword: &str) -> Option<&'static PlannedPlugin> {
    PLANNED_PLUGINS.get(section.key())?.get(keyword)
}

impl WithPlanned<'_> {
    fn exists(&self, section: SectionKind, keyword: &str) -> bool {
        self.0.keywords(section).iter().any(|known| known == keyword)
    }
}

impl Schemas for WithPlanned<'_> {
    fn schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        match self.exists(section, keyword) {
            true => self.0.schema(section, keyword),
            false => find_planned(section, keyword).map(|planned| Arc::clone(&planned.section)),
        }
    }

    fn why_unavailable(&self, section: SectionKind, keyword: &str) -> Option<String> {
        (!self.exists(section, keyword) && find_planned(section, keyword).is_some())
            .then(|| "this version of Occopus has no plugin for it".to_owned())
    }

    fn endpoint_problem(&self, section: SectionKind, keyword: &str, endpoint: &str) -> Option<String> {
        self.exists(section, keyword).then(|| self.0.endpoint_problem(section, keyword, endpoint)).flatten()
    }

    fn webhook_problem(&self, url: &str) -> Option<String> {
        self.0.webhook_problem(url)
    }

    fn keywords(&self, section: SectionKind) -> Vec<String> {
        let mut keywords = self.0.keywords(section);
        // In `health_check` the keywords are the allowed keys of the section.
        keywords.extend(PLANNED_PLUGINS.get(section.key()).into_iter().flatten().map(|(keyword, _)| keyword.clone()));
        keywords.sort();
        keywords.dedup();
        keywords
    }

    fn credentials_schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        match self.exists(section, keyword) {
            true => self.0.credentials_schema(section, keyword),
            false => find_planned(section, keyword)?.credentials.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_read() {
        let table: PlannedPlugins = serde_json::from_str(include_str!("planned.json")).expect("a table");
        assert!(table["resource"].contains_key("cloudbroker") && table["config_management"].contains_key("chef"));
        for planned in table.values().flat_map(BTreeMap::values) {
            let required = planned.section["required"].as_array();
            let properties = planned.section.get("properties");
            for key in required.into_iter().flatten().filter_map(Value::as_str) {
                assert!(properties.is_some_and(|properties| properties.get(key).is_some()), "{key}");
            }
        }
    }
}
