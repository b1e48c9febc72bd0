//! Drivers and health checkers in the program itself, beside the sandboxed plugins.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::{
    ConfigManager, Contextualiser, CreateRequest, Driver, Fault, HealthChecker, OfflinePlugins, OpenDecisions, Plugins,
    Preflight, Renderers,
};
use occopus_model::{Schemas, SectionKind};
use occopus_runtime::{Runtime, fillable_keys};
use serde_json::Value;

/// Drivers and health checkers of the program by keyword, with the JSON Schema of their section.
#[derive(Clone, Default)]
pub(crate) struct InProcess {
    pub(crate) drivers: BTreeMap<String, (Arc<dyn Driver>, Arc<Value>)>,
    pub(crate) health_checkers: BTreeMap<String, (Arc<dyn HealthChecker>, Arc<Value>)>,
}

/// All plugins. Those of the program take precedence.
pub(crate) struct AllPlugins {
    pub(crate) in_process: InProcess,
    pub(crate) runtime: Arc<Runtime>,
}

impl InProcess {
    /// Returns what a driver of the program leaves open; none if the driver is not one of the program.
    fn openings(&self, driver: &str) -> Option<OpenDecisions> {
        let (_, schema) = self.drivers.get(driver)?;
        Some(OpenDecisions { fillable: fillable_keys(schema), runs_programs: false })
    }

    fn schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        match section {
            SectionKind::Resource => self.drivers.get(keyword).map(|(_, schema)| schema.clone()),
            SectionKind::HealthCheck => self.health_checkers.get(keyword).map(|(_, schema)| schema.clone()),
            _ => None,
        }
    }
}

impl Renderers for AllPlugins {
    fn contextualiser(&self, keyword: &str) -> Option<Arc<dyn Contextualiser>> {
        self.runtime.contextualiser(keyword)
    }

    fn config_manager(&self, keyword: &str) -> Option<Arc<dyn ConfigManager>> {
        self.runtime.config_manager(keyword)
    }

    fn basic_contextualiser(&self) -> Option<Arc<dyn Contextualiser>> {
        self.runtime.basic_contextualiser()
    }

    fn open_decisions(&self, driver: &str) -> OpenDecisions {
        self.in_process.openings(driver).unwrap_or_else(|| self.runtime.open_decisions(driver))
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

    fn offline(&self) -> Arc<dyn OfflinePlugins> {
        Arc::new(AllOffline { in_process: self.in_process.clone(), runtime: self.runtime.offline() })
    }
}

/// All plugins for previews. Drivers of the program are trusted to reach nothing in their checks.
struct AllOffline {
    in_process: InProcess,
    runtime: Arc<dyn OfflinePlugins>,
}

impl Renderers for AllOffline {
    fn contextualiser(&self, keyword: &str) -> Option<Arc<dyn Contextualiser>> {
        self.runtime.contextualiser(keyword)
    }

    fn config_manager(&self, keyword: &str) -> Option<Arc<dyn ConfigManager>> {
        self.runtime.config_manager(keyword)
    }

    fn basic_contextualiser(&self) -> Option<Arc<dyn Contextualiser>> {
        self.runtime.basic_contextualiser()
    }

    fn open_decisions(&self, driver: &str) -> OpenDecisions {
        self.in_process.openings(driver).unwrap_or_else(|| self.runtime.open_decisions(driver))
    }
}

#[async_trait]
impl OfflinePlugins for AllOffline {
    async fn check(&self, driver: &str, request: &CreateRequest) -> Result<Preflight, Fault> {
        match self.in_process.drivers.get(driver) {
            Some((own, _)) => own.check(request).await,
            None => self.runtime.check(driver, request).await,
        }
    }
}

impl Schemas for AllPlugins {
    fn schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        self.in_process.schema(section, keyword).or_else(|| self.runtime.schema(section, keyword))
    }

    fn endpoint_problem(&self, section: SectionKind, keyword: &str, endpoint: &str) -> Option<String> {
        // A driver of the program may take any endpoint.
        match self.in_process.schema(section, keyword) {
            Some(_) => None,
            None => self.runtime.endpoint_problem(section, keyword, endpoint),
        }
    }

    fn webhook_problem(&self, url: &str) -> Option<String> {
        self.runtime.webhook_problem(url)
    }

    fn keywords(&self, section: SectionKind) -> Vec<String> {
        let mut keywords = self.runtime.keywords(section);
        match section {
            SectionKind::Resource => keywords.extend(self.in_process.drivers.keys().cloned()),
            SectionKind::HealthCheck => keywords.extend(self.in_process.health_checkers.keys().cloned()),
            _ => {}
        }
        keywords.sort();
        keywords.dedup();
        keywords
    }

    fn credentials_schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        // Plugins of the program get their credentials by other means.
        match self.in_process.schema(section, keyword) {
            Some(_) => None,
            None => self.runtime.credentials_schema(section, keyword),
        }
    }
}
