//! The loop of maintenance. It owns what is known; looks and jobs run beside it and hand in what they find.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::build::slots;
use super::super::infrastructure::{enter, known};
use super::super::{Engine, scale, suspend};
use super::healing::{Ended, Healing, Job, Share};
use super::penalties::Penalties;
use crate::act::{Death, Desired, Look, Start, Steady, Trouble, World, survey};
use crate::dispatch::{Ending, OnTrouble, Raise};
use crate::error::EngineError;
use crate::event::What;
use crate::plan::{ActionKind, Targets, Wishes, count, plan};
use crate::request::{Nudge, Run, Stop};
use crate::session::Session;
use crate::state::{DesiredRecord, InstanceRecord, get, keys, load_instances};
use crate::status::{InfrastructureState, InstanceState};

/// Between two passes, at least.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// How much of a look was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    Whole,
    CutShort,
}

pub(super) struct Keeper<'a> {
    engine: &'a Engine,
    id: &'a str,
    session: &'a Session,
    stop: &'a Stop,
    nudge: &'a Nudge,
    /// For looks.
    world: Arc<World>,
    desired: Arc<Desired>,
    /// By id, so the oldest first.
    records: BTreeMap<String, InstanceRecord>,
    targets: Targets,
    healing: Healing,
    penalties: Penalties,
    /// What the last looks found dead.
    dead: HashMap<String, Death>,
    /// How many instances they were.
    looked_at: usize,
    /// How many of them could not be judged, and why the first of them could not.
    unclear: Option<(usize, String)>,
    /// Nothing is to be done but to look.
    settled: bool,
    /// Something was done, and reporters have not been told.
    changed: bool,
    /// Why something is missing.
    failure: Option<String>,
    /// So many of so many look dead.
    hold: Option<(usize, usize)>,
    state: InfrastructureState,
    message: Option<String>,
}

impl<'a> Keeper<'a> {
    pub(super) async fn new(
        engine: &'a Engine,
        id: &'a str,
        session: &'a Session,
        run: &'a Run,
        steady: Arc<Steady>,
    ) -> Result<Self, EngineError> {
        let infrastructure = known(engine, id).await?;
        let invalid = || EngineError::Invalid { message: format!("infrastructure {id} has no description") };
        let desired: DesiredRecord = get(&*engine.store, &keys::desired(id)).await?.ok_or_else(invalid)?;
        let records = load_instances(&*engine.store, id).await?;
        Ok(Self {
            engine,
            id,
            session,
            stop: &run.stop,
            nudge: &run.nudge,
            world: engine.world_in_time(id, session, run.stop.orderly.child_token(), steady),
            desired: Arc::new(Desired::new(desired.infrastructure)),
            records: records.into_iter().map(|record| (record.id.clone(), record)).collect(),
            targets: Targets::new(),
            healing: Healing::default(),
            penalties: Penalties::default(),
            dead: HashMap::new(),
            looked_at: 0,
            unclear: None,
            settled: false,
            changed: false,
            failure: None,
            hold: None,
            state: infrastructure.state,
            message: infrastructure.message,
        })
    }

    /// One pass, or passes until stopped. Later passes spread their checks over the time until the next one.
    pub(super) async fn keep(mut self, cyclic: Option<Duration>) -> Result<(), EngineError> {
        let mut spread = Duration::ZERO;
        let mut looked = self.engine.clock.uptime();
        loop {
            let begun = self.engine.clock.uptime();
            if suspend::is_detached(self.engine, self.session, self.id).await? {
                break;
            }
            if !suspend::take_in(self.engine, self.session, self.id).await? {
                // Those who ask for something all the time must not keep everything from being looked at.
                let hasty = cyclic.is_some_and(|pause| begun.saturating_sub(looked) < pause * 2);
                match self.pass(spread, hasty).await? {
                    Some(Looked::Whole) => looked = self.engine.clock.uptime(),
                    Some(Looked::CutShort) => continue,
                    None => break,
                }
            }
            let Some(pause) = cyclic else { break };
            self.conclude().await?;
            let passed = self.engine.clock.uptime().saturating_sub(begun);
            let rest = pause.saturating_sub(passed).max(SHORTEST_PAUSE);
            let (clock, nudge) = (self.engine.clock.clone(), self.nudge);
            let pausing = async move {
                tokio::select! {
                    () = clock.sleep(rest) => false,
                    () = nudge.given() => true,
                }
            };
            let Some(given) = self.meanwhile(pausing).await? else { break };
            spread = if given { Duration::ZERO } else { pause };
        }
        self.finish_jobs().await?;
        self.conclude().await
    }

    /// Looks at everything, and heals nothing.
    pub(super) async fn look_once(mut self) -> Result<(), EngineError> {
        self.look(Duration::ZERO, false).await.map(|_| ())
    }

    /// None when it was stopped.
    #[tracing::instrument(level = "debug", skip_all, fields(infrastructure = self.id))]
    async fn pass(&mut self, spread: Duration, hasty: bool) -> Result<Option<Looked>, EngineError> {
        let Some(looked) = self.look(spread, hasty).await? else { return Ok(None) };
        self.heal().await?;
        Ok(Some(looked))
    }

    /// Looks at every instance that was ready before and that no job works on. In haste, a nudge cuts it short: what was seen
    /// by then is written down, and nothing follows from it.
    async fn look(&mut self, spread: Duration, hasty: bool) -> Result<Option<Looked>, EngineError> {
        self.follow_clock();
        let is_ours = |record: &&InstanceRecord| record.was_ready() && !self.healing.has(&record.id);
        let records: Vec<_> = self.records.values().filter(is_ours).cloned().collect();
        let (cut, nudge) = (self.world.cancel.child_token(), self.nudge);
        let looking = survey(self.world.with_cancel(cut.clone()), self.desired.clone(), records, spread);
        let looking = async move {
            let mut looking = pin!(looking);
            tokio::select! {
                seen = &mut looking => (seen, Looked::Whole),
                // It is awaited all the same, so that none of its writes comes after those of what follows.
                () = nudge.given(), if hasty => {
                    cut.cancel();
                    (looking.await, Looked::CutShort)
                }
            }
        };
        let Some((seen, looked)) = self.meanwhile(looking).await? else { return Ok(None) };
        let seen = match seen {
            Ok(seen) => seen,
            Err(Trouble::Refused(refused)) => return Err(refused.into_error(self.id)),
            Err(Trouble::Cancelled | Trouble::Failed(_)) if looked == Looked::CutShort => Vec::new(),
            Err(Trouble::Cancelled | Trouble::Failed(_)) => return Ok(None),
        };
        if looked == Looked::Whole {
            self.dead.clear();
            self.unclear = None;
            self.looked_at = seen.len();
        }
        for (record, look) in seen {
            match look {
                _ if looked == Looked::CutShort => {}
                Look::Dead(death) => {
                    self.dead.insert(record.id.clone(), death);
                }
                Look::Unclear(why) => self.unclear.get_or_insert((0, why)).0 += 1,
                Look::Fine | Look::Failing => {}
            }
            self.records.insert(record.id.clone(), record);
        }
        Ok(Some(looked))
    }

    /// Since when something fails is stored as a time of the clock. When the clock has jumped, these times go along.
    fn follow_clock(&mut self) {
        let Some(jump) = self.world.steady.follow() else { return };
        tracing::info!(infrastructure = self.id, "the clock has jumped by {jump:#}");
        for since in self.records.values_mut().filter_map(|record| record.failing_since.as_mut()) {
            *since = since.checked_add(jump).unwrap_or(*since);
        }
    }

    /// Does something, while jobs come to their ends. None when it was stopped.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<Option<T>, EngineError> {
        let mut work = pin!(work);
        let (session, stop) = (self.session, self.stop);
        loop {
            tokio::select! {
                biased;
                () = session.lost.cancelled() => return Err(self.lost()),
                () = stop.now.cancelled() => return Err(stopped()),
                () = stop.orderly.cancelled() => return Ok(None),
                ended = self.healing.next() => self.take_over(ended).await?,
                done = &mut work => return Ok(Some(done)),
            }
        }
    }

    async fn finish_jobs(&mut self) -> Result<(), EngineError> {
        let (session, stop) = (self.session, self.stop);
        while !self.healing.is_idle() {
            tokio::select! {
                biased;
                () = session.lost.cancelled() => return Err(self.lost()),
                () = stop.now.cancelled() => return Err(stopped()),
                ended = self.healing.next() => self.take_over(ended).await?,
            }
        }
        Ok(())
    }

    /// What a job has left.
    async fn take_over(&mut self, ended: Ended) -> Result<(), EngineError> {
        match ended.ending {
            Ending::Done | Ending::Stopped => {}
            Ending::Aborted => return Err(stopped()),
            Ending::Refused(refused) => return Err(refused.into_error(self.id)),
        }
        self.penalties.remember(&ended.share.nodes, &ended.failures, self.engine.clock.uptime());
        for id in ended.share.instances {
            match get(&*self.engine.store, &keys::instance(self.id, &id)).await? {
                Some(record) => self.records.insert(id, record),
                None => self.records.remove(&id),
            };
        }
        self.failure = ended.failures.first().map(ToString::to_string);
        (self.changed, self.settled) = (true, false);
        Ok(())
    }

    /// Begins what the plan says, if there is something, and if not so much looks dead that it is better to wait.
    async fn heal(&mut self) -> Result<(), EngineError> {
        let replacements = self.healing.replacements();
        let (dead, of) = (self.dead.len() + replacements, self.looked_at + replacements);
        let part = |percent: Option<f64>, usual: f64| allowed(of, percent.map_or(usual, |percent| percent / 100.0));
        let bounds = self.desired.infrastructure.maintenance;
        self.hold = None;
        if !self.dead.is_empty() && dead > part(bounds.hold_above_percent, self.engine.settings.hold_above) {
            self.hold = Some((dead, of));
            return Ok(());
        }
        let mut records: Vec<_> =
            self.records.values().filter(|record| !self.healing.has(&record.id)).cloned().collect();
        let infrastructure = &self.desired.infrastructure;
        let targets = scale::take_in(self.engine, self.session, self.id, infrastructure, &records).await?;
        if self.settled && self.dead.is_empty() && targets == self.targets {
            return Ok(());
        }
        self.targets = targets;
        for record in &mut records {
            if let Some(death) = self.dead.get(&record.id) {
                // In memory only: the plan then replaces it.
                record.state = InstanceState::Failed;
                record.message = Some(death.why.clone());
            }
        }
        let wishes = Wishes { under_way: Some(self.healing.under_way()), ..Wishes::of(&self.targets) };
        let mut plan = plan(infrastructure, &records, &wishes);
        self.settled = plan.is_unchanged() && self.healing.is_idle();
        let at_once = part(bounds.replace_at_once_percent, self.engine.settings.replace_at_once);
        let room = at_once.saturating_sub(replacements);
        let now = self.engine.clock.uptime();
        plan.actions.retain(|action| match action.kind {
            ActionKind::Replace => room > 0 && !self.penalties.holds(&action.node, now),
            ActionKind::Create => !self.penalties.holds(&action.node, now),
            _ => true,
        });
        if !plan.is_unchanged() {
            let (slots, surplus) = slots(&plan, &self.desired, records);
            self.begin(slots, surplus, room);
        }
        Ok(())
    }

    fn begin(&mut self, slots: Vec<crate::dispatch::Slot>, surplus: Vec<InstanceRecord>, room: usize) {
        let (mut kept, mut work, mut share) = (Vec::new(), Vec::new(), Share::default());
        for mut slot in slots {
            let old = match &mut slot.start {
                Start::Check(_) => {
                    if let Start::Check(record) = slot.start {
                        kept.push(record);
                    }
                    continue;
                }
                Start::New | Start::InPlaceOf(_) => None,
                Start::Resume(record) => Some(record.id.clone()),
                Start::Replace(record, death) => {
                    share.replacements += 1;
                    if let Some(seen) = self.dead.get(&record.id) {
                        *death = seen.clone();
                    }
                    Some(record.id.clone())
                }
            };
            share.instances.push(slot.id.clone());
            share.instances.extend(old);
            share.nodes.extend(self.desired.node(slot.node).map(|node| node.name.clone()));
            work.push(slot);
        }
        share.instances.extend(surplus.iter().map(|record| record.id.clone()));
        let raise = Raise { slots: work, kept, on_trouble: OnTrouble::GoOn, replace_at_once: room };
        let world = self.world.with_cancel(CancellationToken::new());
        let job = Job { raise, surplus, share };
        self.healing.begin(world, self.desired.clone(), job, self.stop.clone(), self.session.lost.clone());
    }

    /// Writes down where the infrastructure stands, when that has changed.
    async fn conclude(&mut self) -> Result<(), EngineError> {
        let mut events = Vec::new();
        let missing = self.missing();
        let (state, message) = match (self.hold, missing) {
            (Some((dead, of)), _) => {
                let message =
                    format!("{dead} of {of} instances look dead at once, so nothing is replaced; `build` replaces");
                (InfrastructureState::Held, Some(message))
            }
            // Who can't be reached is not dead. It is said all the same.
            (None, 0) => (InfrastructureState::Ready, self.unclear()),
            (None, missing) => {
                let missing = || match missing {
                    1 => "1 instance is not ready".to_owned(),
                    more => format!("{more} instances are not ready"),
                };
                (InfrastructureState::Degraded, Some(self.failure.clone().unwrap_or_else(missing)))
            }
        };
        match (self.state, self.hold) {
            (InfrastructureState::Held, None) => events.push(What::HoldEnded),
            (before, Some((dead, of))) if before != InfrastructureState::Held => events.push(What::Hold { dead, of }),
            _ => {}
        }
        if self.changed && self.healing.is_idle() {
            events.push(What::InfraUpdated);
            self.changed = false;
        }
        if state == InfrastructureState::Ready && self.state != state {
            events.push(What::InfraReady);
        }
        if state == self.state && message == self.message && events.is_empty() {
            return Ok(());
        }
        (self.state, self.message) = (state, message.clone());
        enter(self.engine, self.session, self.id, state, message, events).await
    }

    fn unclear(&self) -> Option<String> {
        let (unclear, why) = self.unclear.as_ref()?;
        Some(format!("{unclear} of {} instances could not be looked at: {why}", self.looked_at))
    }

    /// How many instances are not ready, or not there.
    fn missing(&self) -> usize {
        let (mut ready, mut others) = (HashMap::<&str, usize>::new(), 0);
        for record in self.records.values() {
            let is_dead = self.dead.contains_key(&record.id) || self.healing.has(&record.id);
            if record.state == InstanceState::Ready && !is_dead {
                *ready.entry(&record.node).or_default() += 1;
            } else {
                others += 1;
            }
        }
        let absent = self.desired.infrastructure.nodes.iter().map(|node| {
            let ready = ready.get(node.name.as_str()).copied().unwrap_or_default();
            (count(node, self.targets.get(&node.name), ready) as usize).saturating_sub(ready)
        });
        absent.sum::<usize>().max(others)
    }

    fn lost(&self) -> EngineError {
        EngineError::LeaseLost { id: self.id.into() }
    }
}

fn stopped() -> EngineError {
    EngineError::Stopped { rolled_back: false, left: Vec::new() }
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
