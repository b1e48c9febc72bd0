//! Tasks that may start: at once, or as soon as fewer dead instances are being replaced.

use std::collections::{HashSet, VecDeque};

use crate::act::EntryPoint;

/// An instance task to start.
pub(crate) struct TaskSpec {
    /// Index of its node.
    pub(crate) node: usize,
    pub(crate) entry_point: EntryPoint,
    /// Id for a new instance, if the task creates one.
    pub(crate) id: String,
}

/// Tasks whose dependencies are ready. Bounded by the plan: each of its tasks is queued once.
pub(super) struct StartQueue {
    startable: VecDeque<TaskSpec>,
    replacements: VecDeque<TaskSpec>,
    /// Tasks that replace a dead instance at the moment.
    replacing: HashSet<usize>,
    replace_at_once: usize,
}

impl StartQueue {
    /// Creates a queue that lets this many dead instances be replaced at the same time, and at least one.
    pub(super) fn new(replace_at_once: usize) -> Self {
        Self {
            startable: VecDeque::new(),
            replacements: VecDeque::new(),
            replacing: HashSet::new(),
            replace_at_once: replace_at_once.max(1),
        }
    }

    /// Queues tasks.
    pub(super) fn push(&mut self, specs: Vec<TaskSpec>) {
        for spec in specs {
            match spec.entry_point {
                EntryPoint::Replace(..) => self.replacements.push_back(spec),
                _ => self.startable.push_back(spec),
            }
        }
    }

    /// Returns a task that may start now, as the one with this number.
    pub(super) fn pop(&mut self, task: usize) -> Option<TaskSpec> {
        if let Some(spec) = self.startable.pop_front() {
            return Some(spec);
        }
        if self.replacing.len() >= self.replace_at_once {
            return None;
        }
        let spec = self.replacements.pop_front()?;
        self.replacing.insert(task);
        Some(spec)
    }

    /// Notes that a task has ended.
    pub(super) fn finish(&mut self, task: usize) {
        self.replacing.remove(&task);
    }
}
