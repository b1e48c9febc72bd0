//! Jobs of the reconciler: they bring up and remove instances beside the surveys, each with instances of its own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::act::{Death, DesiredState, EntryPoint, RunContext};
use crate::dispatch::{BringUp, FailurePolicy, RunEnd, TaskSpec, bring_up, tear_down};
use crate::error::NodeFailure;
use crate::request::StopSignal;
use crate::state::InstanceRecord;

/// A job: brings instances up first, then removes the surplus.
pub(super) struct Job {
    bring_up: BringUp,
    surplus: Vec<InstanceRecord>,
    claim: JobClaim,
}

impl Job {
    /// Creates the job for these tasks and this surplus. It replaces at most `room` instances at the same time, for the
    /// reasons in `deaths`.
    pub(super) fn new(
        specs: Vec<TaskSpec>,
        surplus: Vec<InstanceRecord>,
        room: usize,
        desired: &DesiredState,
        deaths: &HashMap<String, Death>,
    ) -> Self {
        let (mut already_ready, mut tasks, mut claim) = (Vec::new(), Vec::new(), JobClaim::default());
        for mut task in specs {
            let old = match task.entry_point {
                EntryPoint::Check(record) => {
                    already_ready.push(record);
                    continue;
                }
                EntryPoint::New | EntryPoint::CreateBeforeDestroy(_) => None,
                EntryPoint::Resume(ref record) => Some(record.id.clone()),
                EntryPoint::Replace(ref record, ref mut death) => {
                    claim.replacements += 1;
                    if let Some(observed) = deaths.get(&record.id) {
                        death.clone_from(observed);
                    }
                    Some(record.id.clone())
                }
            };
            claim.instances.push(task.id.clone());
            claim.instances.extend(old);
            claim.nodes.extend(desired.node(task.node).map(|node| node.name.clone()));
            tasks.push(task);
        }
        claim.instances.extend(surplus.iter().map(|record| record.id.clone()));
        let bring_up = BringUp { tasks, already_ready, on_failure: FailurePolicy::Continue, replace_at_once: room };
        Self { bring_up, surplus, claim }
    }
}

/// Part of the infrastructure that belongs to a job while it runs.
#[derive(Default)]
pub(super) struct JobClaim {
    /// Ids of all instances that the job may change.
    pub(super) instances: Vec<String>,
    /// Node of each instance that the job brings up.
    pub(super) nodes: Vec<String>,
    /// Number of replacements among them.
    pub(super) replacements: usize,
}

/// Outcome of a job.
pub(super) struct JobOutcome {
    pub(super) end: RunEnd,
    pub(super) failures: Vec<NodeFailure>,
    pub(super) claim: JobClaim,
}

/// Parts of the infrastructure that belong to running jobs.
#[derive(Default)]
pub(super) struct Claims {
    instances: HashSet<String>,
    under_way: HashMap<String, usize>,
    replacements: usize,
}

impl Claims {
    /// Adds the claim of a job that starts.
    pub(super) fn add(&mut self, claim: &JobClaim) {
        self.instances.extend(claim.instances.iter().cloned());
        for node in &claim.nodes {
            *self.under_way.entry(node.clone()).or_default() += 1;
        }
        self.replacements += claim.replacements;
    }

    /// Removes the claim of a job that has ended.
    fn remove(&mut self, claim: &JobClaim) {
        for instance in &claim.instances {
            self.instances.remove(instance);
        }
        for node in &claim.nodes {
            if let Some(number) = self.under_way.get_mut(node) {
                *number = number.saturating_sub(1);
            }
        }
        self.replacements = self.replacements.saturating_sub(claim.replacements);
    }

    /// Returns whether a job has claimed an instance.
    pub(super) fn has(&self, instance: &str) -> bool {
        self.instances.contains(instance)
    }

    /// Returns the number of instances that are being brought up, by node.
    pub(super) fn under_way(&self) -> &HashMap<String, usize> {
        &self.under_way
    }

    /// Returns the number of dead instances that are being replaced, or queued to be.
    pub(super) fn replacements(&self) -> usize {
        self.replacements
    }
}

/// All running jobs. Dropping it cancels them.
#[derive(Default)]
pub(super) struct Jobs {
    jobs: JoinSet<JobOutcome>,
    claims: Claims,
}

impl Jobs {
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Returns what the jobs have claimed.
    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }

    pub(super) fn start(
        &mut self,
        ctx: Arc<RunContext>,
        desired: Arc<DesiredState>,
        job: Job,
        stop: StopSignal,
        lost: CancellationToken,
    ) {
        let Job { bring_up: request, surplus, claim } = job;
        self.claims.add(&claim);
        let job = async move {
            let brought_up = bring_up(&ctx, &desired, request, &stop, &lost).await;
            let failures = brought_up.failures;
            let end = match brought_up.end {
                RunEnd::Done => tear_down(&ctx, surplus, &stop, &lost).await.end,
                end => end,
            };
            JobOutcome { end, failures, claim }
        };
        self.jobs.spawn(job.in_current_span());
    }

    /// Waits until a job ends, and returns its outcome. Never returns if there is no job.
    pub(super) async fn next_outcome(&mut self) -> JobOutcome {
        match self.jobs.join_next().await {
            None => std::future::pending().await,
            Some(Ok(outcome)) => {
                self.claims.remove(&outcome.claim);
                outcome
            }
            // No job is cancelled while this exists, so it has panicked.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
