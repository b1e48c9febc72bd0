//! The graph of a bring-up: which nodes are ready, what may start next, and the facts about ready instances.

use std::sync::Arc;

use super::start_queue::TaskSpec;
use crate::act::{DesiredState, PeerFacts, PeerIndex};
use crate::ports::InstanceFacts;

/// The nodes of a bring-up, with the instances that are ready or not started.
pub(super) struct Graph {
    nodes: Vec<NodeState>,
    /// Number of changes of the facts.
    generation: u64,
    /// Facts about all ready instances, and their generation. Shared by many tasks.
    snapshot: Option<(u64, PeerFacts)>,
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

impl Graph {
    /// Creates the graph of a description, with tasks for its nodes.
    pub(super) fn new(desired: &DesiredState, tasks: Vec<TaskSpec>) -> Self {
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
        for index in 0..nodes.len() {
            for dependee in nodes[index].dependees.clone() {
                nodes[dependee].dependents.push(index);
            }
        }
        for spec in tasks {
            if let Some(node) = nodes.get_mut(spec.node) {
                node.unstarted.push(spec);
            }
        }
        Self { nodes, generation: 0, snapshot: None }
    }

    /// Releases the tasks of nodes without dependencies.
    pub(super) fn release_roots(&mut self) -> Vec<TaskSpec> {
        let roots = self.nodes.iter_mut().filter(|node| node.unready_dependencies == 0);
        roots.flat_map(|node| std::mem::take(&mut node.unstarted)).collect()
    }

    /// Counts a ready instance of a node. Releases the tasks of the dependents if it was the last one missing.
    pub(super) fn mark_ready(&mut self, index: usize, fact: InstanceFacts) -> Vec<TaskSpec> {
        self.generation += 1;
        let node = &mut self.nodes[index];
        node.facts_generation = self.generation;
        let position = node.facts.partition_point(|other| other.instance_id < fact.instance_id);
        node.facts.insert(position, Arc::new(fact));
        if node.missing_ready == 0 {
            return Vec::new();
        }
        node.missing_ready -= 1;
        if node.missing_ready > 0 {
            return Vec::new();
        }
        let mut released = Vec::new();
        for dependent in node.dependents.clone() {
            let dependent = &mut self.nodes[dependent];
            dependent.unready_dependencies -= 1;
            if dependent.unready_dependencies == 0 {
                released.append(&mut dependent.unstarted);
            }
        }
        released
    }

    /// Returns the facts for a new instance of a node. They are computed anew only if a dependency of this node has
    /// changed since.
    pub(super) fn facts_for(&mut self, index: usize) -> PeerFacts {
        let newest = self.nodes[index].dependees.iter().map(|dependee| self.nodes[*dependee].facts_generation).max();
        if let Some((generation, facts)) = &self.snapshot
            && newest.is_none_or(|newest| newest <= *generation)
        {
            return facts.clone();
        }
        let all = self.nodes.iter().flat_map(|node| node.facts.iter().cloned()).collect();
        let facts = Arc::new(PeerIndex::new(all));
        self.snapshot = Some((self.generation, facts.clone()));
        facts
    }
}
