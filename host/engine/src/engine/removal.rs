//! Removing instances for good, confirmed by what their clouds list afterwards.

use std::collections::HashSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::act::{Remains, World, remains};
use crate::dispatch::{Ending, Lowered, lower};
use crate::ports::Owned;
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

/// Removes instances, dependents first. Then their clouds are asked once more for what they list: a request that was delivered
/// twice or late may have made a machine that nobody knows of. One that its driver finds by the id of a removed instance is
/// removed too. Others are reported and not touched: they may belong to another store, or be copies that the user has made of
/// our machines, labels and all.
pub(super) async fn remove_all(
    world: &Arc<World>,
    records: Vec<InstanceRecord>,
    stop: &Stop,
    lost: &CancellationToken,
) -> Removed {
    let asked: Vec<_> = records.iter().filter(|record| !record.has_no_machine()).cloned().collect();
    let lowered = lower(world, records, stop, lost).await;
    let removed = Removed { lowered, strange: Vec::new(), unconfirmed: None };
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
    match confirmed {
        Ok(Remains { machines, unconfirmed }) => {
            let orphan = |(record, machine): (InstanceRecord, Owned)| Orphan::of(record.driver(), machine);
            Removed { strange: machines.into_iter().map(orphan).collect(), unconfirmed, ..removed }
        }
        Err(_) => unconfirmed(removed, "stopped"),
    }
}

fn unconfirmed(removed: Removed, why: &str) -> Removed {
    Removed { unconfirmed: Some(why.to_owned()), ..removed }
}
