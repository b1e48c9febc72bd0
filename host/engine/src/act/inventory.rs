//! Lists of the machines that carry the ownership label of an infrastructure, compared with its records.

use std::sync::Arc;
use std::time::Duration;

use super::calls::{self, CallError};
use super::remove::destroy;
use super::{RunContext, TaskError};
use crate::error::{EngineError, FailureReason};
use crate::lease::JournalError;
use crate::ports::{Driver, Fault, LabelledMachine, Phase, Reaction};
use crate::state::{InstanceRecord, digest};

/// Pause before a list with unrecorded machines is fetched again, since lists may be late.
const LIST_RECHECK_DELAY: Duration = Duration::from_secs(5);

/// Lists the machines of this infrastructure in one cloud, without those that are gone. `None` if the cloud does not
/// support or does not permit it.
async fn list_machines(
    ctx: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    record: &InstanceRecord,
) -> Result<Option<Vec<LabelledMachine>>, CallError> {
    let scope = ctx.query_scope(record);
    let timeout = Duration::from_secs(record.health_check.timeout);
    match calls::list_labelled_cancellable(ctx, driver, &scope, timeout).await {
        Ok(machines) => {
            let ours = |machine: &LabelledMachine| {
                machine.infrastructure_id == ctx.id && machine.observed.phase != Phase::Gone
            };
            Ok(Some(machines.into_iter().filter(ours).collect()))
        }
        Err(CallError::Failed(failed))
            if !matches!(failed.fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) =>
        {
            if failed.fault.reaction != Reaction::Unsupported {
                tracing::warn!(driver = record.driver(), fault = %failed.fault, "cannot list machines");
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Returns the reason why the first machine of a run must not be created: the cloud lists machines of this
/// infrastructure that have no record. The store was lost, or is an older copy, and every machine would be created a
/// second time.
pub(super) async fn find_conflict(
    ctx: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    record: &InstanceRecord,
) -> Result<Option<FailureReason>, TaskError> {
    let access = digest(record.section.to_string().as_bytes());
    let Some(cell) = ctx.known_instances.comparison_cell(access) else { return Ok(None) };
    Ok(cell.get_or_try_init(|| compare_with_store(ctx, driver, record)).await?.clone())
}

async fn compare_with_store(
    ctx: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    record: &InstanceRecord,
) -> Result<Option<FailureReason>, TaskError> {
    let mut unrecorded = Vec::new();
    for is_second in [false, true] {
        if is_second && !ctx.sleep_unless_cancelled(LIST_RECHECK_DELAY).await {
            return Err(TaskError::Cancelled);
        }
        let machines = match list_machines(ctx, driver, record).await {
            Ok(machines) => machines.unwrap_or_default(),
            Err(CallError::Cancelled) => return Err(TaskError::Cancelled),
            Err(CallError::Failed(failed)) => return Ok(Some(failed.into())),
        };
        unrecorded = match ctx.known_instances.without_record(machines).await {
            Ok(unrecorded) => unrecorded,
            Err(EngineError::Store { source }) => {
                return Err(TaskError::Journal(JournalError::Store(Arc::new(source))));
            }
            Err(error) => {
                return Ok(Some(creation_failure(Fault::new(Reaction::GiveUp, error.code(), error.to_string()))));
            }
        };
        if unrecorded.is_empty() {
            return Ok(None);
        }
    }
    Ok(Some(creation_failure(unrecorded_fault(ctx, record, &unrecorded))))
}

/// Returns a fault as the failure of a creation that was not begun.
fn creation_failure(fault: Fault) -> FailureReason {
    calls::Attempts::default().failed_call("create", fault).into()
}

fn unrecorded_fault(ctx: &RunContext, record: &InstanceRecord, unrecorded: &[LabelledMachine]) -> Fault {
    let names: Vec<_> = unrecorded.iter().map(|machine| machine.observed.handle.data.as_str()).take(5).collect();
    let (number, more) = (unrecorded.len(), if unrecorded.len() > names.len() { ", ..." } else { "" });
    let (machines, have) = if number == 1 { ("machine", "has") } else { ("machines", "have") };
    let message = format!(
        "{number} {machines} on {driver} with the label of infrastructure {id} {have} no record in this store ({names}{more}). \
         Was the store lost, or is it an older copy? `destroy -i {id} --orphans FILE` removes machines without a record",
        driver = record.driver(),
        id = ctx.id,
        names = names.join(", "),
    );
    Fault::new(Reaction::Conflict, "engine.unrecorded", message)
}

/// Machines that clouds still list after a removal.
#[derive(Default)]
pub(crate) struct RemainingMachines {
    /// Machines with the label of the infrastructure and no record, each with an instance of the same access to the cloud.
    pub(crate) machines: Vec<(InstanceRecord, LabelledMachine)>,
    /// Reason why a cloud could not be called.
    pub(crate) unconfirmed: Option<String>,
}

/// Lists once, in each cloud of these removed instances, the machines that remain. A twin of one of them is removed if
/// its driver finds it by the instance's id.
pub(crate) async fn list_remaining(
    ctx: &Arc<RunContext>,
    removed: &[InstanceRecord],
) -> Result<RemainingMachines, TaskError> {
    let mut accesses = std::collections::BTreeMap::new();
    for record in removed {
        accesses.entry(digest(record.section.to_string().as_bytes())).or_insert(record);
    }
    let mut remaining = RemainingMachines::default();
    for record in accesses.into_values() {
        // Without its plugin no instance of it can have been removed.
        let Ok(driver) = calls::driver_for(ctx, record) else { continue };
        let machines = match list_machines(ctx, &driver, record).await {
            Ok(machines) => machines.unwrap_or_default(),
            Err(CallError::Cancelled) => return Err(TaskError::Cancelled),
            Err(CallError::Failed(failed)) => {
                remaining.unconfirmed = Some(failed.fault.message);
                continue;
            }
        };
        // A list may show a removed machine for a while; the same handle means the same machine.
        let is_removed = |machine: &LabelledMachine| {
            let handle = Some(&machine.observed.handle);
            removed.iter().any(|record| record.id == machine.instance_id && record.handle.as_ref() == handle)
        };
        for machine in machines.into_iter().filter(|machine| !is_removed(machine)) {
            // The machine of an instance with an unresolved outcome is not a twin.
            let is_first_known = |record: &&InstanceRecord| record.handle.is_some() && record.id == machine.instance_id;
            let twin = removed.iter().find(is_first_known);
            if let Some(record) = twin
                && remove_twin(ctx, record, &machine).await?
            {
                continue;
            }
            remaining.machines.push((record.clone(), machine));
        }
    }
    Ok(remaining)
}

/// Removes a twin of an instance, left by a creation that the network delivered twice. Returns false if it remains: its
/// driver does not find it by the instance's id (a copy that the user made, labels included), or could not remove it.
async fn remove_twin(
    ctx: &Arc<RunContext>,
    record: &InstanceRecord,
    listed: &LabelledMachine,
) -> Result<bool, TaskError> {
    let removed = async {
        let Some(found) = calls::find(ctx, record).await? else { return Ok(false) };
        if found.handle != listed.observed.handle {
            return Ok(false);
        }
        tracing::warn!(instance = record.id, handle = found.handle.data, "removing a second machine of one instance");
        destroy(ctx, &InstanceRecord { handle: Some(found.handle), ..record.clone() }).await.map(|()| true)
    };
    match removed.await {
        Ok(removed) => Ok(removed),
        Err(CallError::Cancelled) => Err(TaskError::Cancelled),
        Err(CallError::Failed(failed)) => {
            tracing::warn!(instance = record.id, fault = %failed.fault, "cannot remove a second machine of one instance");
            Ok(false)
        }
    }
}
