//! Plugins for previews: every call is made without network, credential and host interface.

use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::{
    ConfigManager, Contextualiser, CreateRequest, Detail, Driver as _, Fault, OfflinePlugins, OpenDecisions, Renderers,
};

use crate::config_managers::SandboxedConfigManager;
use crate::contextualisers::{CallMode, SandboxedContextualiser};
use crate::drivers::SandboxedDriver;
use crate::grants::Interface;
use crate::kind::PluginKind;
use crate::plugin::Plugin;
use crate::runtime::RuntimeCore;
use crate::sections::fillable_keys;

/// Plugins of a runtime. Its holder can't make a call that reaches anything.
pub(crate) struct OfflineRuntime(pub(crate) Arc<RuntimeCore>);

impl OfflineRuntime {
    fn offline_contextualiser(&self, plugin: Arc<Plugin>) -> Arc<dyn Contextualiser> {
        Arc::new(SandboxedContextualiser { shared: Arc::clone(&self.0), plugin, mode: CallMode::Offline })
    }
}

impl Renderers for OfflineRuntime {
    fn contextualiser(&self, keyword: &str) -> Option<Arc<dyn Contextualiser>> {
        Some(self.offline_contextualiser(self.0.plugin(PluginKind::Contextualiser, keyword)?))
    }

    fn config_manager(&self, keyword: &str) -> Option<Arc<dyn ConfigManager>> {
        let plugin = self.0.plugin(PluginKind::ConfigManager, keyword)?;
        Some(Arc::new(SandboxedConfigManager { shared: Arc::clone(&self.0), plugin }))
    }

    fn basic_contextualiser(&self) -> Option<Arc<dyn Contextualiser>> {
        Some(self.offline_contextualiser(self.0.basic_contextualiser()?))
    }

    fn open_decisions(&self, driver: &str) -> OpenDecisions {
        self.0.open_decisions(driver)
    }
}

#[async_trait]
impl OfflinePlugins for OfflineRuntime {
    async fn check(&self, driver: &str, request: &CreateRequest) -> Result<Vec<Detail>, Fault> {
        match self.0.plugin(PluginKind::Driver, driver) {
            // Calls nothing but `check`, which is prepared offline.
            Some(plugin) => SandboxedDriver { shared: Arc::clone(&self.0), plugin }.check(request).await,
            None => Ok(Vec::new()),
        }
    }
}

impl RuntimeCore {
    /// Returns the decisions that a driver leaves to others.
    pub(crate) fn open_decisions(&self, driver: &str) -> OpenDecisions {
        let Some(plugin) = self.plugin(PluginKind::Driver, driver) else { return OpenDecisions::default() };
        let Ok(description) = self.describe(&plugin) else { return OpenDecisions::default() };
        OpenDecisions {
            fillable: fillable_keys(&description.section_schema),
            runs_programs: plugin.grant_subject(description).interfaces().contains(&Interface::Process),
        }
    }
}
