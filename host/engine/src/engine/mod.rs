//! The way in.

mod build;
mod check;
mod cursor;
mod destroy;
mod forget;
mod infrastructure;
mod maintain;
mod orphans;
mod preview;
mod removal;
mod retention;
mod rollout;
mod scale;
mod suspend;
mod view;

use std::sync::Arc;

use indexmap::IndexMap;
use occopus_model::{Implementation, Infrastructure};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::act::{Limiters, MonotonicTime, RunContext};
use crate::error::{EngineError, NodeFailure};
use crate::event::{Event, StoredEvent};
use crate::lease::InfrastructureLease;
use crate::plan::{Plan, PlanOptions, Rollout, Targets};
use crate::ports::{Clock, Compare, Plugins, Store};
use crate::request::{BuildRequest, MaintainOptions, RunHandle, Scale};
use crate::settings::Settings;
use crate::state::{DesiredRecord, OwnerRecord, decode, keys, load_instances, load_record};
use crate::status::{DestroyReport, InstanceState, Leftover, Orphan, Owner, Preview, Status, Summary};

/// Builds, maintains and destroys infrastructures. Cheap to clone; clones share what they learn of how many calls a cloud takes.
#[derive(Clone)]
pub struct Engine {
    plugins: Arc<dyn Plugins>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
    limiters: Arc<Limiters>,
}

impl Engine {
    /// An engine over these plugins, this store and this clock.
    pub fn new(plugins: Arc<dyn Plugins>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let gates = Limiters::new(clock.clone());
        Self { plugins, store, clock, settings: Arc::default(), limiters: gates }
    }

    /// The same with other settings.
    pub fn with_settings(self, settings: Settings) -> Self {
        Self { settings: Arc::new(settings), ..self }
    }

    /// What a build would do. Reads the store, calls no cloud, and needs no plugin.
    pub async fn plan(&self, id: Option<&str>, desired: &Infrastructure, renew: Rollout) -> Result<Plan, EngineError> {
        check::graph(&desired.nodes)?;
        let actual = match id {
            Some(id) => {
                check::id(id)?;
                let mut records = load_instances(&*self.store, id).await?;
                // What a pass would find dead is replaced.
                let now = self.clock.now();
                for record in records.iter_mut().filter(|record| record.is_past_health_timeout(now)) {
                    record.state = InstanceState::Failed;
                    record.message = record.health.take();
                }
                records
            }
            None => Vec::new(),
        };
        let targets = match id {
            Some(id) => scale::expected_targets(&*self.store, id, desired, &actual).await?,
            None => Targets::new(),
        };
        check::instances(&desired.nodes, &targets, self.settings.instance_limits)?;
        Ok(crate::plan::plan(desired, &actual, &PlanOptions { rollout: renew, ..PlanOptions::for_targets(&targets) }))
    }

    /// Whether it can be built: a graph without flaws, and plugins for all of it. Calls none of them.
    pub fn check(&self, desired: &Infrastructure) -> Result<(), EngineError> {
        check::infrastructure(desired, &*self.plugins)?;
        check::instances(&desired.nodes, &Targets::new(), self.settings.instance_limits)
    }

    /// What these nodes (by their places in `nodes`) would get to know, in every implementation that they may use. Where
    /// an address is not known yet, one of RFC 5737 stands for it. Reads the store, calls no cloud and runs no command.
    pub async fn preview(
        &self,
        id: Option<&str>,
        desired: &Infrastructure,
        nodes: &[usize],
    ) -> Result<Vec<Result<Preview, NodeFailure>>, EngineError> {
        id.map_or(Ok(()), check::id)?;
        preview::preview(&*self.plugins.offline(), &*self.store, &self.settings, id, desired, nodes, true).await
    }

    /// The same, to find out whether it can be rendered: without what the nodes would get, of which there may be much.
    pub async fn rehearse(
        &self,
        id: Option<&str>,
        desired: &Infrastructure,
        nodes: &[usize],
    ) -> Result<Vec<Result<Preview, NodeFailure>>, EngineError> {
        id.map_or(Ok(()), check::id)?;
        preview::preview(&*self.plugins.offline(), &*self.store, &self.settings, id, desired, nodes, false).await
    }

    /// Makes what is described, and returns when every node is ready. With an id that exists: finishes or changes it.
    ///
    /// When a node fails, everything that this call made is removed again, unless the request says to keep it; what was
    /// ready before stays.
    pub async fn build(&self, request: BuildRequest, run: RunHandle) -> Result<Status, EngineError> {
        build::build(self, request, run).await
    }

    /// Looks at every node and heals what is dead: one pass, or passes until stopped.
    pub async fn maintain(&self, id: &str, options: MaintainOptions, run: RunHandle) -> Result<Status, EngineError> {
        maintain::maintain(self, id, options, run).await
    }

    /// Asks for another number of instances, and gives the number that the node is going to have. The next pass of whoever
    /// owns the infrastructure takes it in, once: [`Engine::maintain`], or a process that maintains it already.
    pub async fn scale(&self, id: &str, node: &str, scale: Scale) -> Result<u32, EngineError> {
        scale::request(self, id, node, scale).await
    }

    /// Leaves an infrastructure alone: passes of [`Engine::maintain`] look at nothing and replace nothing, whoever makes
    /// them, until it is resumed. What runs goes on running.
    pub async fn suspend(&self, id: &str) -> Result<(), EngineError> {
        suspend::set_suspended(self, id, true).await
    }

    /// Maintains an infrastructure again. Ok when it was not suspended.
    pub async fn resume(&self, id: &str) -> Result<(), EngineError> {
        suspend::set_suspended(self, id, false).await
    }

    /// Ends a hold: whoever makes the next pass within ten minutes, in this process or another, replaces what looks dead by then,
    /// however much it is. A later pass does not, nor one after the infrastructure was suspended or resumed.
    /// [`MaintainOptions::release`] does so in a pass of one's own.
    pub async fn release(&self, id: &str) -> Result<(), EngineError> {
        suspend::request_release(self, id).await
    }

    /// Asks whoever maintains it, in this process or another, to let go after its pass. False when nobody works on it.
    pub async fn detach(&self, id: &str) -> Result<bool, EngineError> {
        suspend::request_detach(self, id).await
    }

    /// Removes every node, dependents first. What can't be removed is in the report.
    pub async fn destroy(&self, id: &str, run: RunHandle) -> Result<DestroyReport, EngineError> {
        destroy::destroy(self, id, run).await
    }

    /// Forgets an instance whose machine can't be removed: its record goes, and nothing is asked of its cloud. The machine may
    /// still exist; the leftover says where.
    pub async fn forget(&self, id: &str, instance: &str) -> Result<Leftover, EngineError> {
        forget::forget(self, id, instance).await
    }

    /// Finds machines that carry the mark of this infrastructure and have no record, in the clouds of these rendered
    /// `resource` sections, and removes them if that is wanted. The infrastructure need not exist (any more).
    pub async fn sweep(&self, id: &str, sections: &[Value], remove: bool) -> Result<Vec<Orphan>, EngineError> {
        orphans::sweep(self, id, sections, remove).await
    }

    /// What is known. With `refresh` the clouds are asked first, unless another process works on it (which then keeps the
    /// store fresh); without it only the store is read.
    pub async fn status(&self, id: &str, refresh: bool) -> Result<Status, EngineError> {
        check::id(id)?;
        if refresh {
            match maintain::refresh(self, id).await {
                Ok(()) | Err(EngineError::Owned { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        view::status(&*self.store, id).await
    }

    /// What is to be there; none when the infrastructure was to be destroyed.
    pub async fn desired(&self, id: &str) -> Result<Option<Infrastructure>, EngineError> {
        check::id(id)?;
        let record: Option<DesiredRecord> = load_record(&*self.store, &keys::desired(id)).await?;
        Ok(record.map(|record| record.infrastructure))
    }

    /// What is to be there, with a condition that holds until that is written again.
    pub async fn desired_with_precondition(&self, id: &str) -> Result<(Option<Infrastructure>, Compare), EngineError> {
        check::id(id)?;
        let key = keys::desired(id);
        let entry = self.store.get(&key).await?;
        let record = entry.as_ref().map(|entry| decode::<DesiredRecord>(&key, &entry.value)).transpose()?;
        let unchanged = Compare::Modified(key, entry.map_or(0, |entry| entry.modified));
        Ok((record.map(|record| record.infrastructure), unchanged))
    }

    /// Who works on it now.
    pub async fn owner(&self, id: &str) -> Result<Option<Owner>, EngineError> {
        check::id(id)?;
        let record: Option<OwnerRecord> = load_record(&*self.store, &keys::owner(id)).await?;
        Ok(record.map(|record| record.owner))
    }

    /// Whether there is an infrastructure with this id.
    pub async fn exists(&self, id: &str) -> Result<bool, EngineError> {
        check::id(id)?;
        Ok(self.store.get(&keys::infrastructure(id)).await?.is_some())
    }

    /// Every infrastructure in the store.
    pub async fn list(&self) -> Result<Vec<Summary>, EngineError> {
        view::list(&*self.store).await
    }

    /// Stored events after the one with the id `number`, at most `limit`. Of an infrastructure that was rolled back, the last
    /// ones are kept for a day.
    pub async fn events(&self, id: &str, number: u64, limit: usize) -> Result<Vec<StoredEvent>, EngineError> {
        check::id(id)?;
        let after = keys::event(id, number);
        let entries = self.store.range(&keys::events(id), Some(&after), limit).await?;
        if entries.is_empty() && !self.exists(id).await? {
            return retention::retained_events(self, id, number, limit).await;
        }
        entries.iter().map(|entry| decode(&entry.key, &entry.value)).collect()
    }

    /// After which event a reader of this name goes on. The first time, after all that has happened so far.
    pub async fn cursor(&self, id: &str, reader: &str) -> Result<u64, EngineError> {
        cursor::load(self, id, reader).await
    }

    /// Remembers for a reader how far it has come.
    pub async fn set_cursor(&self, id: &str, reader: &str, event: u64) -> Result<(), EngineError> {
        cursor::save(self, id, reader, event).await
    }

    /// Keeps node definitions in the store, by type; replaces those of the same types.
    pub async fn save_definitions(&self, types: &IndexMap<String, Vec<Implementation>>) -> Result<(), EngineError> {
        view::save_definitions(&*self.store, types).await
    }

    /// Forgets the node definitions of a type; false when there are none. What is deployed keeps its own.
    pub async fn remove_definitions(&self, node_type: &str) -> Result<bool, EngineError> {
        view::remove_definitions(&*self.store, node_type).await
    }

    /// The node definitions in the store, by type.
    pub async fn definitions(&self) -> Result<IndexMap<String, Vec<Implementation>>, EngineError> {
        view::definitions(&*self.store).await
    }

    async fn acquire_lease(
        &self,
        id: &str,
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<InfrastructureLease, EngineError> {
        InfrastructureLease::acquire(id, self.store.clone(), self.clock.clone(), &self.settings, events).await
    }

    fn run_context(&self, id: &str, session: &InfrastructureLease, cancel: CancellationToken) -> Arc<RunContext> {
        self.run_context_at(id, session, cancel, Arc::new(MonotonicTime::new(self.clock.clone())))
    }

    fn run_context_at(
        &self,
        id: &str,
        session: &InfrastructureLease,
        cancel: CancellationToken,
        steady: Arc<MonotonicTime>,
    ) -> Arc<RunContext> {
        let (plugins, clock, settings) = (self.plugins.clone(), self.clock.clone(), self.settings.clone());
        RunContext::new(id, plugins, clock, settings, session, cancel, steady, self.limiters.clone())
    }
}
