//! The build of an infrastructure: from the description to ready nodes, or back.

use std::collections::HashSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::existing::put;
use super::infrastructure::{join_leftovers, set_state};
use super::owned::OwnedInfrastructure;
use super::removal::{RemovalReport, remove_all};
use super::task_specs::task_specs;
use super::{Engine, check, owner_requests, retention, scale, view};
use crate::act::{DesiredState, EntryPoint, leftover};
use crate::dispatch::{BringUp, BringUpOutcome, FailurePolicy, RunEnd, bring_up, tear_down};
use crate::error::EngineError;
use crate::event::EventKind;
use crate::id::InfrastructureId;
use crate::plan::{PlanOptions, Rollout, Targets, plan, superseded_by_ready};
use crate::ports::Write;
use crate::request::{BuildRequest, OnFailure, RunHandle, StopSignal};
use crate::state::{
    DesiredRecord, InfrastructureRecord, InstanceRecord, PreviousRecord, encode, keys, load_instances, load_record,
};
use crate::status::{InfrastructureState, Leftover, Status};

pub(super) async fn build(engine: &Engine, request: BuildRequest, run: RunHandle) -> Result<Status, EngineError> {
    let is_new_id = request.is_new_id || request.id.is_none();
    let id = request.id.unwrap_or_else(InfrastructureId::generate);
    check::infrastructure(&request.infrastructure, &*engine.plugins)?;
    check::instances(&request.infrastructure.nodes, &Targets::new(), engine.settings.instance_limits)?;
    let lease = engine.acquire_lease(&id, run.events).await?;
    if is_new_id {
        lease.known_instances.skip_comparison();
    }
    let desired = Arc::new(DesiredState::new(request.infrastructure));
    let build = Build {
        owned: OwnedInfrastructure { engine, id: &id, lease: &lease },
        desired,
        rollout: request.rollout,
        stop: run.stop,
    };
    let outcome = build.run(request.on_failure).await;
    lease.revoke().await;
    outcome?;
    view::status(&*engine.store, &id).await
}

pub(super) struct Build<'a> {
    pub(super) owned: OwnedInfrastructure<'a>,
    pub(super) desired: Arc<DesiredState>,
    pub(super) rollout: Rollout,
    pub(super) stop: StopSignal,
}

impl Build<'_> {
    #[tracing::instrument(name = "build", level = "debug", skip_all, fields(infrastructure = self.owned.id.as_str()))]
    async fn run(&self, on_failure: OnFailure) -> Result<(), EngineError> {
        let store = &*self.owned.engine.store;
        let now = PreviousRecord {
            infrastructure: load_record(store, &keys::infrastructure(self.owned.id)).await?,
            desired: load_record(store, &keys::desired(self.owned.id))
                .await?
                .map(|record: DesiredRecord| record.infrastructure),
        };
        // A change that was begun and has not succeeded: a failure rolls back to the state before it.
        let previous: Option<PreviousRecord> = load_record(store, &keys::previous(self.owned.id)).await?;
        let before = previous.unwrap_or_else(|| now.clone());
        let mut actual = load_instances(store, self.owned.id).await?;
        self.record_desired(&now, &before, &mut actual).await?;
        owner_requests::sync_suspended(self.owned).await?;
        let infrastructure = &self.desired.infrastructure;
        let targets = scale::apply_requests(self.owned, infrastructure, || actual.clone()).await?;
        check::instances(&infrastructure.nodes, &targets, self.owned.engine.settings.instance_limits)?;
        let plan =
            plan(infrastructure, &actual, &PlanOptions { rollout: self.rollout, ..PlanOptions::for_targets(&targets) });
        self.owned.lease.journal.emit(EventKind::Planned { plan: plan.clone() });

        let (tasks, surplus) = task_specs(&plan, &self.desired, actual);
        let of_this_build = tasks.iter().flat_map(|task| match &task.entry_point {
            // Not healthy when this build began: whatever becomes of it is due to this build.
            EntryPoint::Resume(record) => vec![task.id.clone(), record.id.clone()],
            _ => vec![task.id.clone()],
        });
        let of_this_build: HashSet<_> = of_this_build.collect();
        let policy =
            if on_failure == OnFailure::Rollback { FailurePolicy::AbortAll } else { FailurePolicy::FinishStarted };
        let job = BringUp { tasks, already_ready: Vec::new(), on_failure: policy, replace_at_once: usize::MAX };
        let ctx = self.owned.run_context(CancellationToken::new());
        let brought_up = bring_up(&ctx, &self.desired, job, &self.stop, &self.owned.lease.lost).await;
        match &brought_up.end {
            RunEnd::Done if brought_up.failures.is_empty() => self.finish(surplus, &targets).await,
            RunEnd::Done | RunEnd::Stopped if on_failure == OnFailure::Rollback => {
                self.roll_back(&before, &of_this_build, brought_up).await
            }
            RunEnd::Done | RunEnd::Stopped => self.keep_for_inspection(brought_up).await,
            RunEnd::Aborted => {
                Err(EngineError::Stopped { rolled_back: false, left: self.unfinished(&of_this_build).await? })
            }
            RunEnd::JournalFailed(error) => Err(error.clone().into_error(self.owned.id)),
        }
    }

    /// Records the desired state, before anything is done for it.
    async fn record_desired(
        &self,
        now: &PreviousRecord,
        before: &PreviousRecord,
        actual: &mut [InstanceRecord],
    ) -> Result<(), EngineError> {
        let infrastructure = &self.desired.infrastructure;
        let desired = DesiredRecord { infrastructure: infrastructure.clone() };
        let event = match now.infrastructure {
            None => EventKind::InfraStart { name: infrastructure.name.clone() },
            Some(_) => EventKind::InfraUpdated,
        };
        let new = || InfrastructureRecord {
            name: String::new(),
            state: InfrastructureState::Building,
            message: None,
            created: self.owned.engine.clock.now(),
        };
        let mut record = now.infrastructure.clone().unwrap_or_else(new);
        record.set_state(InfrastructureState::Building);
        record.name.clone_from(&infrastructure.name);
        record.message = None;
        let mut writes = vec![
            put(keys::desired(self.owned.id), encode(desired)?),
            put(keys::infrastructure(self.owned.id), encode(record)?),
            put(keys::previous(self.owned.id), encode(before)?),
        ];
        // Existing instances are removed in the order of the current description.
        for record in actual {
            let node = self.desired.index(&record.node).and_then(|index| self.desired.node(index));
            if let Some(node) = node.filter(|node| node.depends_on != record.depends_on) {
                record.depends_on.clone_from(&node.depends_on);
                writes.push(put(keys::instance(self.owned.id, &record.id), encode(&*record)?));
            }
        }
        self.owned.write(writes, vec![event]).await
    }

    /// Removes the surplus and rolls out, once every node is ready.
    async fn finish(&self, mut surplus: Vec<InstanceRecord>, targets: &Targets) -> Result<(), EngineError> {
        // A replacement that an earlier run began may have become ready only now: the instance that it replaces is
        // removed.
        let replaced = superseded_by_ready(load_instances(&*self.owned.engine.store, self.owned.id).await?);
        surplus.retain(|record| replaced.iter().all(|other| other.id != record.id));
        surplus.extend(replaced);
        let ctx = self.owned.run_context(CancellationToken::new());
        let torn_down = tear_down(&ctx, surplus, &self.stop, &self.owned.lease.lost).await;
        if let RunEnd::JournalFailed(error) = torn_down.end {
            return Err(error.into_error(self.owned.id));
        }
        // The surplus goes first, so that no new instance refers to it.
        self.roll_out(targets).await?;
        if torn_down.left.is_empty() {
            self.set_state(InfrastructureState::Ready, None, vec![EventKind::InfraReady]).await
        } else {
            let message = format!("not removed: {}", join_leftovers(&torn_down.left));
            self.set_state(InfrastructureState::Degraded, Some(message), Vec::new()).await
        }
    }

    /// Leaves everything as it is, for inspection.
    async fn keep_for_inspection(&self, brought_up: BringUpOutcome) -> Result<(), EngineError> {
        let message = brought_up.failures.first().map_or_else(|| "stopped".to_owned(), ToString::to_string);
        self.set_state(InfrastructureState::Degraded, Some(message), Vec::new()).await?;
        let left = load_instances(&*self.owned.engine.store, self.owned.id).await?;
        let left = left.iter().map(|record| leftover(record, format!("kept: {}", record.state))).collect();
        Err(build_error(brought_up, false, left))
    }

    /// Removes what this build created, and everything that was never ready.
    async fn roll_back(
        &self,
        before: &PreviousRecord,
        of_this_build: &HashSet<String>,
        brought_up: BringUpOutcome,
    ) -> Result<(), EngineError> {
        let store = &*self.owned.engine.store;
        // The records in the store are the most recent ones.
        let (gone, stay): (Vec<_>, Vec<_>) = load_instances(store, self.owned.id)
            .await?
            .into_iter()
            .partition(|record| of_this_build.contains(&record.id) || record.ready_at.is_none());
        self.owned.write(Vec::new(), vec![EventKind::RollingBack { instances: gone.len() }]).await?;
        // Only a second request to stop cancels the rollback.
        let stop = StopSignal { graceful: CancellationToken::new(), immediate: self.stop.immediate.clone() };
        let ctx = self.owned.run_context(self.stop.immediate.child_token());
        let RemovalReport { tear_down: torn_down, .. } = remove_all(&ctx, gone, &stop, &self.owned.lease.lost).await;
        match torn_down.end {
            RunEnd::JournalFailed(error) => return Err(error.into_error(self.owned.id)),
            RunEnd::Aborted => {
                return Err(EngineError::Stopped { rolled_back: false, left: self.unfinished(of_this_build).await? });
            }
            RunEnd::Done | RunEnd::Stopped => {}
        }
        let left = torn_down.left;
        let nothing_stays = stay.is_empty() && left.is_empty();
        // An empty infrastructure is not kept because of an earlier build that was not finished either, or of a removal.
        let was_something = |record: &InfrastructureRecord| {
            !matches!(record.state, InfrastructureState::Building | InfrastructureState::Destroying)
        };
        if nothing_stays && !before.infrastructure.as_ref().is_some_and(was_something) {
            let kept = retention::retain(self.owned.engine, self.owned.id).await?;
            self.owned
                .lease
                .journal
                .delete_infrastructure(kept)
                .await
                .map_err(|error| error.into_error(self.owned.id))?;
            return Err(build_error(brought_up, true, left));
        }
        if let Some(desired) = &before.desired {
            // The previous description is the desired state again; its instances still exist.
            let desired = DesiredRecord { infrastructure: desired.clone() };
            let mut writes = vec![put(keys::desired(self.owned.id), encode(desired)?)];
            writes.push(Write::Delete { key: keys::previous(self.owned.id) });
            if let Some(infrastructure) = &before.infrastructure {
                writes.push(put(keys::infrastructure(self.owned.id), encode(infrastructure)?));
            }
            self.owned.write(writes, vec![EventKind::InfraUpdated]).await?;
        }
        // What a removal has left is still to go: nobody asked for it again but this build.
        let was_destroying = |record: &InfrastructureRecord| record.state == InfrastructureState::Destroying;
        if before.infrastructure.as_ref().is_some_and(was_destroying) {
            let left = load_instances(store, self.owned.id).await?.len();
            let message = format!("not removed: {left} of its instances");
            self.set_state(InfrastructureState::Destroying, Some(message), Vec::new()).await?;
        } else if !left.is_empty() {
            let message = format!("not removed: {}", join_leftovers(&left));
            self.set_state(InfrastructureState::Degraded, Some(message), Vec::new()).await?;
        } else if !view::status(store, self.owned.id).await?.is_ready() {
            let message = brought_up.failures.first().map_or_else(|| "stopped".to_owned(), ToString::to_string);
            self.set_state(InfrastructureState::Degraded, Some(message), Vec::new()).await?;
        }
        Err(build_error(brought_up, true, left))
    }

    pub(super) async fn unfinished(&self, of_this_build: &HashSet<String>) -> Result<Vec<Leftover>, EngineError> {
        let records = load_instances(&*self.owned.engine.store, self.owned.id).await?;
        let unfinished =
            records.iter().filter(|record| of_this_build.contains(&record.id) || record.ready_at.is_none());
        Ok(unfinished.map(|record| leftover(record, format!("left {} when stopped", record.state))).collect())
    }

    pub(super) async fn set_state(
        &self,
        state: InfrastructureState,
        message: Option<String>,
        events: Vec<EventKind>,
    ) -> Result<(), EngineError> {
        set_state(self.owned, state, message, events).await
    }
}

pub(super) fn build_error(brought_up: BringUpOutcome, rolled_back: bool, left: Vec<Leftover>) -> EngineError {
    match (brought_up.end, brought_up.failures.into_iter().next()) {
        (RunEnd::Done, Some(failure)) => EngineError::Node { failure: Box::new(failure), rolled_back, left },
        _ => EngineError::Stopped { rolled_back, left },
    }
}
