//! The sweep: finds machines that carry the ownership label of an infrastructure and have no record.

use std::collections::HashSet;
use std::sync::Arc;

use occopus_model::section_type;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::owned::OwnedInfrastructure;
use crate::act::list_labelled;
use crate::error::{EngineError, FailureReason, NodeFailure};
use crate::id::InfrastructureId;
use crate::ports::{CallContext, CallScope, Phase, Reaction};
use crate::state::load_instances;
use crate::status::Orphan;

/// Finds orphans in the clouds of these `resource` sections, and removes them if `remove`.
pub(super) async fn sweep(
    engine: &Engine,
    id: &InfrastructureId,
    sections: &[Value],
    remove: bool,
) -> Result<Vec<Orphan>, EngineError> {
    // With the lease: an owner that creates machines now would have records of them only soon.
    let (events, _) = mpsc::unbounded_channel();
    let lease = engine.acquire_lease(id, events).await?;
    let outcome = tokio::select! {
        biased;
        () = lease.lost.cancelled() => Err(EngineError::LeaseLost { id: id.into() }),
        outcome = sweep_owned(OwnedInfrastructure { engine, id, lease: &lease }, sections, remove) => outcome,
    };
    lease.revoke().await;
    outcome
}

async fn sweep_owned(
    owned: OwnedInfrastructure<'_>,
    sections: &[Value],
    remove: bool,
) -> Result<Vec<Orphan>, EngineError> {
    let OwnedInfrastructure { engine, id, .. } = owned;
    let known: HashSet<_> = load_instances(&*engine.store, id).await?.into_iter().map(|record| record.id).collect();
    let mut orphans: Vec<Orphan> = Vec::new();
    let mut seen = HashSet::new();
    let ctx = owned.run_context(CancellationToken::new());
    for section in sections {
        let keyword = section_type(section).unwrap_or_default();
        let failed = |reason: FailureReason| {
            let failure = NodeFailure::new(String::new(), "", keyword.to_owned(), None, reason);
            EngineError::Node { failure: Box::new(failure), rolled_back: false, left: Vec::new() }
        };
        let Some(driver) = engine.plugins.driver(keyword) else { continue };
        let context = CallContext {
            infrastructure_id: id.to_string(),
            node: String::new(),
            timeout: engine.settings.mutation_timeout,
            cancel: CancellationToken::new(),
            progress: None,
            preview: false,
        };
        let scope = CallScope { context, section: Arc::new(section.clone()) };
        let machines = list_labelled(&ctx, &driver, &scope, engine.settings.query_timeout).await.map_err(failed)?;
        let ours = machines.into_iter().filter(|machine| *id == *machine.infrastructure_id);
        for machine in ours.filter(|machine| machine.observed.phase != Phase::Gone) {
            let handle = machine.observed.handle.clone();
            let is_new = seen.insert((keyword.to_owned(), handle.data.clone()));
            if !is_new || known.contains(&machine.instance_id) {
                continue;
            }
            let mut orphan = Orphan::from_listed(keyword, machine);
            if remove {
                match driver.destroy(&scope, &handle).await {
                    Ok(()) => orphan.removed = true,
                    Err(fault) if fault.reaction == Reaction::NotFound => orphan.removed = true,
                    Err(fault) => orphan.message = Some(fault.message),
                }
            }
            orphans.push(orphan);
        }
    }
    Ok(orphans)
}
