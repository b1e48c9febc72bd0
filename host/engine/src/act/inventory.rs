//! Machines that carry the ownership label of an infrastructure, as their clouds list them.

use std::sync::Arc;
use std::time::Duration;

use super::calls::{self, Ended};
use super::remove::destroy;
use super::{Trouble, World};
use crate::error::{EngineError, Reason};
use crate::ports::{Driver, Fault, Owned, Phase, Reaction};
use crate::session::Refused;
use crate::state::{InstanceRecord, digest};

/// Between two looks at a list that shows what it should not: lists may be late.
const LATE_LIST: Duration = Duration::from_secs(5);

/// Lists the machines of this infrastructure in one cloud, but for those that are gone. None where the cloud can't list, or does
/// not let us.
async fn list(
    world: &Arc<World>,
    driver: &Arc<dyn Driver>,
    record: &InstanceRecord,
) -> Result<Option<Vec<Owned>>, Ended> {
    let scope = world.short_scope(record);
    let patience = Duration::from_secs(record.health_check.timeout);
    match calls::list_all(world, driver, &scope, patience).await {
        Ok(machines) => {
            let ours = |machine: &Owned| machine.infrastructure_id == world.id && machine.observed.phase != Phase::Gone;
            Ok(Some(machines.into_iter().filter(ours).collect()))
        }
        Err(Ended::Spent(spent)) if !matches!(spent.fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) => {
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
pub(super) async fn conflict(
    world: &Arc<World>,
    driver: &Arc<dyn Driver>,
    record: &InstanceRecord,
) -> Result<Option<Reason>, Trouble> {
    let access = digest(record.section.to_string().as_bytes());
    let Some(compared) = world.inventory.comparison(access) else { return Ok(None) };
    Ok(compared.get_or_try_init(|| compare(world, driver, record)).await?.clone())
}

async fn compare(
    world: &Arc<World>,
    driver: &Arc<dyn Driver>,
    record: &InstanceRecord,
) -> Result<Option<Reason>, Trouble> {
    let mut strange = Vec::new();
    for is_second in [false, true] {
        if is_second && !world.pause(LATE_LIST).await {
            return Err(Trouble::Cancelled);
        }
        let machines = match list(world, driver, record).await {
            Ok(machines) => machines.unwrap_or_default(),
            Err(Ended::Cancelled) => return Err(Trouble::Cancelled),
            Err(Ended::Spent(spent)) => return Ok(Some(spent.into())),
        };
        strange = match world.inventory.unrecorded(machines).await {
            Ok(strange) => strange,
            Err(EngineError::Store { source }) => return Err(Trouble::Refused(Refused::Store(Arc::new(source)))),
            Err(error) => return Ok(Some(once(Fault::new(Reaction::GiveUp, error.code(), error.to_string())))),
        };
        if strange.is_empty() {
            return Ok(None);
        }
    }
    Ok(Some(once(unrecorded(world, record, &strange))))
}

/// As the end of a creation that was not begun.
fn once(fault: Fault) -> Reason {
    calls::Tries::default().spent("create", fault).into()
}

fn unrecorded(world: &World, record: &InstanceRecord, strange: &[Owned]) -> Fault {
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
pub(crate) struct Remains {
    /// Machines with the label of the infrastructure and no record, each with an instance of the same access to the cloud.
    pub(crate) machines: Vec<(InstanceRecord, Owned)>,
    /// Why a cloud could not be asked.
    pub(crate) unconfirmed: Option<String>,
}

/// Asks each cloud of these removed instances once for what it still lists. A second machine of one of them is removed, if its
/// driver finds it by the instance's id.
pub(crate) async fn remains(world: &Arc<World>, removed: &[InstanceRecord]) -> Result<Remains, Trouble> {
    let mut accesses = std::collections::BTreeMap::new();
    for record in removed {
        accesses.entry(digest(record.section.to_string().as_bytes())).or_insert(record);
    }
    let mut remains = Remains::default();
    for record in accesses.into_values() {
        // Without its plugin nothing of it could have been removed.
        let Ok(driver) = calls::driver(world, record) else { continue };
        let machines = match list(world, &driver, record).await {
            Ok(machines) => machines.unwrap_or_default(),
            Err(Ended::Cancelled) => return Err(Trouble::Cancelled),
            Err(Ended::Spent(spent)) => {
                remains.unconfirmed = Some(spent.fault.message);
                continue;
            }
        };
        // A list may show for a while what has just been removed; with the same machine it is that one.
        let is_removed = |machine: &Owned| {
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
async fn remove_twin(world: &Arc<World>, record: &InstanceRecord, listed: &Owned) -> Result<bool, Trouble> {
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
        Err(Ended::Cancelled) => Err(Trouble::Cancelled),
        Err(Ended::Spent(spent)) => {
            tracing::warn!(instance = record.id, fault = %spent.fault, "a second machine of it could not be removed");
            Ok(false)
        }
    }
}
