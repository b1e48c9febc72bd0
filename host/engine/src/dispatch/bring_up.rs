//! Upwards: each instance starts as soon as the nodes that its own node depends on are ready.

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

/// One instance that there should be.
pub(crate) struct TaskSpec {
    /// Index of its node.
    pub(crate) node: usize,
    pub(crate) entry_point: EntryPoint,
    /// For a new instance, if it takes one.
    pub(crate) id: String,
}

/// What a failure means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailurePolicy {
    /// All stop.
    AbortAll,
    /// Those that have started finish; no other starts.
    FinishStarted,
    /// Those that do not depend on it go on.
    Continue,
}

/// What to bring up.
pub(crate) struct BringUp {
    pub(crate) tasks: Vec<TaskSpec>,
    /// Instances that are ready already.
    pub(crate) already_ready: Vec<InstanceRecord>,
    pub(crate) on_failure: FailurePolicy,
    /// How many dead instances are replaced at the same time.
    pub(crate) replace_at_once: usize,
}

/// What came of it.
pub(crate) struct BringUpOutcome {
    pub(crate) end: RunEnd,
    /// The failures, the first one first.
    pub(crate) failures: Vec<NodeFailure>,
}

struct NodeState {
    /// Nodes it depends on that are not ready.
    unready_dependencies: usize,
    /// Ready instances that still make a difference: at 0 the node is ready.
    missing_ready: u32,
    dependents: Vec<usize>,
    dependees: Vec<usize>,
    unstarted: Vec<TaskSpec>,
    facts: Vec<Arc<InstanceFacts>>,
    /// When `facts` changed last.
    facts_generation: u64,
}

struct Dispatcher<'a> {
    world: &'a Arc<RunContext>,
    desired: Arc<DesiredState>,
    nodes: Vec<NodeState>,
    startable: VecDeque<TaskSpec>,
    replacements: VecDeque<TaskSpec>,
    replacing: HashSet<usize>,
    replace_at_once: usize,
    inbox: Inbox<Result<InstanceRecord, TaskError>>,
    /// Node of each task.
    tasks: Vec<usize>,
    generation: u64,
    snapshot: (u64, PeerFacts),
    on_failure: FailurePolicy,
    halted: bool,
    stopped: bool,
    failures: Vec<NodeFailure>,
}

/// Brings instances up, in the order of the dependencies.
pub(crate) async fn bring_up(
    world: &Arc<RunContext>,
    desired: &Arc<DesiredState>,
    raise: BringUp,
    stop: &StopSignal,
    lost: &CancellationToken,
) -> BringUpOutcome {
    let mut dispatcher = Dispatcher::new(world, desired, raise, stop, lost);
    let ending = dispatcher.run().await;
    BringUpOutcome { end: ending, failures: dispatcher.failures }
}

impl<'a> Dispatcher<'a> {
    fn new(
        world: &'a Arc<RunContext>,
        desired: &Arc<DesiredState>,
        raise: BringUp,
        stop: &StopSignal,
        lost: &CancellationToken,
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
            world,
            desired: desired.clone(),
            nodes,
            startable: VecDeque::new(),
            replacements: VecDeque::new(),
            replacing: HashSet::new(),
            replace_at_once: raise.replace_at_once.max(1),
            inbox: Inbox::new(stop.clone(), lost.clone()),
            tasks: Vec::new(),
            generation: 1,
            snapshot: (0, PeerFacts::default()),
            on_failure: raise.on_failure,
            halted: false,
            stopped: false,
            failures: Vec::new(),
        };
        for slot in raise.tasks {
            if let Some(node) = dispatcher.nodes.get_mut(slot.node) {
                node.unstarted.push(slot);
            }
        }
        for index in 0..dispatcher.nodes.len() {
            if dispatcher.nodes[index].unready_dependencies == 0 {
                dispatcher.release(index);
            }
        }
        for record in raise.already_ready {
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
                        if let Some(refused) = self.handle_finished(task, outcome) {
                            return RunEnd::JournalFailed(refused);
                        }
                        next = self.inbox.try_next_finished();
                    }
                }
                Input::StopGracefully => {
                    (self.halted, self.stopped) = (true, true);
                    self.world.cancel.cancel();
                }
                Input::StopNow => return RunEnd::Aborted,
                Input::LeaseLost => return RunEnd::JournalFailed(JournalError::LeaseLost),
                Input::Idle if self.stopped => return RunEnd::Stopped,
                Input::Idle => return RunEnd::Done,
            }
        }
    }

    /// The node's own dependencies are ready: its instances may start.
    fn release(&mut self, index: usize) {
        for slot in std::mem::take(&mut self.nodes[index].unstarted) {
            match slot.entry_point {
                EntryPoint::Replace(..) => self.replacements.push_back(slot),
                _ => self.startable.push_back(slot),
            }
        }
    }

    fn start(&mut self) {
        if self.halted {
            return;
        }
        while let Some(slot) = self.startable.pop_front() {
            self.start_one(slot);
        }
        while self.replacing.len() < self.replace_at_once {
            let Some(slot) = self.replacements.pop_front() else { return };
            let task = self.start_one(slot);
            self.replacing.insert(task);
        }
    }

    fn start_one(&mut self, slot: TaskSpec) -> usize {
        let facts = self.facts_for(slot.node);
        let task = self.tasks.len();
        self.tasks.push(slot.node);
        let story =
            bring_up_instance(self.world.clone(), self.desired.clone(), slot.node, slot.entry_point, slot.id, facts);
        self.inbox.start(task, story);
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
            Err(TaskError::Journal(refused)) => return Some(refused),
            Err(TaskError::Failed(failure)) => {
                self.failures.push(*failure);
                self.halted |= self.on_failure != FailurePolicy::Continue;
                if self.on_failure == FailurePolicy::AbortAll {
                    self.world.cancel.cancel();
                }
            }
        }
        None
    }

    /// One more instance of a node is ready.
    fn mark_ready(&mut self, index: usize, record: &InstanceRecord) {
        self.generation += 1;
        let fact = Arc::new(instance_facts(&self.world.id, &self.desired, record));
        let node = &mut self.nodes[index];
        node.facts_generation = self.generation;
        let place = node.facts.partition_point(|other| other.instance_id < fact.instance_id);
        node.facts.insert(place, fact);
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

    /// What a new instance of a node may know. One list serves many: it is made anew only when a node that this one
    /// depends on has changed since.
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
        let fault = Fault::new(Reaction::GiveUp, "engine.panic", "a bug: the task that made this node panicked");
        let reason = FailureReason::Call { call: "deploy".into(), fault, attempts: 1, seconds: 0 };
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
