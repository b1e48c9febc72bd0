//! Keeping an infrastructure alive: look at everything, then heal, within bounds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::build::{enter, slots};
use super::destroy::known;
use super::{Engine, check, scale, view};
use crate::act::{Death, Desired, Look, Start, Trouble, World, look};
use crate::dispatch::{Ending, OnTrouble, Raise, lower, raise};
use crate::error::{EngineError, NodeFailure};
use crate::event::What;
use crate::plan::{ActionKind, Targets, plan};
use crate::request::{MaintainOptions, Run, Stop};
use crate::session::Session;
use crate::state::{DesiredRecord, InstanceRecord, get, keys, load_instances};
use crate::status::{InfrastructureState, InstanceState, Status};

/// Looks at the same time. Each may be a call of a driver (shared by many) and some checks.
const LOOKS_AT_ONCE: usize = 1000;
/// The longest pause before a node that keeps failing is tried again.
const LONGEST_PENALTY: Duration = Duration::from_secs(600);

pub(super) async fn maintain(
    engine: &Engine,
    id: &str,
    options: MaintainOptions,
    run: Run,
) -> Result<Status, EngineError> {
    check::id(id)?;
    known(engine, id).await?;
    let session = engine.begin(id, run.events).await?;
    let mut keeper = Keeper { engine, id, session: &session, stop: &run.stop, penalties: HashMap::new() };
    let outcome = keeper.passes(options.cyclic).await;
    session.end().await;
    outcome?;
    view::status(&*engine.store, id).await
}

/// Looks at everything and writes down what it sees; heals nothing.
pub(super) async fn refresh(engine: &Engine, id: &str) -> Result<(), EngineError> {
    known(engine, id).await?;
    let (events, _) = mpsc::unbounded_channel();
    let session = engine.begin(id, events).await?;
    let stop = Stop::default();
    let keeper = Keeper { engine, id, session: &session, stop: &stop, penalties: HashMap::new() };
    let outcome = keeper.observe_all().await;
    session.end().await;
    outcome.map(|_| ())
}

struct Keeper<'a> {
    engine: &'a Engine,
    id: &'a str,
    session: &'a Session,
    stop: &'a Stop,
    /// Nodes that failed to come back: how often, and not to be tried again before.
    penalties: HashMap<String, (u32, Timestamp)>,
}

/// What all the looks together say.
struct Picture {
    desired: Arc<Desired>,
    records: Vec<InstanceRecord>,
    dead: HashMap<String, Death>,
    /// Instances that were ready before.
    total: usize,
}

impl Keeper<'_> {
    async fn passes(&mut self, cyclic: Option<Duration>) -> Result<(), EngineError> {
        loop {
            self.pass().await?;
            let Some(pause) = cyclic else { return Ok(()) };
            tokio::select! {
                biased;
                () = self.session.lost.cancelled() => return Err(EngineError::LeaseLost { id: self.id.into() }),
                () = self.stop.orderly.cancelled() => return Ok(()),
                () = self.engine.clock.sleep(pause) => {}
            }
        }
    }

    async fn pass(&mut self) -> Result<(), EngineError> {
        let before = known(self.engine, self.id).await?.state;
        if self.engine.store.get(&keys::suspended(self.id)).await?.is_some() {
            return Ok(());
        }
        let Picture { desired, mut records, dead, total } = self.observe_all().await?;
        let held = dead.len() > allowed(total, self.engine.settings.hold_above);
        if held {
            let message = format!(
                "{} of {total} instances look dead at once, so nothing is replaced; `build` replaces",
                dead.len()
            );
            let event = What::Hold { dead: dead.len(), of: total };
            let events = if before == InfrastructureState::Held { Vec::new() } else { vec![event] };
            return self.enter(InfrastructureState::Held, Some(message), events).await;
        }
        for record in &mut records {
            if let Some(death) = dead.get(&record.id) {
                // In memory only: the plan then replaces it.
                record.state = InstanceState::Failed;
                record.message = Some(death.why.clone());
            }
        }
        let targets = scale::take_in(self.engine, self.session, self.id, &desired.infrastructure, &records).await?;
        let (changed, failures) = self.heal(&desired, records, &targets, &dead, total).await?;
        let now_ready = view::status(&*self.engine.store, self.id).await?.is_ready();
        let mut events = Vec::new();
        if before == InfrastructureState::Held {
            events.push(What::HoldEnded);
        }
        if changed {
            events.push(What::InfraUpdated);
        }
        let (state, message) = match now_ready {
            true => (InfrastructureState::Ready, None),
            false => (InfrastructureState::Degraded, failures.first().map(ToString::to_string)),
        };
        if state == InfrastructureState::Ready && before != state {
            events.push(What::InfraReady);
        }
        if state == before && events.is_empty() {
            return Ok(());
        }
        self.enter(state, message, events).await
    }

    /// Looks at every instance that was ready, or was looked at before.
    async fn observe_all(&self) -> Result<Picture, EngineError> {
        let store = &*self.engine.store;
        let invalid = || EngineError::Invalid { message: format!("infrastructure {} has no description", self.id) };
        let desired: DesiredRecord = get(store, &keys::desired(self.id)).await?.ok_or_else(invalid)?;
        let desired = Arc::new(Desired::new(desired.infrastructure));
        let records = load_instances(store, self.id).await?;
        let world = self.engine.world(self.id, self.session, self.stop.orderly.child_token());
        let looks = records.into_iter().map(|record| look_at(world.clone(), desired.clone(), record));
        let looks = stream::iter(looks).buffered(LOOKS_AT_ONCE).collect::<Vec<_>>();
        let looks = tokio::select! {
            biased;
            () = self.session.lost.cancelled() => return Err(EngineError::LeaseLost { id: self.id.into() }),
            () = self.stop.now.cancelled() => {
                return Err(EngineError::Stopped { rolled_back: false, left: Vec::new() });
            }
            looks = looks => looks,
        };
        let mut picture = Picture { desired, records: Vec::new(), dead: HashMap::new(), total: 0 };
        for seen in looks {
            let (record, seen) = match seen {
                Ok(seen) => seen,
                Err(Trouble::Refused(refused)) => return Err(refused.into_error(self.id)),
                Err(Trouble::Cancelled | Trouble::Failed(_)) => continue,
            };
            picture.total += usize::from(seen.is_some());
            if let Some(Look::Dead(death)) = seen {
                picture.dead.insert(record.id.clone(), death);
            }
            picture.records.push(record);
        }
        Ok(picture)
    }

    /// Does what the plan says, a few at a time. Returns whether anything changed, and what failed.
    async fn heal(
        &mut self,
        desired: &Arc<Desired>,
        records: Vec<InstanceRecord>,
        targets: &Targets,
        dead: &HashMap<String, Death>,
        total: usize,
    ) -> Result<(bool, Vec<NodeFailure>), EngineError> {
        let now = self.engine.clock.now();
        let mut plan = plan(&desired.infrastructure, &records, targets);
        let penalised = |node: &str| self.penalties.get(node).is_some_and(|(_, until)| *until > now);
        plan.actions.retain(|action| {
            !(matches!(action.kind, ActionKind::Create | ActionKind::Replace) && penalised(&action.node))
        });
        let changed = !plan.is_unchanged();
        let (slots, surplus) = slots(&plan, desired, records);
        let mut kept = Vec::new();
        let mut work = Vec::new();
        for mut slot in slots {
            match slot.start {
                Start::Check(record) => {
                    kept.push(record);
                    continue;
                }
                Start::Replace(record, death) => {
                    let death = dead.get(&record.id).cloned().unwrap_or(death);
                    slot.start = Start::Replace(record, death);
                }
                _ => {}
            }
            work.push(slot);
        }
        let tried: Vec<_> =
            work.iter().filter_map(|slot| desired.node(slot.node)).map(|node| node.name.clone()).collect();
        let replace_at_once = allowed(total, self.engine.settings.replace_at_once);
        let job = Raise { slots: work, kept, on_trouble: OnTrouble::GoOn, replace_at_once };
        let world = self.engine.world(self.id, self.session, CancellationToken::new());
        let raised = raise(&world, desired, job, self.stop, &self.session.lost).await;
        self.goes_on(raised.ending)?;
        self.remember(&tried, &raised.failures);
        let lowered = lower(&world, surplus, self.stop, &self.session.lost).await;
        self.goes_on(lowered.ending)?;
        Ok((changed, raised.failures))
    }

    fn goes_on(&self, ending: Ending) -> Result<(), EngineError> {
        match ending {
            Ending::Done | Ending::Stopped => Ok(()),
            Ending::Aborted => Err(EngineError::Stopped { rolled_back: false, left: Vec::new() }),
            Ending::Refused(refused) => Err(refused.into_error(self.id)),
        }
    }

    /// A node that keeps failing is tried less and less often.
    fn remember(&mut self, tried: &[String], failures: &[NodeFailure]) {
        let now = self.engine.clock.now();
        for node in tried {
            if failures.iter().any(|failure| &failure.node == node) {
                let times = self.penalties.get(node).map_or(0, |(times, _)| *times) + 1;
                let pause = Duration::from_secs(10).saturating_mul(1 << times.min(10)).min(LONGEST_PENALTY);
                let until = now.checked_add(pause).unwrap_or(now);
                self.penalties.insert(node.clone(), (times, until));
            } else {
                self.penalties.remove(node);
            }
        }
    }

    async fn enter(
        &self,
        state: InfrastructureState,
        message: Option<String>,
        events: Vec<What>,
    ) -> Result<(), EngineError> {
        enter(self.engine, self.session, self.id, state, message, events).await
    }
}

/// A look, if the instance is one to be looked at.
async fn look_at(
    world: Arc<World>,
    desired: Arc<Desired>,
    mut record: InstanceRecord,
) -> Result<(InstanceRecord, Option<Look>), Trouble> {
    if !matches!(record.state, InstanceState::Ready | InstanceState::Unhealthy) {
        return Ok((record, None));
    }
    let seen = look(&world, &desired, &mut record).await?;
    Ok((record, Some(seen)))
}

/// A part of all, but at least one.
fn allowed(total: usize, part: f64) -> usize {
    ((total as f64 * part).floor() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn one_may_always_be_replaced() {
        assert_eq!(allowed(0, 0.2), 1);
        assert_eq!(allowed(4, 0.2), 1);
        assert_eq!(allowed(10, 0.2), 2);
        assert_eq!(allowed(10, 0.4), 4);
    }
}
