//! Instances known to a run, for comparison with the machines that clouds list.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use crate::error::{EngineError, FailureReason};
use crate::id::InfrastructureId;
use crate::ports::{LabelledMachine, Store};
use crate::state::load_instances;

/// The outcome of one comparison: the reason why no machine may be created, if there is one.
pub(crate) type ComparisonCell = Arc<OnceCell<Option<FailureReason>>>;

/// The instances of an infrastructure that are known to the store or to this run. Shared by all tasks of one run.
pub(crate) struct KnownInstances {
    id: InfrastructureId,
    store: Arc<dyn Store>,
    /// Set if machines may carry the ownership label; not so for an id that was generated for this run.
    is_needed: AtomicBool,
    /// Comparisons by access to a cloud, keyed by the digest of the `resource` section.
    comparisons: Mutex<HashMap<u64, ComparisonCell>>,
    /// Instances whose machines this run has removed. Lists may show them for a while.
    removed: Mutex<HashSet<String>>,
}

impl KnownInstances {
    /// Creates the known instances of an infrastructure that may have machines without records.
    pub(super) fn new(id: &InfrastructureId, store: Arc<dyn Store>) -> Self {
        Self {
            id: id.clone(),
            store,
            is_needed: AtomicBool::new(true),
            comparisons: Mutex::default(),
            removed: Mutex::default(),
        }
    }

    /// Skips the comparison, for an infrastructure whose label no machine can carry yet.
    pub(crate) fn skip_comparison(&self) {
        self.is_needed.store(false, Ordering::Relaxed);
    }

    /// Returns the cell for the comparison of an access to a cloud; `None` if no comparison is needed.
    pub(crate) fn comparison_cell(&self, access: u64) -> Option<ComparisonCell> {
        self.is_needed.load(Ordering::Relaxed).then(|| lock(&self.comparisons).entry(access).or_default().clone())
    }

    /// Notes that the machine of an instance was removed.
    pub(crate) fn note_removed(&self, instance: &str) {
        lock(&self.removed).insert(instance.to_owned());
    }

    /// Returns whether this run has removed the machine of an instance.
    pub(crate) fn was_removed(&self, instance: &str) -> bool {
        lock(&self.removed).contains(instance)
    }

    /// Returns the machines that have no record and that this run has not removed.
    ///
    /// # Errors
    /// Fails if the records cannot be read from the store.
    pub(crate) async fn without_record(
        &self,
        machines: Vec<LabelledMachine>,
    ) -> Result<Vec<LabelledMachine>, EngineError> {
        if machines.is_empty() {
            return Ok(machines);
        }
        let known = load_instances(&*self.store, &self.id).await?;
        let known: HashSet<_> = known.iter().map(|record| record.id.as_str()).collect();
        let is_unrecorded = |machine: &LabelledMachine| {
            !known.contains(machine.instance_id.as_str()) && !self.was_removed(&machine.instance_id)
        };
        Ok(machines.into_iter().filter(is_unrecorded).collect())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
