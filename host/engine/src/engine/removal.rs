//! The removal of instances for good, confirmed by the lists of their clouds afterwards.

use std::collections::HashSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::act::{RemainingMachines, RunContext, list_remaining};
use crate::dispatch::{RunEnd, TearDownOutcome, tear_down};
use crate::ports::LabelledMachine;
use crate::request::StopSignal;
use crate::state::InstanceRecord;
use crate::status::Orphan;

/// Result of a removal.
pub(super) struct RemovalReport {
    pub(super) tear_down: TearDownOutcome,
    /// Machines with the ownership label of the infrastructure and without a record.
    pub(super) orphans: Vec<Orphan>,
    /// Reason why it could not be confirmed that nothing is left.
    pub(super) unconfirmed: Option<String>,
}

/// Removes instances, dependents first. Then their clouds list the machines that carry the ownership label: a request
/// that was delivered twice or late may have created a machine without a record. A machine that its driver finds by the
/// id of a removed instance is removed too. Others are reported and not touched: they may belong to another store, or
/// be copies that the user has made of our machines, labels included.
pub(super) async fn remove_all(
    ctx: &Arc<RunContext>,
    records: Vec<InstanceRecord>,
    stop: &StopSignal,
    lost: &CancellationToken,
) -> RemovalReport {
    let with_machine: Vec<_> = records.iter().filter(|record| !record.has_no_machine()).cloned().collect();
    let tear_down = tear_down(ctx, records, stop, lost).await;
    let report = RemovalReport { tear_down, orphans: Vec::new(), unconfirmed: None };
    if !matches!(report.tear_down.end, RunEnd::Done) {
        return report;
    }
    let left: HashSet<_> = report.tear_down.left.iter().map(|left| left.instance.as_str()).collect();
    let gone: Vec<_> = with_machine.into_iter().filter(|record| !left.contains(record.id.as_str())).collect();
    let remaining = tokio::select! {
        biased;
        () = lost.cancelled() => return report,
        () = stop.graceful.cancelled() => return with_unconfirmed(report, "stopped"),
        remaining = list_remaining(ctx, &gone) => remaining,
    };
    match remaining {
        Ok(RemainingMachines { machines, unconfirmed }) => {
            let orphan =
                |(record, machine): (InstanceRecord, LabelledMachine)| Orphan::from_listed(record.driver(), machine);
            RemovalReport { orphans: machines.into_iter().map(orphan).collect(), unconfirmed, ..report }
        }
        Err(_) => with_unconfirmed(report, "stopped"),
    }
}

fn with_unconfirmed(report: RemovalReport, reason: &str) -> RemovalReport {
    RemovalReport { unconfirmed: Some(reason.to_owned()), ..report }
}
