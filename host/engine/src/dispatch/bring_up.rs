//! Bring-up: each instance starts as soon as all dependencies of its node are ready.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::graph::Graph;
use super::inbox::{Inbox, Input, RunEnd};
use super::start_queue::{StartQueue, TaskSpec};
use crate::act::{DesiredState, RunContext, TaskError, bring_up_instance, instance_facts};
use crate::error::{FailureReason, NodeFailure};
use crate::lease::JournalError;
use crate::ports::{Fault, Reaction};
use crate::request::StopSignal;
use crate::state::InstanceRecord;

/// The effect of a failure on the other tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailurePolicy {
    /// Cancels all tasks.
    AbortAll,
    /// Lets started tasks finish, and starts no others.
    FinishStarted,
    /// Continues with the nodes that do not depend on the failed one.
    Continue,
}

/// A request to bring up instances.
pub(crate) struct BringUp {
    pub(crate) tasks: Vec<TaskSpec>,
    /// Instances that are ready already.
    pub(crate) already_ready: Vec<InstanceRecord>,
    pub(crate) on_failure: FailurePolicy,
    /// Number of dead instances that are replaced at the same time.
    pub(crate) replace_at_once: usize,
}

/// The outcome of a bring-up.
pub(crate) struct BringUpOutcome {
    pub(crate) end: RunEnd,
    /// Failures, in the order in which they occurred.
    pub(crate) failures: Vec<NodeFailure>,
}

/// Treatment of the tasks that have not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Starts them as soon as they may.
    Starting,
    /// Starts none, since a node has failed.
    Halted,
    /// Starts none, since the user stopped the run.
    Stopped,
}

struct Dispatcher<'a> {
    ctx: &'a Arc<RunContext>,
    desired: Arc<DesiredState>,
    graph: Graph,
    queue: StartQueue,
    inbox: Inbox<Result<InstanceRecord, TaskError>>,
    /// Index of the node of each task.
    node_of: Vec<usize>,
    mode: Mode,
    on_failure: FailurePolicy,
    failures: Vec<NodeFailure>,
}

/// Brings up instances in the order of the dependencies. A first stop request, or a failure with
/// [`FailurePolicy::AbortAll`], cancels the run's tasks and waits for them; a second stop request or a lost lease
/// aborts them.
pub(crate) async fn bring_up(
    ctx: &Arc<RunContext>,
    desired: &Arc<DesiredState>,
    request: BringUp,
    stop: &StopSignal,
    lease_lost: &CancellationToken,
) -> BringUpOutcome {
    let mut dispatcher = Dispatcher::new(ctx, desired, request, stop, lease_lost);
    let end = dispatcher.run().await;
    BringUpOutcome { end, failures: dispatcher.failures }
}

impl<'a> Dispatcher<'a> {
    fn new(
        ctx: &'a Arc<RunContext>,
        desired: &Arc<DesiredState>,
        request: BringUp,
        stop: &StopSignal,
        lease_lost: &CancellationToken,
    ) -> Self {
        let mut dispatcher = Self {
            ctx,
            desired: desired.clone(),
            graph: Graph::new(desired, request.tasks),
            queue: StartQueue::new(request.replace_at_once),
            inbox: Inbox::new(stop.clone(), lease_lost.clone()),
            node_of: Vec::new(),
            mode: Mode::Starting,
            on_failure: request.on_failure,
            failures: Vec::new(),
        };
        let roots = dispatcher.graph.release_roots();
        dispatcher.queue.push(roots);
        for record in request.already_ready {
            if let Some(index) = desired.index(&record.node) {
                dispatcher.mark_ready(index, &record);
            }
        }
        dispatcher
    }

    async fn run(&mut self) -> RunEnd {
        loop {
            self.start();
            match self.inbox.next().await {
                Input::Finished(task, outcome) => {
                    let mut next = Some((task, outcome));
                    while let Some((task, outcome)) = next {
                        if let Some(error) = self.handle_finished(task, outcome) {
                            return RunEnd::JournalFailed(error);
                        }
                        next = self.inbox.try_next_finished();
                    }
                }
                Input::StopGracefully => {
                    self.mode = Mode::Stopped;
                    self.ctx.cancel.cancel();
                }
                Input::StopNow => return RunEnd::Aborted,
                Input::LeaseLost => return RunEnd::JournalFailed(JournalError::LeaseLost),
                Input::Idle if self.mode == Mode::Stopped => return RunEnd::Stopped,
                Input::Idle => return RunEnd::Done,
            }
        }
    }

    /// Starts everything that may start.
    fn start(&mut self) {
        while self.mode == Mode::Starting {
            let task = self.node_of.len();
            let Some(TaskSpec { node, entry_point, id }) = self.queue.pop(task) else { return };
            self.node_of.push(node);
            let facts = self.graph.facts_for(node);
            let bring_up = bring_up_instance(self.ctx.clone(), self.desired.clone(), node, entry_point, id, facts);
            self.inbox.start(task, bring_up);
        }
    }

    fn handle_finished(
        &mut self,
        task: usize,
        outcome: Option<Result<InstanceRecord, TaskError>>,
    ) -> Option<JournalError> {
        self.queue.finish(task);
        let node = self.node_of[task];
        match outcome.unwrap_or_else(|| Err(self.panic_error(node))) {
            Ok(record) => self.mark_ready(node, &record),
            Err(TaskError::Cancelled) => {}
            Err(TaskError::Journal(error)) => return Some(error),
            Err(TaskError::Failed(failure)) => {
                self.failures.push(*failure);
                if self.on_failure != FailurePolicy::Continue && self.mode == Mode::Starting {
                    self.mode = Mode::Halted;
                }
                if self.on_failure == FailurePolicy::AbortAll {
                    self.ctx.cancel.cancel();
                }
            }
        }
        None
    }

    /// Counts a ready instance of a node, and queues the tasks that it releases.
    fn mark_ready(&mut self, node: usize, record: &InstanceRecord) {
        let released = self.graph.mark_ready(node, instance_facts(&self.ctx.id, &self.desired, record));
        self.queue.push(released);
    }

    fn panic_error(&self, node: usize) -> TaskError {
        let node = self.desired.node(node).map(|node| node.name.clone()).unwrap_or_default();
        let fault =
            Fault::new(Reaction::GiveUp, "engine.panic", "internal error: the task that brings up this node panicked");
        let reason = FailureReason::Call { call: "bring up".into(), fault, attempts: 1, seconds: 0 };
        let (instance, driver, origin) = Default::default();
        TaskError::Failed(Box::new(NodeFailure {
            node,
            instance,
            driver,
            reason,
            origin,
            details: Vec::new(),
            output: None,
        }))
    }
}
