//! Plugins for previews: every call is made without network, credential and host interface.

use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::{
    ConfigManager, Contextualiser, CreateRequest, Detail, Driver as _, Fault, Offline, Openings, Renderers,
};

use crate::config_managers::SandboxedConfigManager;
use crate::contextualisers::{Reach, SandboxedContextualiser};
use crate::drivers::SandboxedDriver;
use crate::grants::Interface;
use crate::kind::Kind;
use crate::plugin::Plugin;
use crate::runtime::Shared;
use crate::sections::fillable;

/// The plugins of a runtime. Whoever has it can't make a call that reaches anything.
pub(crate) struct OfflineRuntime(pub(crate) Arc<Shared>);

impl OfflineRuntime {
    fn rendering(&self, plugin: Arc<Plugin>) -> Arc<dyn Contextualiser> {
        Arc::new(SandboxedContextualiser { shared: Arc::clone(&self.0), plugin, reach: Reach::Nothing })
    }
}

impl Renderers for OfflineRuntime {
    fn contextualiser(&self, keyword: &str) -> Option<Arc<dyn Contextualiser>> {
        Some(self.rendering(self.0.plugin(Kind::Contextualiser, keyword)?))
    }

    fn config_manager(&self, keyword: &str) -> Option<Arc<dyn ConfigManager>> {
        let plugin = self.0.plugin(Kind::ConfigManager, keyword)?;
        Some(Arc::new(SandboxedConfigManager { shared: Arc::clone(&self.0), plugin }))
    }

    fn templates(&self) -> Option<Arc<dyn Contextualiser>> {
        Some(self.rendering(self.0.templates()?))
    }

    fn openings(&self, driver: &str) -> Openings {
        self.0.openings(driver)
    }
}

#[async_trait]
impl Offline for OfflineRuntime {
    async fn check(&self, driver: &str, request: &CreateRequest) -> Result<Vec<Detail>, Fault> {
        match self.0.plugin(Kind::Driver, driver) {
            // Calls nothing but `check`, which is prepared offline.
            Some(plugin) => SandboxedDriver { shared: Arc::clone(&self.0), plugin }.check(request).await,
            None => Ok(Vec::new()),
        }
    }
}

impl Shared {
    /// Returns what a driver lets others decide.
    pub(crate) fn openings(&self, driver: &str) -> Openings {
        let Some(plugin) = self.plugin(Kind::Driver, driver) else { return Openings::default() };
        let Ok(description) = self.describe(&plugin) else { return Openings::default() };
        Openings {
            fillable: fillable(&description.section_schema),
            runs_programs: plugin.subject(description).interfaces().contains(&Interface::Process),
        }
    }
}
