//! Drivers, for the engine.

use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::{
    CallScope, CreateRequest, Driver, Fault, Handle, LabelledMachine, LabelledPage, MAX_OUTPUT_BYTES, ObservedMachine,
    Preflight, Reaction,
};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::bindings::driver::exports::occopus::driver::{inventory, nodes, output, preflight};
use crate::calls::RuntimeCore;
use crate::convert::{detail_from_wit, fault_from_wit, handle_to_wit, observed_from_wit};
use crate::host::{CallInput, HostState, NodeRequestHandle, ScopeHandle};
use crate::invoke::{SideEffects, finish_fault};
use crate::plugin::Plugin;
use crate::sanitize;

/// Pointer to a driver's section within an implementation.
const SECTION_POINTER: &str = "/resource";

/// Bytes of an id in a list: a foreign machine may carry any text.
const MAX_ID_BYTES: usize = 256;
/// Bytes of the cursor of a list.
const MAX_CURSOR_BYTES: usize = 64 << 10;
/// Bytes of a machine's output that are searched for secrets: more than are kept, since redaction may shorten the text.
const MAX_SEARCHED_OUTPUT_BYTES: usize = 64 * MAX_OUTPUT_BYTES;
/// Number of details of one check.
const MAX_CHECK_DETAILS: usize = 256;

pub(crate) struct SandboxedDriver {
    pub(crate) shared: Arc<RuntimeCore>,
    pub(crate) plugin: Arc<Plugin>,
}

/// Creates an instance and returns its `nodes`. The host treats the worlds with and without `inventory` alike.
async fn instantiate_nodes(
    pre: &InstancePre<HostState>,
    store: &mut Store<HostState>,
) -> wasmtime::Result<(Instance, nodes::Guest)> {
    let indices = nodes::GuestIndices::new(pre)?;
    let instance = pre.instantiate_async(&mut *store).await?;
    let guest = indices.load(&mut *store, &instance)?;
    Ok((instance, guest))
}

#[async_trait]
impl Driver for SandboxedDriver {
    async fn create(&self, request: &CreateRequest) -> Result<ObservedMachine, Fault> {
        let call = self.shared.prepare(&self.plugin, CallInput::Node(request.clone()), &request.scope.context).await?;
        let created =
            self.shared.run(&self.plugin, "create", Arc::clone(&call), SideEffects::Possible, async |pre, store| {
                let (_, nodes) = instantiate_nodes(pre, store).await?;
                let request = store.data_mut().push(NodeRequestHandle)?;
                nodes.call_create(&mut *store, request).await
            });
        let created = created.await?.map_err(|fault| finish_fault(&call, fault_from_wit(fault, SECTION_POINTER)))?;
        observed_from_wit(&call, created)
    }

    async fn find(&self, scope: &CallScope, instance_id: &str) -> Result<Option<ObservedMachine>, Fault> {
        let call =
            self.shared.prepare(&self.plugin, CallInput::Section(Arc::clone(&scope.section)), &scope.context).await?;
        let found = self.shared.run(&self.plugin, "find", Arc::clone(&call), SideEffects::None, async |pre, store| {
            let (_, nodes) = instantiate_nodes(pre, store).await?;
            let scope = store.data_mut().push(ScopeHandle)?;
            nodes.call_find(&mut *store, scope, instance_id).await
        });
        let found = found.await?.map_err(|fault| finish_fault(&call, fault_from_wit(fault, SECTION_POINTER)))?;
        found.map(|observed| observed_from_wit(&call, observed)).transpose().map_err(as_retryable)
    }

    async fn observe(&self, scope: &CallScope, handles: &[Handle]) -> Result<Vec<ObservedMachine>, Fault> {
        if handles.is_empty() {
            return Ok(Vec::new());
        }
        let call =
            self.shared.prepare(&self.plugin, CallInput::Section(Arc::clone(&scope.section)), &scope.context).await?;
        let given: Vec<_> = handles.iter().map(handle_to_wit).collect();
        let observed =
            self.shared.run(&self.plugin, "observe", Arc::clone(&call), SideEffects::None, async |pre, store| {
                let (_, nodes) = instantiate_nodes(pre, store).await?;
                let scope = store.data_mut().push(ScopeHandle)?;
                nodes.call_observe(&mut *store, scope, &given).await
            });
        let observed = observed.await?.map_err(|fault| finish_fault(&call, fault_from_wit(fault, SECTION_POINTER)))?;
        if observed.len() != handles.len() {
            let message = format!("the driver returned {} observations for {} machines", observed.len(), handles.len());
            return Err(Fault::new(Reaction::Retry, "occopus.bad-answer", message));
        }
        observed
            .into_iter()
            .map(|observed| observed_from_wit(&call, observed))
            .collect::<Result<_, _>>()
            .map_err(as_retryable)
    }

    async fn destroy(&self, scope: &CallScope, handle: &Handle) -> Result<(), Fault> {
        let call =
            self.shared.prepare(&self.plugin, CallInput::Section(Arc::clone(&scope.section)), &scope.context).await?;
        let given = handle_to_wit(handle);
        let destroyed =
            self.shared.run(&self.plugin, "destroy", Arc::clone(&call), SideEffects::Possible, async |pre, store| {
                let (_, nodes) = instantiate_nodes(pre, store).await?;
                let scope = store.data_mut().push(ScopeHandle)?;
                nodes.call_destroy(&mut *store, scope, &given).await
            });
        destroyed.await?.map_err(|fault| finish_fault(&call, fault_from_wit(fault, SECTION_POINTER)))
    }

    async fn list_owned(&self, scope: &CallScope, cursor: Option<&str>) -> Result<LabelledPage, Fault> {
        let call =
            self.shared.prepare(&self.plugin, CallInput::Section(Arc::clone(&scope.section)), &scope.context).await?;
        let page =
            self.shared.run(&self.plugin, "list_owned", Arc::clone(&call), SideEffects::None, async |pre, store| {
                // Optional interface, looked up by name.
                let Ok(indices) = inventory::GuestIndices::new(pre) else { return Ok(None) };
                let instance = pre.instantiate_async(&mut *store).await?;
                let guest = indices.load(&mut *store, &instance)?;
                let scope = store.data_mut().push(ScopeHandle)?;
                guest.call_list_owned(&mut *store, scope, cursor).await.map(Some)
            });
        let Some(page) = page.await? else {
            let message = format!("the driver `{}` can't list its machines", call.plugin);
            return Err(Fault::new(Reaction::Unsupported, "driver.no-inventory", message));
        };
        let page = page.map_err(|fault| finish_fault(&call, fault_from_wit(fault, SECTION_POINTER)))?;
        let owned = |machine: inventory::Owned| {
            Ok(LabelledMachine {
                instance_id: call.sanitized(&machine.instance_id, MAX_ID_BYTES),
                infrastructure_id: call.sanitized(&machine.infrastructure_id, MAX_ID_BYTES),
                observed: observed_from_wit(&call, machine.observed)?,
            })
        };
        if let Some(long) = page.cursor.as_ref().filter(|cursor| cursor.len() > MAX_CURSOR_BYTES) {
            let message =
                format!("the cursor of a list has {} bytes; at most {MAX_CURSOR_BYTES} are allowed", long.len());
            return Err(Fault::new(Reaction::Retry, "occopus.bad-answer", message));
        }
        let machines = page.machines.into_iter().map(owned).collect::<Result<_, _>>().map_err(as_retryable)?;
        Ok(LabelledPage { machines, cursor: page.cursor })
    }

    async fn check(&self, request: &CreateRequest) -> Result<Preflight, Fault> {
        let call =
            self.shared.prepare_offline(&self.plugin, CallInput::Node(request.clone()), &request.scope.context).await?;
        let found = self.shared.run(&self.plugin, "check", Arc::clone(&call), SideEffects::None, async |pre, store| {
            // Optional interface, looked up by name.
            let Ok(indices) = preflight::GuestIndices::new(pre) else { return Ok(Vec::new()) };
            let instance = pre.instantiate_async(&mut *store).await?;
            let guest = indices.load(&mut *store, &instance)?;
            let request = store.data_mut().push(NodeRequestHandle)?;
            guest.call_check(&mut *store, request).await
        });
        let mut refusals: Vec<_> =
            found.await?.into_iter().map(|detail| detail_from_wit(detail, SECTION_POINTER)).collect();
        refusals.truncate(MAX_CHECK_DETAILS);
        refusals.iter_mut().for_each(|detail| sanitize::detail(&call, detail));
        Ok(Preflight { refusals, warnings: call.take_warnings(SECTION_POINTER) })
    }

    async fn tail(&self, scope: &CallScope, handle: &Handle, lines: u32) -> Result<String, Fault> {
        let call =
            self.shared.prepare(&self.plugin, CallInput::Section(Arc::clone(&scope.section)), &scope.context).await?;
        let given = handle_to_wit(handle);
        let answer = self.shared.run(&self.plugin, "tail", Arc::clone(&call), SideEffects::None, async |pre, store| {
            // Optional interface, looked up by name.
            let Ok(indices) = output::GuestIndices::new(pre) else { return Ok(None) };
            let instance = pre.instantiate_async(&mut *store).await?;
            let guest = indices.load(&mut *store, &instance)?;
            let scope = store.data_mut().push(ScopeHandle)?;
            guest.call_tail(&mut *store, scope, &given, lines).await.map(Some)
        });
        let Some(answer) = answer.await? else {
            let message = format!("the driver `{}` keeps no output of its machines", call.plugin);
            return Err(Fault::new(Reaction::Unsupported, "driver.no-output", message));
        };
        let text = answer.map_err(|fault| finish_fault(&call, fault_from_wit(fault, SECTION_POINTER)))?;
        let text = match &call.secrets {
            Some(secrets) => secrets.redact_suffix(&text, MAX_SEARCHED_OUTPUT_BYTES),
            None => text,
        };
        Ok(last_lines(&text, lines as usize).to_owned())
    }
}

/// Turns the fault of an unusable answer into a retryable one, for calls that change nothing.
fn as_retryable(fault: Fault) -> Fault {
    Fault { reaction: Reaction::Retry, ..fault }
}

/// Returns the end of a text: at most `lines` lines, and at most [`MAX_OUTPUT_BYTES`].
fn last_lines(text: &str, lines: usize) -> &str {
    let text = text.trim_end_matches('\n');
    let from = text.rmatch_indices('\n').nth(lines.saturating_sub(1)).map_or(0, |(at, _)| at + 1);
    let from = from.max(text.len().saturating_sub(MAX_OUTPUT_BYTES));
    (from..=text.len()).find_map(|at| text.get(at..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{MAX_OUTPUT_BYTES, last_lines};

    #[test]
    fn output_is_cut_at_its_beginning() {
        assert_eq!(last_lines("one\ntwo\nthree\n", 2), "two\nthree");
        assert_eq!(last_lines("one\ntwo\n", 5), "one\ntwo");
        assert_eq!(last_lines("", 5), "");
        let long = "ä".repeat(MAX_OUTPUT_BYTES);
        assert!(last_lines(&long, 5).len() <= MAX_OUTPUT_BYTES);
        assert!(last_lines(&long, 5).len() > MAX_OUTPUT_BYTES - 2);
    }
}
