//! The engine: the entry points of the crate, each in a module of its own.
//!
//! Every change takes the lease on its infrastructure first. Requests (scale, suspend, release, detach) are only
//! recorded, and the owner applies them. Which plugins, store and clock there are is not known here, only their traits.

mod build;
mod check;
mod cursor;
mod destroy;
mod existing;
mod forget;
mod infrastructure;
mod maintain;
mod orphans;
mod owned;
mod owner_requests;
mod preview;
mod removal;
mod retention;
mod rollout;
mod scale;
mod stored_events;
mod task_specs;
mod view;

use std::sync::Arc;

use indexmap::IndexMap;
use occopus_model::{Implementation, Infrastructure};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::act::{Limiters, MonotonicTime, RunContext, Services};
use crate::error::{EngineError, NodeFailure};
use crate::event::Event;
use crate::id::InfrastructureId;
use crate::lease::InfrastructureLease;
use crate::plan::{Plan, PlanOptions, Rollout, Targets};
use crate::ports::{Clock, Compare, Plugins, Store, StoreError};
use crate::preview::Preview;
use crate::request::{BuildRequest, MaintainOptions, RunHandle, Scale};
use crate::settings::Settings;
use crate::state::{
    self, DesiredRecord, InfrastructureChanges, OwnerRecord, Position, RecordError, decode, keys, load_instances,
    load_record,
};
use crate::status::{DestroyReport, InstanceState, Leftover, Orphan, Owner, Status, Summary};

/// The controller that builds, maintains and destroys infrastructures. Cheap to clone; clones share the call limits of
/// clouds, and what was learnt of them.
#[derive(Clone)]
pub struct Engine {
    plugins: Arc<dyn Plugins>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
    limiters: Arc<Limiters>,
}

impl Engine {
    /// Creates an engine over these plugins, this store and this clock.
    pub fn new(plugins: Arc<dyn Plugins>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let limiters = Limiters::new(clock.clone());
        Self { plugins, store, clock, settings: Arc::default(), limiters }
    }

    /// Returns the same engine with other settings.
    pub fn with_settings(self, settings: Settings) -> Self {
        Self { settings: Arc::new(settings), ..self }
    }

    /// Returns the plan of a build. Reads the store, calls no cloud, and needs no plugin.
    ///
    /// # Errors
    /// Fails if the description is not valid, if there would be too many instances, or if the store can't be read.
    pub async fn plan(
        &self,
        id: Option<&InfrastructureId>,
        desired: &Infrastructure,
        rollout: Rollout,
    ) -> Result<Plan, EngineError> {
        check::graph(&desired.nodes)?;
        let actual = match id {
            Some(id) => {
                let mut records = load_instances(&*self.store, id).await?;
                // Instances that a pass would find dead are replaced.
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
        Ok(crate::plan::plan(desired, &actual, &PlanOptions { rollout, ..PlanOptions::for_targets(&targets) }))
    }

    /// Checks that a description can be built: a valid graph, plugins for all of it, and not too many instances. Calls
    /// no plugin.
    ///
    /// # Errors
    /// Returns [`EngineError::Invalid`], [`EngineError::NoPlugin`] or [`EngineError::TooMany`] for the first defect.
    pub fn check(&self, desired: &Infrastructure) -> Result<(), EngineError> {
        check::infrastructure(desired, &*self.plugins)?;
        check::instances(&desired.nodes, &Targets::new(), self.settings.instance_limits)
    }

    /// Renders the input of these nodes (indices into `desired.nodes`), for every implementation that they may use. An
    /// address that is not known yet is represented by one of RFC 5737. Reads the store, calls no cloud and runs no
    /// command.
    ///
    /// # Errors
    /// Fails if the store can't be read. A node that can't be rendered is an error of its own, in the list.
    pub async fn preview(
        &self,
        id: Option<&InfrastructureId>,
        desired: &Infrastructure,
        nodes: &[usize],
    ) -> Result<Vec<Result<Preview, NodeFailure>>, EngineError> {
        preview::preview(&*self.plugins.offline(), &*self.store, &self.settings, id, desired, nodes, true).await
    }

    /// Renders like [`Engine::preview`] and drops the rendered attributes and user data, which may be large: only to
    /// find out whether it succeeds.
    ///
    /// # Errors
    /// As for [`Engine::preview`].
    pub async fn rehearse(
        &self,
        id: Option<&InfrastructureId>,
        desired: &Infrastructure,
        nodes: &[usize],
    ) -> Result<Vec<Result<Preview, NodeFailure>>, EngineError> {
        preview::preview(&*self.plugins.offline(), &*self.store, &self.settings, id, desired, nodes, false).await
    }

    /// Builds what is described, and returns when every node is ready. With an id that exists: finishes or changes it.
    ///
    /// Rolls back if a node fails: everything that this call created is removed again, unless the request says to keep
    /// it; instances that were ready before stay.
    ///
    /// # Errors
    /// Returns [`EngineError::Node`] if a node fails, [`EngineError::Stopped`] if the caller stops the run,
    /// [`EngineError::Owned`] if another process holds the lease, and [`EngineError::LeaseLost`] if it takes over.
    /// Fails also if the request is not valid, or if the store fails.
    pub async fn build(&self, request: BuildRequest, run: RunHandle) -> Result<Status, EngineError> {
        build::build(self, request, run).await
    }

    /// Surveys every node and heals dead instances: one pass, or passes until stopped.
    ///
    /// # Errors
    /// Returns [`EngineError::Owned`] if another process holds the lease, [`EngineError::LeaseLost`] if it takes over,
    /// and [`EngineError::Stopped`] after a second request to stop. Fails also if there is no such infrastructure, or
    /// if the store fails.
    pub async fn maintain(
        &self,
        id: &InfrastructureId,
        options: MaintainOptions,
        run: RunHandle,
    ) -> Result<Status, EngineError> {
        maintain::maintain(self, id, options, run).await
    }

    /// Records a request for another number of instances, and returns the number that the node is going to have. The
    /// next pass of the owner applies it, once: [`Engine::maintain`], or a process that maintains the infrastructure
    /// already.
    ///
    /// # Errors
    /// Returns [`EngineError::Limits`] or [`EngineError::TooMany`] for a number that is not allowed. Fails also if the
    /// infrastructure is being destroyed, if it, the node or the instance does not exist, or if the store fails.
    pub async fn scale(&self, id: &InfrastructureId, node: &str, scale: Scale) -> Result<u32, EngineError> {
        scale::request(self, id, node, scale).await
    }

    /// Suspends maintenance: passes of [`Engine::maintain`], in any process, observe nothing and replace nothing until
    /// [`Engine::resume`]. Running machines go on running.
    ///
    /// # Errors
    /// Fails if there is no such infrastructure, or if the store fails.
    pub async fn suspend(&self, id: &InfrastructureId) -> Result<(), EngineError> {
        owner_requests::set_suspended(self, id, true).await
    }

    /// Resumes maintenance. Does nothing if it was not suspended.
    ///
    /// # Errors
    /// Fails if there is no such infrastructure, or if the store fails.
    pub async fn resume(&self, id: &InfrastructureId) -> Result<(), EngineError> {
        owner_requests::set_suspended(self, id, false).await
    }

    /// Requests the end of a hold: the next pass within ten minutes, in this process or another, replaces all instances
    /// that look dead by then. A later pass does not, nor one after the infrastructure was suspended or resumed.
    /// [`MaintainOptions::release`] does the same in the caller's own pass.
    ///
    /// # Errors
    /// Fails if there is no such infrastructure, or if the store fails.
    pub async fn release(&self, id: &InfrastructureId) -> Result<(), EngineError> {
        owner_requests::request_release(self, id).await
    }

    /// Requests that the owner, in this process or another, ends maintenance after its pass. Returns false if there is
    /// no owner.
    ///
    /// # Errors
    /// Fails if there is no such infrastructure, or if the store fails.
    pub async fn detach(&self, id: &InfrastructureId) -> Result<bool, EngineError> {
        owner_requests::request_detach(self, id).await
    }

    /// Removes every node, dependents first. Instances that can't be removed are in the report.
    ///
    /// # Errors
    /// Returns [`EngineError::Owned`] if another process holds the lease, [`EngineError::LeaseLost`] if it takes over,
    /// and [`EngineError::Stopped`] after a second request to stop. Fails also if there is no such infrastructure, or
    /// if the store fails.
    pub async fn destroy(&self, id: &InfrastructureId, run: RunHandle) -> Result<DestroyReport, EngineError> {
        destroy::destroy(self, id, run).await
    }

    /// Removes the record of an instance whose machine can't be removed, without a call to its cloud. The machine may
    /// still exist; the returned leftover has its driver and handle.
    ///
    /// # Errors
    /// Returns [`EngineError::UnknownInstance`] if there is no such instance and [`EngineError::Owned`] if another
    /// process holds the lease. Fails also if there is no such infrastructure, or if the store fails.
    pub async fn forget(&self, id: &InfrastructureId, instance: &str) -> Result<Leftover, EngineError> {
        forget::forget(self, id, instance).await
    }

    /// Finds machines that carry the ownership label of this infrastructure and have no record, in the clouds of these
    /// rendered `resource` sections; with `remove`, removes them. The infrastructure need not exist (any more).
    ///
    /// # Errors
    /// Returns [`EngineError::Node`] if a cloud can't list its machines, [`EngineError::Owned`] if another process
    /// holds the lease, and [`EngineError::LeaseLost`] if it takes over. Fails also if the store fails. A machine that
    /// can't be removed is no error: it has a message.
    pub async fn sweep(
        &self,
        id: &InfrastructureId,
        sections: &[Value],
        remove: bool,
    ) -> Result<Vec<Orphan>, EngineError> {
        orphans::sweep(self, id, sections, remove).await
    }

    /// Returns the status. With `refresh` the instances are surveyed first, unless another process owns the
    /// infrastructure (which then keeps the store fresh); without it only the store is read.
    ///
    /// # Errors
    /// Fails if there is no such infrastructure, if the lease is lost during the survey, or if the store fails.
    pub async fn status(&self, id: &InfrastructureId, refresh: bool) -> Result<Status, EngineError> {
        if refresh {
            match maintain::refresh(self, id).await {
                Ok(()) | Err(EngineError::Owned { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        view::status(&*self.store, id).await
    }

    /// Returns the desired state; none if there is no such infrastructure.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub async fn desired(&self, id: &InfrastructureId) -> Result<Option<Infrastructure>, EngineError> {
        let record: Option<DesiredRecord> = load_record(&*self.store, &keys::desired(id)).await?;
        Ok(record.map(|record| record.infrastructure))
    }

    /// Returns the desired state, with a condition that holds until it is written again.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub async fn desired_with_precondition(
        &self,
        id: &InfrastructureId,
    ) -> Result<(Option<Infrastructure>, Compare), EngineError> {
        let key = keys::desired(id);
        let entry = self.store.get(&key).await?;
        let record = entry.as_ref().map(|entry| decode::<DesiredRecord>(&key, &entry.value)).transpose()?;
        let unchanged = Compare::Modified(key, entry.map_or(0, |entry| entry.modified));
        Ok((record.map(|record| record.infrastructure), unchanged))
    }

    /// Returns the owner, if a process holds the lease.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub async fn owner(&self, id: &InfrastructureId) -> Result<Option<Owner>, EngineError> {
        let record: Option<OwnerRecord> = load_record(&*self.store, &keys::owner(id)).await?;
        Ok(record.map(|record| record.owner))
    }

    /// Returns whether there is an infrastructure with this id.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub async fn exists(&self, id: &InfrastructureId) -> Result<bool, EngineError> {
        Ok(self.store.get(&keys::infrastructure(id)).await?.is_some())
    }

    /// Returns every infrastructure in the store, oldest first.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub async fn list(&self) -> Result<Vec<Summary>, EngineError> {
        view::list(&*self.store).await
    }

    /// Returns at most `limit` stored events after the one with the id `number`; fewer only if there are no more. An
    /// event that this version can't read is left out, and logged. The last events of an infrastructure that was rolled
    /// back are kept for a day.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub async fn events(&self, id: &InfrastructureId, number: u64, limit: usize) -> Result<Vec<Event>, EngineError> {
        let events = stored_events::read(&*self.store, id, number, limit).await?;
        if events.is_empty() && !self.exists(id).await? {
            return retention::retained_events(self, id, number, limit).await;
        }
        Ok(events)
    }

    /// Returns an error for each stored event that this version can't read.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub async fn unreadable_events(&self, id: &InfrastructureId) -> Result<Vec<RecordError>, EngineError> {
        Ok(stored_events::unreadable(&*self.store, id).await?)
    }

    /// Returns the position after all changes so far, from which [`Engine::watch`] reports the next ones.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub async fn newest_position(&self) -> Result<Position, StoreError> {
        Ok(Position::after(self.store.revision().await?))
    }

    /// Watches the changes of all infrastructures after a position, by any process. None is missed, and none is reported
    /// twice; of several changes of one record, only the last may be reported. The stream ends only with an error, after
    /// which the caller watches again from the position of the last change that it has processed. A store forgets old
    /// removals: a reader that was away for long reads the state first.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    pub async fn watch(&self, after: Position) -> Result<InfrastructureChanges, StoreError> {
        state::watch(&*self.store, after).await
    }

    /// Returns the id of the event after which a reader of this name continues. The first time, that is the last event
    /// so far.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub async fn cursor(&self, id: &InfrastructureId, reader: &str) -> Result<u64, EngineError> {
        cursor::load(self, id, reader).await
    }

    /// Stores the position of a reader. Does nothing if the infrastructure is gone.
    ///
    /// # Errors
    /// Fails if the store fails.
    pub async fn set_cursor(&self, id: &InfrastructureId, reader: &str, event: u64) -> Result<(), EngineError> {
        cursor::save(self, id, reader, event).await
    }

    /// Stores node definitions, by type; replaces those of the same types.
    ///
    /// # Errors
    /// Fails if the store fails.
    pub async fn save_definitions(&self, types: &IndexMap<String, Vec<Implementation>>) -> Result<(), EngineError> {
        view::save_definitions(&*self.store, types).await
    }

    /// Removes the node definitions of a type; returns false if there are none. Infrastructures keep their own copies.
    ///
    /// # Errors
    /// Fails if the store fails.
    pub async fn remove_definitions(&self, node_type: &str) -> Result<bool, EngineError> {
        view::remove_definitions(&*self.store, node_type).await
    }

    /// Returns the node definitions in the store, by type.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub async fn definitions(&self) -> Result<IndexMap<String, Vec<Implementation>>, EngineError> {
        view::definitions(&*self.store).await
    }

    async fn acquire_lease(
        &self,
        id: &InfrastructureId,
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<InfrastructureLease, EngineError> {
        InfrastructureLease::acquire(id, self.store.clone(), self.clock.clone(), &self.settings, events).await
    }

    fn run_context(
        &self,
        id: &InfrastructureId,
        lease: &InfrastructureLease,
        cancel: CancellationToken,
    ) -> Arc<RunContext> {
        self.run_context_at(id, lease, cancel, Arc::new(MonotonicTime::new(self.clock.clone())))
    }

    fn run_context_at(
        &self,
        id: &InfrastructureId,
        lease: &InfrastructureLease,
        cancel: CancellationToken,
        monotonic: Arc<MonotonicTime>,
    ) -> Arc<RunContext> {
        let services = Services {
            plugins: self.plugins.clone(),
            clock: self.clock.clone(),
            settings: self.settings.clone(),
            limiters: self.limiters.clone(),
        };
        RunContext::new(id, services, lease, cancel, monotonic)
    }
}
