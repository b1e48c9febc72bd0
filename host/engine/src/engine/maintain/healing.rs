//! What is being healed: jobs that run beside the looks, each with instances of its own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::act::{DesiredState, RunContext};
use crate::dispatch::{BringUp, RunEnd, bring_up, tear_down};
use crate::error::NodeFailure;
use crate::request::StopSignal;
use crate::state::InstanceRecord;

/// Something to do. What comes up comes up first; then what is too much goes.
pub(super) struct HealingJob {
    pub(super) bring_up: BringUp,
    pub(super) surplus: Vec<InstanceRecord>,
    pub(super) claim: JobClaim,
}

/// What of the infrastructure belongs to a job while it runs.
#[derive(Default)]
pub(super) struct JobClaim {
    /// Ids of all instances that it may touch.
    pub(super) instances: Vec<String>,
    /// The node of each instance that it brings up.
    pub(super) nodes: Vec<String>,
    /// How many of these are replacements.
    pub(super) replacements: usize,
}

/// What came of it.
pub(super) struct JobOutcome {
    pub(super) end: RunEnd,
    pub(super) failures: Vec<NodeFailure>,
    pub(super) claim: JobClaim,
}

/// All jobs. Dropping it ends them.
#[derive(Default)]
pub(super) struct HealingJobs {
    jobs: JoinSet<JobOutcome>,
    claimed: HashSet<String>,
    under_way: HashMap<String, usize>,
    replacements: usize,
}

impl HealingJobs {
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether a job works on an instance.
    pub(super) fn is_claimed(&self, instance: &str) -> bool {
        self.claimed.contains(instance)
    }

    /// How many instances are being brought up, by node.
    pub(super) fn under_way(&self) -> &HashMap<String, usize> {
        &self.under_way
    }

    /// How many dead instances are being replaced, or wait for their turn.
    pub(super) fn replacements(&self) -> usize {
        self.replacements
    }

    pub(super) fn start(
        &mut self,
        world: Arc<RunContext>,
        desired: Arc<DesiredState>,
        job: HealingJob,
        stop: StopSignal,
        lost: CancellationToken,
    ) {
        let HealingJob { bring_up: what, surplus, claim: share } = job;
        self.claimed.extend(share.instances.iter().cloned());
        for node in &share.nodes {
            *self.under_way.entry(node.clone()).or_default() += 1;
        }
        self.replacements += share.replacements;
        let job = async move {
            let raised = bring_up(&world, &desired, what, &stop, &lost).await;
            let failures = raised.failures;
            let ending = match raised.end {
                RunEnd::Done => tear_down(&world, surplus, &stop, &lost).await.end,
                ending => ending,
            };
            JobOutcome { end: ending, failures, claim: share }
        };
        self.jobs.spawn(job.in_current_span());
    }

    /// The next job that ends. Never returns when there is none.
    pub(super) async fn next_outcome(&mut self) -> JobOutcome {
        match self.jobs.join_next().await {
            None => std::future::pending().await,
            Some(Ok(ended)) => {
                for instance in &ended.claim.instances {
                    self.claimed.remove(instance);
                }
                for node in &ended.claim.nodes {
                    if let Some(number) = self.under_way.get_mut(node) {
                        *number = number.saturating_sub(1);
                    }
                }
                self.replacements = self.replacements.saturating_sub(ended.claim.replacements);
                ended
            }
            // Nobody cancels it, so it has panicked.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
