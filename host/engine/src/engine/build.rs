//! Building: from the description to ready nodes, or back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::infrastructure::{enter, names, put};
use super::removal::{Removed, remove_all};
use super::{Engine, check, evidence, scale, suspend, view};
use crate::act::{Death, Desired, Start, leftover};
use crate::dispatch::{Ending, OnTrouble, Raise, Raised, Slot, lower, raise};
use crate::error::EngineError;
use crate::event::What;
use crate::plan::{ActionKind, Plan, Renew, Targets, Wishes, plan, replaced};
use crate::ports::Write;
use crate::request::{BuildRequest, OnFailure, Run, Stop};
use crate::session::Session;
use crate::state::{
    DesiredRecord, InfrastructureRecord, InstanceRecord, PreviousRecord, encode, get, keys, load_instances,
};
use crate::status::{InfrastructureState, Leftover, Status};

pub(super) async fn build(engine: &Engine, request: BuildRequest, run: Run) -> Result<Status, EngineError> {
    let is_new_id = request.is_new_id || request.id.is_none();
    let id = request.id.unwrap_or_else(|| Uuid::new_v4().to_string());
    check::id(&id)?;
    check::infrastructure(&request.infrastructure, &*engine.plugins)?;
    check::instances(&request.infrastructure.nodes, &Targets::new(), engine.settings.instances)?;
    let session = engine.begin(&id, run.events).await?;
    if is_new_id {
        session.inventory.skip();
    }
    let desired = Arc::new(Desired::new(request.infrastructure));
    let build = Build { engine, id: &id, session: &session, desired, renew: request.renew, stop: run.stop };
    let outcome = build.run(request.on_failure).await;
    session.end().await;
    outcome?;
    view::status(&*engine.store, &id).await
}

pub(super) struct Build<'a> {
    pub(super) engine: &'a Engine,
    pub(super) id: &'a str,
    pub(super) session: &'a Session,
    pub(super) desired: Arc<Desired>,
    pub(super) renew: Renew,
    pub(super) stop: Stop,
}

impl Build<'_> {
    #[tracing::instrument(name = "build", level = "debug", skip_all, fields(infrastructure = self.id))]
    async fn run(&self, on_failure: OnFailure) -> Result<(), EngineError> {
        let store = &*self.engine.store;
        let now = PreviousRecord {
            infrastructure: get(store, &keys::infrastructure(self.id)).await?,
            desired: get(store, &keys::desired(self.id)).await?.map(|record: DesiredRecord| record.infrastructure),
        };
        // A change that was begun and has not succeeded: what was there before it is what a failure goes back to.
        let previous: Option<PreviousRecord> = get(store, &keys::previous(self.id)).await?;
        let before = previous.unwrap_or_else(|| now.clone());
        let mut actual = load_instances(store, self.id).await?;
        self.announce(&now, &before, &mut actual).await?;
        suspend::take_in(self.engine, self.session, self.id).await?;
        let infrastructure = &self.desired.infrastructure;
        let targets = scale::take_in(self.engine, self.session, self.id, infrastructure, || actual.clone()).await?;
        check::instances(&infrastructure.nodes, &targets, self.engine.settings.instances)?;
        let plan = plan(infrastructure, &actual, &Wishes { renew: self.renew, ..Wishes::of(&targets) });
        self.session.journal.tell(What::Planned { plan: plan.clone() });

        let (slots, surplus) = slots(&plan, &self.desired, actual);
        let made = slots.iter().flat_map(|slot| match &slot.start {
            // Not healthy when this build began: whatever it becomes, this build made it so.
            Start::Resume(record) => vec![slot.id.clone(), record.id.clone()],
            _ => vec![slot.id.clone()],
        });
        let made: HashSet<_> = made.collect();
        let on_trouble = if on_failure == OnFailure::Rollback { OnTrouble::Halt } else { OnTrouble::Finish };
        let job = Raise { slots, kept: Vec::new(), on_trouble, replace_at_once: usize::MAX };
        let world = self.engine.world(self.id, self.session, CancellationToken::new());
        let raised = raise(&world, &self.desired, job, &self.stop, &self.session.lost).await;
        match &raised.ending {
            Ending::Done if raised.failures.is_empty() => self.finish(surplus, &targets).await,
            Ending::Done | Ending::Stopped if on_failure == OnFailure::Rollback => {
                self.roll_back(&before, &made, raised).await
            }
            Ending::Done | Ending::Stopped => self.keep(raised).await,
            Ending::Aborted => Err(EngineError::Stopped { rolled_back: false, left: self.unfinished(&made).await? }),
            Ending::Refused(refused) => Err(refused.clone().into_error(self.id)),
        }
    }

    /// Writes down what is wanted, before anything is done for it.
    async fn announce(
        &self,
        now: &PreviousRecord,
        before: &PreviousRecord,
        actual: &mut [InstanceRecord],
    ) -> Result<(), EngineError> {
        let infrastructure = &self.desired.infrastructure;
        let desired = DesiredRecord { infrastructure: infrastructure.clone() };
        let event = match now.infrastructure {
            None => What::InfraStart { name: infrastructure.name.clone() },
            Some(_) => What::InfraUpdated,
        };
        let created = now.infrastructure.as_ref().map_or_else(|| self.engine.clock.now(), |record| record.created);
        let record = InfrastructureRecord {
            name: infrastructure.name.clone(),
            state: InfrastructureState::Building,
            message: None,
            created,
        };
        let mut writes = vec![
            put(keys::desired(self.id), encode(desired)?),
            put(keys::infrastructure(self.id), encode(record)?),
            put(keys::previous(self.id), encode(before)?),
        ];
        // What exists is removed in the order of what is described now.
        for record in actual {
            let node = self.desired.index(&record.node).and_then(|index| self.desired.node(index));
            if let Some(node) = node.filter(|node| node.depends_on != record.depends_on) {
                record.depends_on.clone_from(&node.depends_on);
                writes.push(put(keys::instance(self.id, &record.id), encode(&*record)?));
            }
        }
        self.write(writes, vec![event]).await
    }

    /// Every node is ready: what is not wanted any more can go.
    async fn finish(&self, mut surplus: Vec<InstanceRecord>, targets: &Targets) -> Result<(), EngineError> {
        // An instance that an earlier run began, and that is ready now, lets the one go in whose place it was made.
        let replaced = replaced(load_instances(&*self.engine.store, self.id).await?);
        surplus.retain(|record| replaced.iter().all(|other| other.id != record.id));
        surplus.extend(replaced);
        let world = self.engine.world(self.id, self.session, CancellationToken::new());
        let lowered = lower(&world, surplus, &self.stop, &self.session.lost).await;
        if let Ending::Refused(refused) = lowered.ending {
            return Err(refused.into_error(self.id));
        }
        // Nothing that is renewed is to be told of what has just gone.
        self.renew_all(targets).await?;
        if lowered.left.is_empty() {
            self.enter(InfrastructureState::Ready, None, vec![What::InfraReady]).await
        } else {
            let message = format!("not removed: {}", names(&lowered.left));
            self.enter(InfrastructureState::Degraded, Some(message), Vec::new()).await
        }
    }

    /// Leaves everything as it is, to be looked at.
    async fn keep(&self, raised: Raised) -> Result<(), EngineError> {
        let message = raised.failures.first().map_or_else(|| "stopped".to_owned(), ToString::to_string);
        self.enter(InfrastructureState::Degraded, Some(message), Vec::new()).await?;
        let left = load_instances(&*self.engine.store, self.id).await?;
        let left = left.iter().map(|record| leftover(record, format!("kept: {}", record.state))).collect();
        Err(ended(raised, false, left))
    }

    /// Removes what this build made, and everything that was never ready.
    async fn roll_back(
        &self,
        before: &PreviousRecord,
        made: &HashSet<String>,
        raised: Raised,
    ) -> Result<(), EngineError> {
        let store = &*self.engine.store;
        // The store knows best how far each instance has come.
        let (gone, stay): (Vec<_>, Vec<_>) = load_instances(store, self.id)
            .await?
            .into_iter()
            .partition(|record| made.contains(&record.id) || record.ready_at.is_none());
        self.write(Vec::new(), vec![What::RollingBack { instances: gone.len() }]).await?;
        // Only a second request to stop ends this.
        let stop = Stop { orderly: CancellationToken::new(), now: self.stop.now.clone() };
        let world = self.engine.world(self.id, self.session, self.stop.now.child_token());
        let Removed { lowered, .. } = remove_all(&world, gone, &stop, &self.session.lost).await;
        match lowered.ending {
            Ending::Refused(refused) => return Err(refused.into_error(self.id)),
            Ending::Aborted => {
                return Err(EngineError::Stopped { rolled_back: false, left: self.unfinished(made).await? });
            }
            Ending::Done | Ending::Stopped => {}
        }
        let left = lowered.left;
        let nothing_stays = stay.is_empty() && left.is_empty();
        // An earlier build that was not finished either is no reason to keep an empty infrastructure.
        let was_something = |record: &InfrastructureRecord| record.state != InfrastructureState::Building;
        if nothing_stays && !before.infrastructure.as_ref().is_some_and(was_something) {
            let kept = evidence::keep(self.engine, self.id).await?;
            self.session.journal.forget_all(kept).await.map_err(|refused| refused.into_error(self.id))?;
            return Err(ended(raised, true, left));
        }
        if let Some(desired) = &before.desired {
            // What was described before is what is wanted again; it is what still exists.
            let desired = DesiredRecord { infrastructure: desired.clone() };
            let mut writes = vec![put(keys::desired(self.id), encode(desired)?)];
            writes.push(Write::Delete { key: keys::previous(self.id) });
            if let Some(it) = &before.infrastructure {
                writes.push(put(keys::infrastructure(self.id), encode(it)?));
            }
            self.write(writes, vec![What::InfraUpdated]).await?;
        }
        if !left.is_empty() {
            let message = format!("not removed: {}", names(&left));
            self.enter(InfrastructureState::Degraded, Some(message), Vec::new()).await?;
        } else if !view::status(store, self.id).await?.is_ready() {
            let message = raised.failures.first().map_or_else(|| "stopped".to_owned(), ToString::to_string);
            self.enter(InfrastructureState::Degraded, Some(message), Vec::new()).await?;
        }
        Err(ended(raised, true, left))
    }

    pub(super) async fn unfinished(&self, made: &HashSet<String>) -> Result<Vec<Leftover>, EngineError> {
        let records = load_instances(&*self.engine.store, self.id).await?;
        let unfinished = records.iter().filter(|record| made.contains(&record.id) || record.ready_at.is_none());
        Ok(unfinished.map(|record| leftover(record, format!("left {} when stopped", record.state))).collect())
    }

    pub(super) async fn enter(
        &self,
        state: InfrastructureState,
        message: Option<String>,
        events: Vec<What>,
    ) -> Result<(), EngineError> {
        enter(self.engine, self.session, self.id, state, message, events).await
    }

    pub(super) async fn write(&self, writes: Vec<Write>, events: Vec<What>) -> Result<(), EngineError> {
        self.session.journal.write(writes, events).await.map_err(|refused| refused.into_error(self.id))
    }
}

/// A plan as something to run: what to bring up, and what to remove.
pub(super) fn slots(plan: &Plan, desired: &Desired, actual: Vec<InstanceRecord>) -> (Vec<Slot>, Vec<InstanceRecord>) {
    // An instance in whose place another one is being made is left alone: it goes when the other one is ready.
    let alive = actual.iter().filter(|record| !record.is_dead());
    let superseded: HashSet<_> = alive.filter_map(|record| record.replaces.clone()).collect();
    let mut records: HashMap<_, _> = actual.into_iter().map(|record| (record.id.clone(), record)).collect();
    let (mut slots, mut surplus) = (Vec::new(), Vec::new());
    for action in &plan.actions {
        let record = action.instance.as_ref().and_then(|instance| records.remove(instance));
        let start = match (action.kind, record) {
            (ActionKind::Destroy, Some(record)) => {
                surplus.push(record);
                continue;
            }
            (ActionKind::Create, _) => Start::New,
            (ActionKind::Resume, Some(record)) => Start::Resume(record),
            (ActionKind::Check, Some(record)) if superseded.contains(&record.id) => continue,
            // What is renewed is looked at first: when it is dead, it is replaced anyway.
            (ActionKind::Check | ActionKind::Renew, Some(record)) => Start::Check(record),
            (ActionKind::Replace, Some(record)) => {
                Start::Replace(record, Death { why: action.reason.clone(), vanished: false })
            }
            // The plan was made from these very records.
            (_, None) => continue,
        };
        let Some(node) = desired.index(&action.node) else { continue };
        let mut slot = |start| slots.push(Slot { node, start, id: Uuid::now_v7().to_string() });
        (1..action.count).for_each(|_| slot(Start::New));
        slot(start);
    }
    (slots, surplus)
}

pub(super) fn ended(raised: Raised, rolled_back: bool, left: Vec<Leftover>) -> EngineError {
    match (raised.ending, raised.failures.into_iter().next()) {
        (Ending::Done, Some(failure)) => EngineError::Node { failure: Box::new(failure), rolled_back, left },
        _ => EngineError::Stopped { rolled_back, left },
    }
}
