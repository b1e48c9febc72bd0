//! Config managers, for the engine.

use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::{ConfigManager, Fault, Reaction, Scope};
use serde_json::Value;

use crate::bindings::config::ConfigManagerPre;
use crate::convert::fault_from;
use crate::host::{ConfigScope, Input};
use crate::invoke::{Acts, finish};
use crate::plugin::Plugin;
use crate::runtime::Shared;

/// Where the section stands in an implementation.
const SECTION: &str = "/config_management";

pub(crate) struct SandboxedConfigManager {
    pub(crate) shared: Arc<Shared>,
    pub(crate) plugin: Arc<Plugin>,
}

#[async_trait]
impl ConfigManager for SandboxedConfigManager {
    async fn template_data(&self, scope: &Scope) -> Result<Value, Fault> {
        // The contract has it without network and credential, at work as in previews.
        let call =
            self.shared.prepare_offline(&self.plugin, Input::Scope(Arc::clone(&scope.section)), &scope.context)?;
        let answered =
            self.shared.run(&self.plugin, "template_data", Arc::clone(&call), Acts::Never, async |pre, store| {
                let manager = ConfigManagerPre::new(pre.clone())?.instantiate_async(&mut *store).await?;
                let scope = store.data_mut().push(ConfigScope)?;
                manager.occopus_config_manager().call_template_data(&mut *store, scope).await
            });
        let data = answered.await?.map_err(|fault| finish(&call, fault_from(fault, SECTION)))?;
        serde_json::from_str(&data).map_err(|error| {
            let message = format!("the template data of the config manager are not JSON: {error}");
            Fault::new(Reaction::GiveUp, "occopus.bad-answer", message)
        })
    }
}
