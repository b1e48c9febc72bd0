//! What is being healed: jobs that run beside the looks, each with instances of its own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::act::{Desired, World};
use crate::dispatch::{Ending, Raise, lower, raise};
use crate::error::NodeFailure;
use crate::request::Stop;
use crate::state::InstanceRecord;

/// Something to do. What comes up comes up first; then what is too much goes.
pub(super) struct Job {
    pub(super) raise: Raise,
    pub(super) surplus: Vec<InstanceRecord>,
    pub(super) share: Share,
}

/// What of the infrastructure belongs to a job while it runs.
#[derive(Default)]
pub(super) struct Share {
    /// Ids of all instances that it may touch.
    pub(super) instances: Vec<String>,
    /// The node of each instance that it brings up.
    pub(super) nodes: Vec<String>,
    /// How many of these are replacements.
    pub(super) replacements: usize,
}

/// What came of it.
pub(super) struct Ended {
    pub(super) ending: Ending,
    pub(super) failures: Vec<NodeFailure>,
    pub(super) share: Share,
}

/// All jobs. Dropping it ends them.
#[derive(Default)]
pub(super) struct Healing {
    jobs: JoinSet<Ended>,
    busy: HashSet<String>,
    under_way: HashMap<String, usize>,
    replacements: usize,
}

impl Healing {
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether a job works on an instance.
    pub(super) fn has(&self, instance: &str) -> bool {
        self.busy.contains(instance)
    }

    /// How many instances are being brought up, by node.
    pub(super) fn under_way(&self) -> &HashMap<String, usize> {
        &self.under_way
    }

    /// How many dead instances are being replaced, or wait for their turn.
    pub(super) fn replacements(&self) -> usize {
        self.replacements
    }

    pub(super) fn begin(
        &mut self,
        world: Arc<World>,
        desired: Arc<Desired>,
        job: Job,
        stop: Stop,
        lost: CancellationToken,
    ) {
        let Job { raise: what, surplus, share } = job;
        self.busy.extend(share.instances.iter().cloned());
        for node in &share.nodes {
            *self.under_way.entry(node.clone()).or_default() += 1;
        }
        self.replacements += share.replacements;
        let job = async move {
            let raised = raise(&world, &desired, what, &stop, &lost).await;
            let failures = raised.failures;
            let ending = match raised.ending {
                Ending::Done => lower(&world, surplus, &stop, &lost).await.ending,
                ending => ending,
            };
            Ended { ending, failures, share }
        };
        self.jobs.spawn(job.in_current_span());
    }

    /// The next job that ends. Never returns when there is none.
    pub(super) async fn next(&mut self) -> Ended {
        match self.jobs.join_next().await {
            None => std::future::pending().await,
            Some(Ok(ended)) => {
                for instance in &ended.share.instances {
                    self.busy.remove(instance);
                }
                for node in &ended.share.nodes {
                    if let Some(number) = self.under_way.get_mut(node) {
                        *number = number.saturating_sub(1);
                    }
                }
                self.replacements = self.replacements.saturating_sub(ended.share.replacements);
                ended
            }
            // Nobody cancels it, so it has panicked.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
