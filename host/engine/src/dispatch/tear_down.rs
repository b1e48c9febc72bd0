//! Tear-down: an instance is removed as soon as all instances of the dependents of its node have been handled.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::inbox::{Inbox, Input, RunEnd};
use crate::act::{RemovalOutcome, RunContext, TaskError, leftover, remove};
use crate::lease::JournalError;
use crate::request::StopSignal;
use crate::state::InstanceRecord;
use crate::status::Leftover;

/// The outcome of a tear-down.
pub(crate) struct TearDownOutcome {
    pub(crate) end: RunEnd,
    pub(crate) removed: usize,
    /// Instances that could not be removed, or were not tried.
    pub(crate) left: Vec<Leftover>,
}

#[derive(Default)]
struct NodeState {
    /// Number of instances that have not been handled.
    remaining: usize,
    /// Number of dependents that have not been handled.
    blockers: usize,
    dependees: Vec<usize>,
    waiting: Vec<usize>,
}

struct Dispatcher<'a> {
    ctx: &'a Arc<RunContext>,
    records: Vec<Option<InstanceRecord>>,
    node_of: Vec<usize>,
    nodes: Vec<NodeState>,
    inbox: Inbox<Result<RemovalOutcome, TaskError>>,
    removed: usize,
    left: Vec<Leftover>,
    stopped: bool,
}

/// Removes instances, dependents first. An instance that cannot be removed does not block the others. A first stop
/// request cancels the run's tasks and waits for them; a second one or a lost lease aborts them.
pub(crate) async fn tear_down(
    ctx: &Arc<RunContext>,
    records: Vec<InstanceRecord>,
    stop: &StopSignal,
    lease_lost: &CancellationToken,
) -> TearDownOutcome {
    let mut dispatcher = Dispatcher::new(ctx, records, stop, lease_lost);
    let end = dispatcher.run().await;
    let mut left = dispatcher.left;
    left.extend(dispatcher.records.iter().flatten().map(|record| leftover(record, "not removed: stopped".into())));
    TearDownOutcome { end, removed: dispatcher.removed, left }
}

impl<'a> Dispatcher<'a> {
    fn new(
        ctx: &'a Arc<RunContext>,
        records: Vec<InstanceRecord>,
        stop: &StopSignal,
        lease_lost: &CancellationToken,
    ) -> Self {
        let mut index_of = HashMap::<&str, usize>::new();
        let mut nodes = Vec::<NodeState>::new();
        let mut node_of = Vec::with_capacity(records.len());
        for (task, record) in records.iter().enumerate() {
            let index = *index_of.entry(&record.node).or_insert_with(|| {
                nodes.push(NodeState::default());
                nodes.len() - 1
            });
            nodes[index].remaining += 1;
            nodes[index].waiting.push(task);
            node_of.push(index);
        }
        let mut edges = HashSet::new();
        for (task, record) in records.iter().enumerate() {
            for dependee in record.depends_on.iter().filter_map(|name| index_of.get(name.as_str()).copied()) {
                let dependent = node_of[task];
                if dependee != dependent && edges.insert((dependent, dependee)) {
                    nodes[dependent].dependees.push(dependee);
                    nodes[dependee].blockers += 1;
                }
            }
        }
        Self {
            ctx,
            records: records.into_iter().map(Some).collect(),
            node_of,
            nodes,
            inbox: Inbox::new(stop.clone(), lease_lost.clone()),
            removed: 0,
            left: Vec::new(),
            stopped: false,
        }
    }

    async fn run(&mut self) -> RunEnd {
        for index in 0..self.nodes.len() {
            if self.nodes[index].blockers == 0 {
                self.start(index);
            }
        }
        loop {
            match self.inbox.next().await {
                Input::Finished(task, outcome) => {
                    if let Some(error) = self.handle_finished(task, outcome) {
                        return RunEnd::JournalFailed(error);
                    }
                }
                Input::StopGracefully => {
                    self.stopped = true;
                    self.ctx.cancel.cancel();
                }
                Input::StopNow => return RunEnd::Aborted,
                Input::LeaseLost => return RunEnd::JournalFailed(JournalError::LeaseLost),
                Input::Idle if self.stopped => return RunEnd::Stopped,
                Input::Idle => {
                    // Records of different descriptions may have cyclic dependencies; the order is then ignored.
                    let stuck: Vec<_> =
                        (0..self.nodes.len()).filter(|at| !self.nodes[*at].waiting.is_empty()).collect();
                    if stuck.is_empty() {
                        return RunEnd::Done;
                    }
                    stuck.into_iter().for_each(|index| self.start(index));
                }
            }
        }
    }

    fn start(&mut self, index: usize) {
        if self.stopped {
            return;
        }
        for task in std::mem::take(&mut self.nodes[index].waiting) {
            if let Some(record) = self.records[task].clone() {
                let ctx = self.ctx.clone();
                self.inbox.start(task, async move { remove(&ctx, record, false).await });
            }
        }
    }

    fn handle_finished(
        &mut self,
        task: usize,
        outcome: Option<Result<RemovalOutcome, TaskError>>,
    ) -> Option<JournalError> {
        match outcome {
            Some(Ok(RemovalOutcome::Gone)) => {
                self.records[task] = None;
                self.removed += 1;
            }
            Some(Ok(RemovalOutcome::Left(left))) => {
                self.records[task] = None;
                self.left.push(left);
            }
            Some(Err(TaskError::Journal(error))) => return Some(error),
            // Stays among the records, and is reported as a leftover.
            Some(Err(TaskError::Cancelled | TaskError::Failed(_))) | None => {}
        }
        let index = self.node_of[task];
        self.nodes[index].remaining -= 1;
        if self.nodes[index].remaining == 0 {
            for dependee in std::mem::take(&mut self.nodes[index].dependees) {
                let node = &mut self.nodes[dependee];
                node.blockers = node.blockers.saturating_sub(1);
                if node.blockers == 0 {
                    self.start(dependee);
                }
            }
        }
        None
    }
}
