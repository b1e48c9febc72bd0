//! Which machines a run knows of, to be compared with what clouds list.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use crate::error::{EngineError, FailureReason};
use crate::ports::{OwnedMachine, Store};
use crate::state::load_instances;

/// The outcome of one comparison: what keeps machines from being made.
pub(crate) type ComparisonCell = Arc<OnceCell<Option<FailureReason>>>;

/// The instances of an infrastructure that are known to the store or to this run. Shared by all tasks of one run.
pub(crate) struct KnownInstances {
    id: String,
    store: Arc<dyn Store>,
    /// Off where nothing can carry the ownership label: the id was made a moment ago.
    is_needed: AtomicBool,
    /// For each access to a cloud, by the digest of the `resource` section.
    comparisons: Mutex<HashMap<u64, ComparisonCell>>,
    /// Instances whose machines this run has removed. A list may show them a while longer.
    removed: Mutex<HashSet<String>>,
}

impl KnownInstances {
    /// An inventory of an infrastructure that may have machines without records.
    pub(super) fn new(id: &str, store: Arc<dyn Store>) -> Self {
        Self {
            id: id.into(),
            store,
            is_needed: AtomicBool::new(true),
            comparisons: Mutex::default(),
            removed: Mutex::default(),
        }
    }

    /// Says that no machine can carry the label of this infrastructure yet.
    pub(crate) fn skip_comparison(&self) {
        self.is_needed.store(false, Ordering::Relaxed);
    }

    /// Returns where the comparison for an access to a cloud is kept; none when none is needed.
    pub(crate) fn comparison_cell(&self, access: u64) -> Option<ComparisonCell> {
        self.is_needed.load(Ordering::Relaxed).then(|| lock(&self.comparisons).entry(access).or_default().clone())
    }

    /// Remembers that the machine of an instance was removed.
    pub(crate) fn note_removed(&self, instance: &str) {
        lock(&self.removed).insert(instance.to_owned());
    }

    /// Whether this run has removed the machine of an instance.
    pub(crate) fn was_removed(&self, instance: &str) -> bool {
        lock(&self.removed).contains(instance)
    }

    /// Returns those of these machines that have no record, and that this run has not removed.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn without_record(&self, machines: Vec<OwnedMachine>) -> Result<Vec<OwnedMachine>, EngineError> {
        if machines.is_empty() {
            return Ok(machines);
        }
        let known = load_instances(&*self.store, &self.id).await?;
        let known: HashSet<_> = known.iter().map(|record| record.id.as_str()).collect();
        let is_strange = |machine: &OwnedMachine| {
            !known.contains(machine.instance_id.as_str()) && !self.was_removed(&machine.instance_id)
        };
        Ok(machines.into_iter().filter(is_strange).collect())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
