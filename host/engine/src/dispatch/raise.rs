//! Upwards: each instance starts as soon as the nodes that its own node depends on are ready.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::inbox::{Ending, Inbox, Input};
use crate::act::{Desired, Facts, Others, Start, Trouble, World, bring_up, facts};
use crate::error::{NodeFailure, Reason};
use crate::ports::{Fault, InstanceFacts, Reaction};
use crate::request::Stop;
use crate::session::Refused;
use crate::state::InstanceRecord;

/// One instance that there should be.
pub(crate) struct Slot {
    /// Index of its node.
    pub(crate) node: usize,
    pub(crate) start: Start,
    /// For a new instance, if it takes one.
    pub(crate) id: String,
}

/// What a failure means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnTrouble {
    /// All stop.
    Halt,
    /// Those that have started finish; no other starts.
    Finish,
    /// Those that do not depend on it go on.
    GoOn,
}

/// What to bring up.
pub(crate) struct Raise {
    pub(crate) slots: Vec<Slot>,
    /// Instances that are ready already.
    pub(crate) kept: Vec<InstanceRecord>,
    pub(crate) on_trouble: OnTrouble,
    /// How many dead instances are replaced at the same time.
    pub(crate) replace_at_once: usize,
}

/// What came of it.
pub(crate) struct Raised {
    pub(crate) ending: Ending,
    /// The failures, the first one first.
    pub(crate) failures: Vec<NodeFailure>,
}

struct NodeState {
    /// Nodes it depends on that are not ready.
    waits_for: usize,
    /// Ready instances that still make a difference: at 0 the node is ready.
    lacks: u32,
    dependents: Vec<usize>,
    dependees: Vec<usize>,
    slots: Vec<Slot>,
    facts: Vec<Arc<InstanceFacts>>,
    /// When `facts` changed last.
    changed: u64,
}

struct Dispatcher<'a> {
    world: &'a Arc<World>,
    desired: Arc<Desired>,
    nodes: Vec<NodeState>,
    startable: VecDeque<Slot>,
    replacements: VecDeque<Slot>,
    replacing: HashSet<usize>,
    replace_at_once: usize,
    inbox: Inbox<Result<InstanceRecord, Trouble>>,
    /// Node of each task.
    tasks: Vec<usize>,
    generation: u64,
    snapshot: (u64, Facts),
    on_trouble: OnTrouble,
    halted: bool,
    stopped: bool,
    failures: Vec<NodeFailure>,
}

/// Brings instances up, in the order of the dependencies.
pub(crate) async fn raise(
    world: &Arc<World>,
    desired: &Arc<Desired>,
    raise: Raise,
    stop: &Stop,
    lost: &CancellationToken,
) -> Raised {
    let mut dispatcher = Dispatcher::new(world, desired, raise, stop, lost);
    let ending = dispatcher.run().await;
    Raised { ending, failures: dispatcher.failures }
}

impl<'a> Dispatcher<'a> {
    fn new(world: &'a Arc<World>, desired: &Arc<Desired>, raise: Raise, stop: &Stop, lost: &CancellationToken) -> Self {
        let described = &desired.infrastructure.nodes;
        let mut nodes: Vec<_> = described
            .iter()
            .map(|node| NodeState {
                waits_for: node.depends_on.len(),
                lacks: node.scaling.min,
                dependents: Vec::new(),
                dependees: node.depends_on.iter().filter_map(|name| desired.index(name)).collect(),
                slots: Vec::new(),
                facts: Vec::new(),
                changed: 0,
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
            snapshot: (0, Facts::default()),
            on_trouble: raise.on_trouble,
            halted: false,
            stopped: false,
            failures: Vec::new(),
        };
        for slot in raise.slots {
            if let Some(node) = dispatcher.nodes.get_mut(slot.node) {
                node.slots.push(slot);
            }
        }
        for index in 0..dispatcher.nodes.len() {
            if dispatcher.nodes[index].waits_for == 0 {
                dispatcher.release(index);
            }
        }
        for record in raise.kept {
            if let Some(index) = desired.index(&record.node) {
                dispatcher.ready(index, &record);
            }
        }
        dispatcher
    }

    async fn run(&mut self) -> Ending {
        loop {
            self.start();
            match self.inbox.next().await {
                Input::Finished(task, outcome) => {
                    let mut next = Some((task, outcome));
                    while let Some((task, outcome)) = next {
                        if let Some(refused) = self.finished(task, outcome) {
                            return Ending::Refused(refused);
                        }
                        next = self.inbox.finished();
                    }
                }
                Input::StopOrderly => {
                    (self.halted, self.stopped) = (true, true);
                    self.world.cancel.cancel();
                }
                Input::StopNow => return Ending::Aborted,
                Input::Lost => return Ending::Refused(Refused::Lost),
                Input::Idle if self.stopped => return Ending::Stopped,
                Input::Idle => return Ending::Done,
            }
        }
    }

    /// The node's own dependencies are ready: its instances may start.
    fn release(&mut self, index: usize) {
        for slot in std::mem::take(&mut self.nodes[index].slots) {
            match slot.start {
                Start::Replace(..) => self.replacements.push_back(slot),
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

    fn start_one(&mut self, slot: Slot) -> usize {
        let facts = self.facts_for(slot.node);
        let task = self.tasks.len();
        self.tasks.push(slot.node);
        let story = bring_up(self.world.clone(), self.desired.clone(), slot.node, slot.start, slot.id, facts);
        self.inbox.start(task, story);
        task
    }

    fn finished(&mut self, task: usize, outcome: Option<Result<InstanceRecord, Trouble>>) -> Option<Refused> {
        self.replacing.remove(&task);
        let node = self.tasks[task];
        match outcome.unwrap_or_else(|| Err(self.bug(node))) {
            Ok(record) => self.ready(node, &record),
            Err(Trouble::Cancelled) => {}
            Err(Trouble::Refused(refused)) => return Some(refused),
            Err(Trouble::Failed(failure)) => {
                self.failures.push(*failure);
                self.halted |= self.on_trouble != OnTrouble::GoOn;
                if self.on_trouble == OnTrouble::Halt {
                    self.world.cancel.cancel();
                }
            }
        }
        None
    }

    /// One more instance of a node is ready.
    fn ready(&mut self, index: usize, record: &InstanceRecord) {
        self.generation += 1;
        let fact = Arc::new(facts(&self.world.id, &self.desired, record));
        let node = &mut self.nodes[index];
        node.changed = self.generation;
        let place = node.facts.partition_point(|other| other.instance_id < fact.instance_id);
        node.facts.insert(place, fact);
        if node.lacks == 0 {
            return;
        }
        node.lacks -= 1;
        if node.lacks > 0 {
            return;
        }
        for dependent in node.dependents.clone() {
            self.nodes[dependent].waits_for -= 1;
            if self.nodes[dependent].waits_for == 0 {
                self.release(dependent);
            }
        }
    }

    /// What a new instance of a node may know. One list serves many: it is made anew only when a node that this one
    /// depends on has changed since.
    fn facts_for(&mut self, index: usize) -> Facts {
        let newest = self.nodes[index].dependees.iter().map(|dependee| self.nodes[*dependee].changed).max();
        if self.snapshot.0 == 0 || newest.is_some_and(|newest| newest > self.snapshot.0) {
            let all = self.nodes.iter().flat_map(|node| node.facts.iter().cloned()).collect();
            self.snapshot = (self.generation, Arc::new(Others::new(all)));
        }
        self.snapshot.1.clone()
    }

    fn bug(&self, node: usize) -> Trouble {
        let node = self.desired.node(node).map(|node| node.name.clone()).unwrap_or_default();
        let fault = Fault::new(Reaction::GiveUp, "engine.panic", "a bug: the task that made this node panicked");
        let reason = Reason::Call { call: "deploy".into(), fault, attempts: 1, seconds: 0 };
        let (instance, driver, origin) = Default::default();
        Trouble::Failed(Box::new(NodeFailure {
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
