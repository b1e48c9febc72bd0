//! Plugins for previews: every call is made without network, credential and host interface.

use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::{
    ConfigManager, Contextualiser, CreateRequest, Driver as _, Fault, OfflinePlugins, OpenDecisions, Preflight,
    Renderers,
};

use crate::calls::RuntimeCore;
use crate::config_managers::SandboxedConfigManager;
use crate::contextualisers::{CallMode, SandboxedContextualiser};
use crate::drivers::SandboxedDriver;
use crate::kind::PluginKind;
use crate::plugin::Plugin;
use crate::registry::Registry;

/// Plugins of a runtime. Its holder can't make a call that reaches anything.
pub(crate) struct OfflineRuntime {
    pub(crate) shared: Arc<RuntimeCore>,
    pub(crate) registry: Arc<Registry>,
}

impl OfflineRuntime {
    fn offline_contextualiser(&self, plugin: Arc<Plugin>) -> Arc<dyn Contextualiser> {
        Arc::new(SandboxedContextualiser { shared: Arc::clone(&self.shared), plugin, mode: CallMode::Offline })
    }
}

impl Renderers for OfflineRuntime {
    fn contextualiser(&self, keyword: &str) -> Option<Arc<dyn Contextualiser>> {
        Some(self.offline_contextualiser(self.registry.plugin(PluginKind::Contextualiser, keyword)?))
    }

    fn config_manager(&self, keyword: &str) -> Option<Arc<dyn ConfigManager>> {
        let plugin = self.registry.plugin(PluginKind::ConfigManager, keyword)?;
        Some(Arc::new(SandboxedConfigManager { shared: Arc::clone(&self.shared), plugin }))
    }

    fn basic_contextualiser(&self) -> Option<Arc<dyn Contextualiser>> {
        Some(self.offline_contextualiser(self.registry.basic_contextualiser()?))
    }

    fn open_decisions(&self, driver: &str) -> OpenDecisions {
        self.registry.open_decisions(driver)
    }
}

#[async_trait]
impl OfflinePlugins for OfflineRuntime {
    async fn check(&self, driver: &str, request: &CreateRequest) -> Result<Preflight, Fault> {
        match self.registry.plugin(PluginKind::Driver, driver) {
            // Calls nothing but `check`, which is prepared offline.
            Some(plugin) => SandboxedDriver { shared: Arc::clone(&self.shared), plugin }.check(request).await,
            None => Ok(Preflight::default()),
        }
    }
}
