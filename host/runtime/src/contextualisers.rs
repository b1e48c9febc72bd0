//! Contextualisers, for the engine.

use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::{ContextRequest, Contextualiser, Fault, Reaction, Rendered};
use serde_json::Value;

use crate::bindings::context::ContextualiserPre;
use crate::calls::RuntimeCore;
use crate::convert::fault_from_wit;
use crate::host::{CallInput, ContextRequestHandle};
use crate::invoke::{SideEffects, finish_fault};
use crate::plugin::Plugin;

/// Pointer to the section within an implementation.
const SECTION_POINTER: &str = "/contextualisation";

pub(crate) struct SandboxedContextualiser {
    pub(crate) shared: Arc<RuntimeCore>,
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) mode: CallMode,
}

/// Network access of a contextualiser's calls.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CallMode {
    /// Targets that the operator grants; usually none.
    Granted,
    /// Access to nothing, whatever is granted.
    Offline,
}

fn parse_json(part: &str, text: &str) -> Result<Value, Fault> {
    serde_json::from_str(text).map_err(|error| {
        Fault::new(Reaction::GiveUp, "occopus.bad-answer", format!("the contextualiser's {part} are not JSON: {error}"))
    })
}

#[async_trait]
impl Contextualiser for SandboxedContextualiser {
    async fn render(&self, request: &ContextRequest) -> Result<Rendered, Fault> {
        let input = CallInput::Context(request.clone());
        let call = match self.mode {
            CallMode::Granted => self.shared.prepare(&self.plugin, input, &request.context).await?,
            CallMode::Offline => self.shared.prepare_offline(&self.plugin, input, &request.context).await?,
        };
        let rendered =
            self.shared.run(&self.plugin, "render", Arc::clone(&call), SideEffects::None, async |pre, store| {
                let contextualiser = ContextualiserPre::new(pre.clone())?.instantiate_async(&mut *store).await?;
                let request = store.data_mut().push(ContextRequestHandle)?;
                contextualiser.occopus_context_renderer().call_render(&mut *store, request).await
            });
        let rendered = rendered.await?.map_err(|fault| finish_fault(&call, fault_from_wit(fault, SECTION_POINTER)))?;
        let resource = rendered.sections.iter().find(|(name, _)| name == "resource");
        Ok(Rendered {
            user_data: rendered.user_data,
            attributes: parse_json("attributes", &rendered.attributes)?,
            resource: resource.map(|(_, text)| parse_json("sections", text)).transpose()?,
            warnings: call.take_warnings(SECTION_POINTER),
        })
    }

    fn is_bundled(&self) -> bool {
        self.plugin.binary.is_bundled()
    }
}
