//! Drivers and health checkers that are functions of the program, beside the sandboxed ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use occopus_engine::ports::{ConfigManager, Contextualiser, Driver, HealthChecker, Plugins};
use occopus_model::{Schemas, Section};
use occopus_runtime::Runtime;
use serde_json::Value;

/// By keyword, with the JSON Schema of the section.
#[derive(Clone, Default)]
pub(crate) struct InProcess {
    pub(crate) drivers: BTreeMap<String, (Arc<dyn Driver>, Arc<Value>)>,
    pub(crate) health_checkers: BTreeMap<String, (Arc<dyn HealthChecker>, Arc<Value>)>,
}

/// All plugins: those of the program come first.
pub(crate) struct AllPlugins {
    pub(crate) in_process: InProcess,
    pub(crate) runtime: Arc<Runtime>,
}

impl InProcess {
    fn schema(&self, section: Section, keyword: &str) -> Option<Arc<Value>> {
        match section {
            Section::Resource => self.drivers.get(keyword).map(|(_, schema)| schema.clone()),
            Section::HealthCheck => self.health_checkers.get(keyword).map(|(_, schema)| schema.clone()),
            _ => None,
        }
    }
}

impl Plugins for AllPlugins {
    fn driver(&self, keyword: &str) -> Option<Arc<dyn Driver>> {
        let own = self.in_process.drivers.get(keyword).map(|(driver, _)| driver.clone());
        own.or_else(|| self.runtime.driver(keyword))
    }

    fn health_checker(&self, keyword: &str) -> Option<Arc<dyn HealthChecker>> {
        let own = self.in_process.health_checkers.get(keyword).map(|(checker, _)| checker.clone());
        own.or_else(|| self.runtime.health_checker(keyword))
    }

    fn contextualiser(&self, keyword: &str) -> Option<Arc<dyn Contextualiser>> {
        self.runtime.contextualiser(keyword)
    }

    fn config_manager(&self, keyword: &str) -> Option<Arc<dyn ConfigManager>> {
        self.runtime.config_manager(keyword)
    }
}

impl Schemas for AllPlugins {
    fn schema(&self, section: Section, keyword: &str) -> Option<Arc<Value>> {
        self.in_process.schema(section, keyword).or_else(|| self.runtime.schema(section, keyword))
    }

    fn endpoint_problem(&self, section: Section, keyword: &str, endpoint: &str) -> Option<String> {
        // A driver of the program takes what it likes.
        match self.in_process.schema(section, keyword) {
            Some(_) => None,
            None => self.runtime.endpoint_problem(section, keyword, endpoint),
        }
    }

    fn keywords(&self, section: Section) -> Vec<String> {
        let mut keywords = self.runtime.keywords(section);
        match section {
            Section::Resource => keywords.extend(self.in_process.drivers.keys().cloned()),
            Section::HealthCheck => keywords.extend(self.in_process.health_checkers.keys().cloned()),
            _ => {}
        }
        keywords.sort();
        keywords.dedup();
        keywords
    }

    fn credentials_schema(&self, section: Section, keyword: &str) -> Option<Arc<Value>> {
        // What is in the program has its credentials by other means.
        match self.in_process.schema(section, keyword) {
            Some(_) => None,
            None => self.runtime.credentials_schema(section, keyword),
        }
    }
}
