//! Bring-up: each instance starts as soon as all dependencies of its node are ready.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::inbox::{Inbox, Input, RunEnd};
use crate::act::{
    DesiredState, EntryPoint, PeerFacts, PeerIndex, RunContext, TaskError, bring_up_instance, instance_facts,
};
use crate::error::{FailureReason, NodeFailure};
use crate::lease::JournalError;
use crate::ports::{Fault, InstanceFacts, Reaction};
use crate::request::StopSignal;
use crate::state::InstanceRecord;

/// An instance task to start.
pub(crate) struct TaskSpec {
    /// Index of its node.
    pub(crate) node: usize,
    pub(crate) entry_point: EntryPoint,
    /// Id for a new instance, if the task creates one.
    pub(crate) id: String,
}

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

struct NodeState {
    /// Number of dependencies that are not ready.
    unready_dependencies: usize,
    /// Number of ready instances that the node still lacks: at 0 it is ready.
    missing_ready: u32,
    dependents: Vec<usize>,
    dependees: Vec<usize>,
    unstarted: Vec<TaskSpec>,
    facts: Vec<Arc<InstanceFacts>>,
    /// Generation in which `facts` changed last.
    facts_generation: u64,
}

struct Dispatcher<'a> {
    ctx: &'a Arc<RunContext>,
    desired: Arc<DesiredState>,
    nodes: Vec<NodeState>,
    startable: VecDeque<TaskSpec>,
    replacements: VecDeque<TaskSpec>,
    replacing: HashSet<usize>,
    replace_at_once: usize,
    inbox: Inbox<Result<InstanceRecord, TaskError>>,
    /// Index of the node of each task.
    tasks: Vec<usize>,
    generation: u64,
    snapshot: (u64, PeerFacts),
    on_failure: FailurePolicy,
    halted: bool,
    stopped: bool,
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
        let described = &desired.infrastructure.nodes;
        let mut nodes: Vec<_> = described
            .iter()
            .map(|node| NodeState {
                unready_dependencies: node.depends_on.len(),
                missing_ready: node.scaling.min,
                dependents: Vec::new(),
                dependees: node.depends_on.iter().filter_map(|name| desired.index(name)).collect(),
                unstarted: Vec::new(),
                facts: Vec::new(),
                facts_generation: 0,
            })
            .collect();
        for (index, node) in described.iter().enumerate() {
            for dependee in node.depends_on.iter().filter_map(|name| desired.index(name)) {
                nodes[dependee].dependents.push(index);
            }
        }
        let mut dispatcher = Self {
            ctx,
            desired: desired.clone(),
            nodes,
            startable: VecDeque::new(),
            replacements: VecDeque::new(),
            replacing: HashSet::new(),
            replace_at_once: request.replace_at_once.max(1),
            inbox: Inbox::new(stop.clone(), lease_lost.clone()),
            tasks: Vec::new(),
            generation: 1,
            snapshot: (0, PeerFacts::default()),
            on_failure: request.on_failure,
            halted: false,
            stopped: false,
            failures: Vec::new(),
        };
        for spec in request.tasks {
            if let Some(node) = dispatcher.nodes.get_mut(spec.node) {
                node.unstarted.push(spec);
            }
        }
        for index in 0..dispatcher.nodes.len() {
            if dispatcher.nodes[index].unready_dependencies == 0 {
                dispatcher.release(index);
            }
        }
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
                    (self.halted, self.stopped) = (true, true);
                    self.ctx.cancel.cancel();
                }
                Input::StopNow => return RunEnd::Aborted,
                Input::LeaseLost => return RunEnd::JournalFailed(JournalError::LeaseLost),
                Input::Idle if self.stopped => return RunEnd::Stopped,
                Input::Idle => return RunEnd::Done,
            }
        }
    }

    /// Releases the instances of a node whose dependencies are ready.
    fn release(&mut self, index: usize) {
        for spec in std::mem::take(&mut self.nodes[index].unstarted) {
            match spec.entry_point {
                EntryPoint::Replace(..) => self.replacements.push_back(spec),
                _ => self.startable.push_back(spec),
            }
        }
    }

    fn start(&mut self) {
        if self.halted {
            return;
        }
        while let Some(spec) = self.startable.pop_front() {
            self.start_one(spec);
        }
        while self.replacing.len() < self.replace_at_once {
            let Some(spec) = self.replacements.pop_front() else { return };
            let task = self.start_one(spec);
            self.replacing.insert(task);
        }
    }

    fn start_one(&mut self, spec: TaskSpec) -> usize {
        let facts = self.facts_for(spec.node);
        let task = self.tasks.len();
        self.tasks.push(spec.node);
        let bring_up =
            bring_up_instance(self.ctx.clone(), self.desired.clone(), spec.node, spec.entry_point, spec.id, facts);
        self.inbox.start(task, bring_up);
        task
    }

    fn handle_finished(
        &mut self,
        task: usize,
        outcome: Option<Result<InstanceRecord, TaskError>>,
    ) -> Option<JournalError> {
        self.replacing.remove(&task);
        let node = self.tasks[task];
        match outcome.unwrap_or_else(|| Err(self.panic_error(node))) {
            Ok(record) => self.mark_ready(node, &record),
            Err(TaskError::Cancelled) => {}
            Err(TaskError::Journal(error)) => return Some(error),
            Err(TaskError::Failed(failure)) => {
                self.failures.push(*failure);
                self.halted |= self.on_failure != FailurePolicy::Continue;
                if self.on_failure == FailurePolicy::AbortAll {
                    self.ctx.cancel.cancel();
                }
            }
        }
        None
    }

    /// Counts a ready instance of a node, and releases the dependents if it was the last one missing.
    fn mark_ready(&mut self, index: usize, record: &InstanceRecord) {
        self.generation += 1;
        let fact = Arc::new(instance_facts(&self.ctx.id, &self.desired, record));
        let node = &mut self.nodes[index];
        node.facts_generation = self.generation;
        let position = node.facts.partition_point(|other| other.instance_id < fact.instance_id);
        node.facts.insert(position, fact);
        if node.missing_ready == 0 {
            return;
        }
        node.missing_ready -= 1;
        if node.missing_ready > 0 {
            return;
        }
        for dependent in node.dependents.clone() {
            self.nodes[dependent].unready_dependencies -= 1;
            if self.nodes[dependent].unready_dependencies == 0 {
                self.release(dependent);
            }
        }
    }

    /// Returns the facts for a new instance of a node. One snapshot is shared by many tasks; it is computed anew only
    /// if a dependency of this node has changed since.
    fn facts_for(&mut self, index: usize) -> PeerFacts {
        let newest = self.nodes[index].dependees.iter().map(|dependee| self.nodes[*dependee].facts_generation).max();
        if self.snapshot.0 == 0 || newest.is_some_and(|newest| newest > self.snapshot.0) {
            let all = self.nodes.iter().flat_map(|node| node.facts.iter().cloned()).collect();
            self.snapshot = (self.generation, Arc::new(PeerIndex::new(all)));
        }
        self.snapshot.1.clone()
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
