//! Removing instances for good, confirmed by what their clouds list afterwards.

use std::collections::HashSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::act::{Remains, Removal, Trouble, World, remains, remove};
use crate::dispatch::{Ending, Lowered, lower};
use crate::request::Stop;
use crate::state::InstanceRecord;
use crate::status::Orphan;

/// What came of it.
pub(super) struct Removed {
    pub(super) lowered: Lowered,
    /// Machines with the label of the infrastructure that no record speaks of.
    pub(super) strange: Vec<Orphan>,
    /// Why it could not be confirmed that nothing is left.
    pub(super) unconfirmed: Option<String>,
}

/// Removes instances, dependents first. Then their clouds are asked once more: a request that was delivered twice or late has
/// made a machine that nobody knows of. What carries the id of a removed instance is removed too; what carries an id that is
/// not known is only reported, since it may belong to another store.
pub(super) async fn remove_all(
    world: &Arc<World>,
    records: Vec<InstanceRecord>,
    stop: &Stop,
    lost: &CancellationToken,
) -> Removed {
    let asked: Vec<_> = records.iter().filter(|record| !record.has_no_machine()).cloned().collect();
    let lowered = lower(world, records, stop, lost).await;
    let mut removed = Removed { lowered, strange: Vec::new(), unconfirmed: None };
    if !matches!(removed.lowered.ending, Ending::Done) {
        return removed;
    }
    let left: HashSet<_> = removed.lowered.left.iter().map(|left| left.instance.as_str()).collect();
    let gone: Vec<_> = asked.into_iter().filter(|record| !left.contains(record.id.as_str())).collect();
    let confirmed = tokio::select! {
        biased;
        () = lost.cancelled() => return removed,
        () = stop.orderly.cancelled() => return unconfirmed(removed, "stopped"),
        confirmed = remains(world, &gone) => confirmed,
    };
    let Remains { doubles, strange, unconfirmed: why } = match confirmed {
        Ok(remains) => remains,
        Err(_) => return unconfirmed(removed, "stopped"),
    };
    removed.unconfirmed = why;
    removed.strange = strange.into_iter().map(|(record, machine)| Orphan::of(record.driver(), machine)).collect();
    for (mut record, machine) in doubles {
        record.handle = Some(machine.observed.handle);
        match remove(world, record, false).await {
            Ok(Removal::Gone) => {}
            Ok(Removal::Left(left)) => removed.lowered.left.push(left),
            Err(Trouble::Refused(refused)) => {
                removed.lowered.ending = Ending::Refused(refused);
                return removed;
            }
            Err(_) => return unconfirmed(removed, "stopped"),
        }
    }
    removed
}

fn unconfirmed(removed: Removed, why: &str) -> Removed {
    Removed { unconfirmed: Some(why.to_owned()), ..removed }
}
