//! Machines that carry the ownership label of an infrastructure, as their clouds list them.

use std::sync::Arc;
use std::time::Duration;

use super::calls::{self, CallError};
use super::remove::destroy;
use super::{RunContext, TaskError};
use crate::error::{EngineError, FailureReason};
use crate::lease::JournalError;
use crate::ports::{Driver, Fault, OwnedMachine, Phase, Reaction};
use crate::state::{InstanceRecord, digest};

/// Between two looks at a list that shows what it should not: lists may be late.
const LIST_RECHECK_DELAY: Duration = Duration::from_secs(5);

/// Lists the machines of this infrastructure in one cloud, but for those that are gone. None where the cloud can't list, or does
/// not let us.
async fn list_machines(
    world: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    record: &InstanceRecord,
) -> Result<Option<Vec<OwnedMachine>>, CallError> {
    let scope = world.query_scope(record);
    let patience = Duration::from_secs(record.health_check.timeout);
    match calls::list_owned_cancellable(world, driver, &scope, patience).await {
        Ok(machines) => {
            let ours =
                |machine: &OwnedMachine| machine.infrastructure_id == world.id && machine.observed.phase != Phase::Gone;
            Ok(Some(machines.into_iter().filter(ours).collect()))
        }
        Err(CallError::Failed(spent))
            if !matches!(spent.fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) =>
        {
            if spent.fault.reaction != Reaction::Unsupported {
                tracing::warn!(driver = record.driver(), fault = %spent.fault, "machines can't be listed");
            }
            Ok(None)
        }
        Err(ended) => Err(ended),
    }
}

/// Returns why the first machine of a run must not be made: the cloud lists machines of this infrastructure that the store
/// does not know. The store was lost, or is an older copy, and everything would be made a second time.
pub(super) async fn find_conflict(
    world: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    record: &InstanceRecord,
) -> Result<Option<FailureReason>, TaskError> {
    let access = digest(record.section.to_string().as_bytes());
    let Some(compared) = world.known_instances.comparison_cell(access) else { return Ok(None) };
    Ok(compared.get_or_try_init(|| compare_with_store(world, driver, record)).await?.clone())
}

async fn compare_with_store(
    world: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    record: &InstanceRecord,
) -> Result<Option<FailureReason>, TaskError> {
    let mut strange = Vec::new();
    for is_second in [false, true] {
        if is_second && !world.sleep_unless_cancelled(LIST_RECHECK_DELAY).await {
            return Err(TaskError::Cancelled);
        }
        let machines = match list_machines(world, driver, record).await {
            Ok(machines) => machines.unwrap_or_default(),
            Err(CallError::Cancelled) => return Err(TaskError::Cancelled),
            Err(CallError::Failed(spent)) => return Ok(Some(spent.into())),
        };
        strange = match world.known_instances.without_record(machines).await {
            Ok(strange) => strange,
            Err(EngineError::Store { source }) => {
                return Err(TaskError::Journal(JournalError::Store(Arc::new(source))));
            }
            Err(error) => {
                return Ok(Some(creation_failure(Fault::new(Reaction::GiveUp, error.code(), error.to_string()))));
            }
        };
        if strange.is_empty() {
            return Ok(None);
        }
    }
    Ok(Some(creation_failure(unrecorded_fault(world, record, &strange))))
}

/// As the end of a creation that was not begun.
fn creation_failure(fault: Fault) -> FailureReason {
    calls::Attempts::default().failed_call("create", fault).into()
}

fn unrecorded_fault(world: &RunContext, record: &InstanceRecord, strange: &[OwnedMachine]) -> Fault {
    let names: Vec<_> = strange.iter().map(|machine| machine.observed.handle.data.as_str()).take(5).collect();
    let (number, more) = (strange.len(), if strange.len() > names.len() { ", ..." } else { "" });
    let (machines, have) = if number == 1 { ("machine", "has") } else { ("machines", "have") };
    let message = format!(
        "{number} {machines} on {driver} with the label of infrastructure {id} {have} no record in this store ({names}{more}). \
         Was the store lost, or is it an older copy? `destroy -i {id} --orphans FILE` removes what has no record",
        driver = record.driver(),
        id = world.id,
        names = names.join(", "),
    );
    Fault::new(Reaction::Conflict, "engine.unrecorded", message)
}

/// Machines that clouds still list after a removal.
#[derive(Default)]
pub(crate) struct RemainingMachines {
    /// Machines with the label of the infrastructure and no record, each with an instance of the same access to the cloud.
    pub(crate) machines: Vec<(InstanceRecord, OwnedMachine)>,
    /// Why a cloud could not be asked.
    pub(crate) unconfirmed: Option<String>,
}

/// Asks each cloud of these removed instances once for what it still lists. A second machine of one of them is removed, if its
/// driver finds it by the instance's id.
pub(crate) async fn list_remaining(
    world: &Arc<RunContext>,
    removed: &[InstanceRecord],
) -> Result<RemainingMachines, TaskError> {
    let mut accesses = std::collections::BTreeMap::new();
    for record in removed {
        accesses.entry(digest(record.section.to_string().as_bytes())).or_insert(record);
    }
    let mut remains = RemainingMachines::default();
    for record in accesses.into_values() {
        // Without its plugin nothing of it could have been removed.
        let Ok(driver) = calls::driver_for(world, record) else { continue };
        let machines = match list_machines(world, &driver, record).await {
            Ok(machines) => machines.unwrap_or_default(),
            Err(CallError::Cancelled) => return Err(TaskError::Cancelled),
            Err(CallError::Failed(spent)) => {
                remains.unconfirmed = Some(spent.fault.message);
                continue;
            }
        };
        // A list may show for a while what has just been removed; with the same machine it is that one.
        let is_removed = |machine: &OwnedMachine| {
            let handle = Some(&machine.observed.handle);
            removed.iter().any(|record| record.id == machine.instance_id && record.handle.as_ref() == handle)
        };
        for machine in machines.into_iter().filter(|machine| !is_removed(machine)) {
            // The machine of an instance whose outcome was not known is no second one.
            let is_first_known = |record: &&InstanceRecord| record.handle.is_some() && record.id == machine.instance_id;
            let twin = removed.iter().find(is_first_known);
            if let Some(record) = twin
                && remove_twin(world, record, &machine).await?
            {
                continue;
            }
            remains.machines.push((record.clone(), machine));
        }
    }
    Ok(remains)
}

/// Removes a second machine of an instance: a creation that the network delivered twice. False when it is left: then its driver
/// does not find it by the instance's id (a copy that the user has made, labels and all), or could not remove it.
async fn remove_twin(
    world: &Arc<RunContext>,
    record: &InstanceRecord,
    listed: &OwnedMachine,
) -> Result<bool, TaskError> {
    let removed = async {
        let Some(found) = calls::find(world, record).await? else { return Ok(false) };
        if found.handle != listed.observed.handle {
            return Ok(false);
        }
        tracing::warn!(instance = record.id, handle = found.handle.data, "a second machine of it is removed");
        destroy(world, &InstanceRecord { handle: Some(found.handle), ..record.clone() }).await.map(|()| true)
    };
    match removed.await {
        Ok(removed) => Ok(removed),
        Err(CallError::Cancelled) => Err(TaskError::Cancelled),
        Err(CallError::Failed(spent)) => {
            tracing::warn!(instance = record.id, fault = %spent.fault, "a second machine of it could not be removed");
            Ok(false)
        }
    }
}
