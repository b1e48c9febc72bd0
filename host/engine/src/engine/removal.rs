//! Removing instances for good, confirmed by what their clouds list afterwards.

use std::collections::HashSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::act::{RemainingMachines, RunContext, list_remaining};
use crate::dispatch::{RunEnd, TearDownOutcome, tear_down};
use crate::ports::OwnedMachine;
use crate::request::StopSignal;
use crate::state::InstanceRecord;
use crate::status::Orphan;

/// What came of it.
pub(super) struct RemovalReport {
    pub(super) tear_down: TearDownOutcome,
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
    world: &Arc<RunContext>,
    records: Vec<InstanceRecord>,
    stop: &StopSignal,
    lost: &CancellationToken,
) -> RemovalReport {
    let asked: Vec<_> = records.iter().filter(|record| !record.has_no_machine()).cloned().collect();
    let lowered = tear_down(world, records, stop, lost).await;
    let removed = RemovalReport { tear_down: lowered, strange: Vec::new(), unconfirmed: None };
    if !matches!(removed.tear_down.end, RunEnd::Done) {
        return removed;
    }
    let left: HashSet<_> = removed.tear_down.left.iter().map(|left| left.instance.as_str()).collect();
    let gone: Vec<_> = asked.into_iter().filter(|record| !left.contains(record.id.as_str())).collect();
    let confirmed = tokio::select! {
        biased;
        () = lost.cancelled() => return removed,
        () = stop.graceful.cancelled() => return with_unconfirmed(removed, "stopped"),
        confirmed = list_remaining(world, &gone) => confirmed,
    };
    match confirmed {
        Ok(RemainingMachines { machines, unconfirmed }) => {
            let orphan =
                |(record, machine): (InstanceRecord, OwnedMachine)| Orphan::from_listed(record.driver(), machine);
            RemovalReport { strange: machines.into_iter().map(orphan).collect(), unconfirmed, ..removed }
        }
        Err(_) => with_unconfirmed(removed, "stopped"),
    }
}

fn with_unconfirmed(removed: RemovalReport, why: &str) -> RemovalReport {
    RemovalReport { unconfirmed: Some(why.to_owned()), ..removed }
}
