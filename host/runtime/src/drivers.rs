//! Drivers, for the engine.

use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::{
    CreateRequest, Detail, Driver, Fault, Handle, OUTPUT_BYTES, Observed, Owned, OwnedPage, Reaction, Scope,
};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::bindings::driver::exports::occopus::driver::{inventory, nodes, output, preflight};
use crate::convert::{detail_from, fault_from, handle_to, observed_from};
use crate::host::{Input, NodeRequest, Scope as ScopeHandle, State};
use crate::invoke::{Acts, finish};
use crate::leaving;
use crate::plugin::Plugin;
use crate::runtime::Shared;

/// Where the section of a driver stands in an implementation.
const SECTION: &str = "/resource";

/// Bytes of an id that somebody else's machine may carry.
const LONGEST_ID: usize = 256;
/// Bytes by which a driver knows how far a list was read.
const LONGEST_CURSOR: usize = 64 << 10;
/// Bytes of a machine's output in which secrets are searched for. There may be less to keep once they are taken out.
const SEARCHED: usize = 64 * OUTPUT_BYTES;
/// Details of one check.
const MOST_FOUND: usize = 256;

pub(crate) struct SandboxedDriver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) plugin: Arc<Plugin>,
}

/// `nodes` of a fresh instance. The worlds with and without `inventory` are one to the host.
async fn instantiate(pre: &InstancePre<State>, store: &mut Store<State>) -> wasmtime::Result<(Instance, nodes::Guest)> {
    let indices = nodes::GuestIndices::new(pre)?;
    let instance = pre.instantiate_async(&mut *store).await?;
    let guest = indices.load(&mut *store, &instance)?;
    Ok((instance, guest))
}

#[async_trait]
impl Driver for SandboxedDriver {
    async fn create(&self, request: &CreateRequest) -> Result<Observed, Fault> {
        let call = self.shared.prepare(&self.plugin, Input::Node(request.clone()), &request.scope.context)?;
        let created = self.shared.run(&self.plugin, "create", Arc::clone(&call), Acts::Maybe, async |pre, store| {
            let (_, nodes) = instantiate(pre, store).await?;
            let request = store.data_mut().push(NodeRequest)?;
            nodes.call_create(&mut *store, request).await
        });
        let created = created.await?.map_err(|fault| finish(&call, fault_from(fault, SECTION)))?;
        observed_from(&call, created)
    }

    async fn find(&self, scope: &Scope, instance_id: &str) -> Result<Option<Observed>, Fault> {
        let call = self.shared.prepare(&self.plugin, Input::Scope(Arc::clone(&scope.section)), &scope.context)?;
        let found = self.shared.run(&self.plugin, "find", Arc::clone(&call), Acts::Never, async |pre, store| {
            let (_, nodes) = instantiate(pre, store).await?;
            let scope = store.data_mut().push(ScopeHandle)?;
            nodes.call_find(&mut *store, scope, instance_id).await
        });
        let found = found.await?.map_err(|fault| finish(&call, fault_from(fault, SECTION)))?;
        found.map(|observed| observed_from(&call, observed)).transpose().map_err(only_seen)
    }

    async fn observe(&self, scope: &Scope, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        if handles.is_empty() {
            return Ok(Vec::new());
        }
        let call = self.shared.prepare(&self.plugin, Input::Scope(Arc::clone(&scope.section)), &scope.context)?;
        let given: Vec<_> = handles.iter().map(handle_to).collect();
        let observed = self.shared.run(&self.plugin, "observe", Arc::clone(&call), Acts::Never, async |pre, store| {
            let (_, nodes) = instantiate(pre, store).await?;
            let scope = store.data_mut().push(ScopeHandle)?;
            nodes.call_observe(&mut *store, scope, &given).await
        });
        let observed = observed.await?.map_err(|fault| finish(&call, fault_from(fault, SECTION)))?;
        if observed.len() != handles.len() {
            let message = format!("the driver answered about {} machines of {}", observed.len(), handles.len());
            return Err(Fault::new(Reaction::Retry, "occopus.bad-answer", message));
        }
        observed.into_iter().map(|observed| observed_from(&call, observed)).collect::<Result<_, _>>().map_err(only_seen)
    }

    async fn destroy(&self, scope: &Scope, handle: &Handle) -> Result<(), Fault> {
        let call = self.shared.prepare(&self.plugin, Input::Scope(Arc::clone(&scope.section)), &scope.context)?;
        let given = handle_to(handle);
        let destroyed = self.shared.run(&self.plugin, "destroy", Arc::clone(&call), Acts::Maybe, async |pre, store| {
            let (_, nodes) = instantiate(pre, store).await?;
            let scope = store.data_mut().push(ScopeHandle)?;
            nodes.call_destroy(&mut *store, scope, &given).await
        });
        destroyed.await?.map_err(|fault| finish(&call, fault_from(fault, SECTION)))
    }

    async fn list_owned(&self, scope: &Scope, cursor: Option<&str>) -> Result<OwnedPage, Fault> {
        let call = self.shared.prepare(&self.plugin, Input::Scope(Arc::clone(&scope.section)), &scope.context)?;
        let page = self.shared.run(&self.plugin, "list_owned", Arc::clone(&call), Acts::Never, async |pre, store| {
            // Optional: looked for by name.
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
        let page = page.map_err(|fault| finish(&call, fault_from(fault, SECTION)))?;
        let owned = |machine: inventory::Owned| {
            Ok(Owned {
                instance_id: call.told(&machine.instance_id, LONGEST_ID),
                infrastructure_id: call.told(&machine.infrastructure_id, LONGEST_ID),
                observed: observed_from(&call, machine.observed)?,
            })
        };
        if let Some(long) = page.cursor.as_ref().filter(|cursor| cursor.len() > LONGEST_CURSOR) {
            let message = format!("the cursor of a list has {} bytes; {LONGEST_CURSOR} are the most", long.len());
            return Err(Fault::new(Reaction::Retry, "occopus.bad-answer", message));
        }
        let machines = page.machines.into_iter().map(owned).collect::<Result<_, _>>().map_err(only_seen)?;
        Ok(OwnedPage { machines, cursor: page.cursor })
    }

    async fn check(&self, request: &CreateRequest) -> Result<Vec<Detail>, Fault> {
        let call = self.shared.prepare_offline(&self.plugin, Input::Node(request.clone()), &request.scope.context)?;
        let found = self.shared.run(&self.plugin, "check", Arc::clone(&call), Acts::Never, async |pre, store| {
            // Optional: looked for by name.
            let Ok(indices) = preflight::GuestIndices::new(pre) else { return Ok(Vec::new()) };
            let instance = pre.instantiate_async(&mut *store).await?;
            let guest = indices.load(&mut *store, &instance)?;
            let request = store.data_mut().push(NodeRequest)?;
            guest.call_check(&mut *store, request).await
        });
        let mut found: Vec<_> = found.await?.into_iter().map(|detail| detail_from(detail, SECTION)).collect();
        found.truncate(MOST_FOUND);
        found.iter_mut().for_each(|detail| leaving::detail(&call, detail));
        Ok(found)
    }

    async fn tail(&self, scope: &Scope, handle: &Handle, lines: u32) -> Result<String, Fault> {
        let call = self.shared.prepare(&self.plugin, Input::Scope(Arc::clone(&scope.section)), &scope.context)?;
        let given = handle_to(handle);
        let answer = self.shared.run(&self.plugin, "tail", Arc::clone(&call), Acts::Never, async |pre, store| {
            // Optional: looked for by name.
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
        let text = answer.map_err(|fault| finish(&call, fault_from(fault, SECTION)))?;
        let text = match &call.secrets {
            Some(secrets) => secrets.redact_end(&text, SEARCHED),
            None => text,
        };
        Ok(last_lines(&text, lines as usize).to_owned())
    }
}

/// An answer that can't be kept, of a call that changed nothing.
fn only_seen(fault: Fault) -> Fault {
    Fault { reaction: Reaction::Retry, ..fault }
}

/// The end of a text: at most so many lines, and at most [`OUTPUT_BYTES`].
fn last_lines(text: &str, lines: usize) -> &str {
    let text = text.trim_end_matches('\n');
    let from = text.rmatch_indices('\n').nth(lines.saturating_sub(1)).map_or(0, |(at, _)| at + 1);
    let from = from.max(text.len().saturating_sub(OUTPUT_BYTES));
    (from..=text.len()).find_map(|at| text.get(at..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{OUTPUT_BYTES, last_lines};

    #[test]
    fn output_is_cut_at_its_beginning() {
        assert_eq!(last_lines("one\ntwo\nthree\n", 2), "two\nthree");
        assert_eq!(last_lines("one\ntwo\n", 5), "one\ntwo");
        assert_eq!(last_lines("", 5), "");
        let long = "ä".repeat(OUTPUT_BYTES);
        assert!(last_lines(&long, 5).len() <= OUTPUT_BYTES);
        assert!(last_lines(&long, 5).len() > OUTPUT_BYTES - 2);
    }
}
