//! Cost of the sandbox, for benchmarks: the call that every other one is compared with.

use std::time::{Duration, Instant};

use occopus_engine::ports::{ContextRequest, Fault, Reaction};
use wasmtime::component::Resource;

use crate::bindings::context::ContextualiserPre;
use crate::convert::fault_from_wit;
use crate::host::{CallInput, ContextRequestHandle};
use crate::invoke::{SideEffects, finish_fault};
use crate::kind::PluginKind;
use crate::runtime::Runtime;

impl Runtime {
    /// Renders `times` times on one instance, and returns the duration of each. Outside of benchmarks no instance is
    /// used twice.
    ///
    /// # Errors
    /// Fails if there is no such contextualiser, or with its fault.
    pub async fn render_on_one_instance(
        &self,
        keyword: &str,
        request: &ContextRequest,
        times: usize,
    ) -> Result<Vec<Duration>, Fault> {
        let missing = || Fault::new(Reaction::GiveUp, "occopus.no-plugin", format!("no contextualiser `{keyword}`"));
        let plugin = self.plugin(PluginKind::Contextualiser, keyword).ok_or_else(missing)?;
        let call = self.shared.prepare(&plugin, CallInput::Context(request.clone()), &request.context).await?;
        let measured =
            self.shared.run(&plugin, "find", std::sync::Arc::clone(&call), SideEffects::None, async |pre, store| {
                let contextualiser = ContextualiserPre::new(pre.clone())?.instantiate_async(&mut *store).await?;
                let request: Resource<ContextRequestHandle> = store.data_mut().push(ContextRequestHandle)?;
                let mut measured = Vec::with_capacity(times);
                for _ in 0..times {
                    let began = Instant::now();
                    let request = Resource::new_borrow(request.rep());
                    let rendered = contextualiser.occopus_context_renderer().call_render(&mut *store, request).await?;
                    measured.push(began.elapsed());
                    if let Err(fault) = rendered {
                        return Ok(Err(fault));
                    }
                }
                Ok(Ok(measured))
            });
        measured.await?.map_err(|fault| finish_fault(&call, fault_from_wit(fault, "/contextualisation")))
    }
}

/// Search for a value in an answer that comes in pieces, as in each answer to a call with a credential.
pub struct AnswerSearch(std::sync::Arc<crate::secrets::SecretPatterns>);

impl AnswerSearch {
    /// Creates the search for a value; none if the value is too short for it.
    pub fn new(value: &str) -> Option<Self> {
        let value = zeroize::Zeroizing::new(value.to_owned());
        let secrets =
            crate::secrets::CallSecrets::new([("value".to_owned(), value)], std::collections::BTreeSet::new());
        secrets.answer_patterns().map(|patterns| Self(std::sync::Arc::clone(patterns)))
    }

    /// Returns the answer as the plugin reads it, in pieces of `piece` bytes.
    pub fn read(&self, answer: &[u8], piece: usize) -> Vec<u8> {
        let mut masker = crate::secrets::StreamMasker::new();
        let mut read = Vec::with_capacity(answer.len());
        for piece in answer.chunks(piece) {
            read.extend_from_slice(&masker.feed(&self.0, piece));
        }
        read.extend_from_slice(&masker.finish(&self.0, b""));
        read
    }
}
