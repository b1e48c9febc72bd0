//! Config managers, for the engine.

use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::{CallScope, ConfigManager, Fault, Reaction};
use serde_json::Value;

use crate::bindings::config::ConfigManagerPre;
use crate::calls::RuntimeCore;
use crate::convert::fault_from_wit;
use crate::host::{CallInput, ConfigScopeHandle};
use crate::invoke::{SideEffects, finish_fault};
use crate::plugin::Plugin;

/// Pointer to the section within an implementation.
const SECTION_POINTER: &str = "/config_management";

pub(crate) struct SandboxedConfigManager {
    pub(crate) shared: Arc<RuntimeCore>,
    pub(crate) plugin: Arc<Plugin>,
}

#[async_trait]
impl ConfigManager for SandboxedConfigManager {
    async fn template_data(&self, scope: &CallScope) -> Result<Value, Fault> {
        // By the contract it has neither network nor credential, in deployments as in previews.
        let call = self
            .shared
            .prepare_offline(&self.plugin, CallInput::Section(Arc::clone(&scope.section)), &scope.context)
            .await?;
        let answered =
            self.shared.run(&self.plugin, "template_data", Arc::clone(&call), SideEffects::None, async |pre, store| {
                let manager = ConfigManagerPre::new(pre.clone())?.instantiate_async(&mut *store).await?;
                let scope = store.data_mut().push(ConfigScopeHandle)?;
                manager.occopus_config_manager().call_template_data(&mut *store, scope).await
            });
        let data = answered.await?.map_err(|fault| finish_fault(&call, fault_from_wit(fault, SECTION_POINTER)))?;
        serde_json::from_str(&data).map_err(|error| {
            let message = format!("the template data of the config manager are not JSON: {error}");
            Fault::new(Reaction::GiveUp, "occopus.bad-answer", message)
        })
    }
}
