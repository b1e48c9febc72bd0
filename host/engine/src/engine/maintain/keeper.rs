//! The loop of maintenance. It owns what is known; looks and jobs run beside it and hand in what they find.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::build::slots;
use super::super::infrastructure::{known, put};
use super::super::{Engine, check, scale, suspend, view};
use super::failing::{Backoff, Died};
use super::healing::{Ended, Healing, Job, Share};
use super::hold::{Bounds, Dead, Hold};
use crate::act::{Death, Desired, Look, Start, Steady, Trouble, World, survey};
use crate::dispatch::{Ending, OnTrouble, Raise};
use crate::error::EngineError;
use crate::event::What;
use crate::plan::{ActionKind, Targets, Wishes, plan};
use crate::ports::{Revision, Write};
use crate::request::{MaintainOptions, Nudge, Run, Stop};
use crate::session::Session;
use crate::standing::{Known, standing};
use crate::state::{DesiredRecord, InfrastructureRecord, InstanceRecord, encode, get, keys, load_instances};
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
    backoff: Backoff,
    /// What the last looks found dead.
    dead: HashMap<String, Death>,
    /// How many instances they were.
    looked_at: usize,
    /// Nothing is to be done but to look.
    settled: bool,
    /// Something was done, and reporters have not been told.
    changed: bool,
    /// Why something is missing.
    failure: Option<String>,
    bounds: Bounds,
    holding: Hold,
    /// Revision of the request for the end of a hold that was taken in.
    released: Option<Revision>,
    /// The log has it that there are more instances than are allowed.
    is_excess_logged: bool,
    /// So many of so many look dead.
    hold: Option<(usize, usize)>,
    /// As it is written down.
    concluded: InfrastructureRecord,
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
        let targets = scale::expected(&*engine.store, id, &desired.infrastructure, &records).await?;
        let bounds = Bounds::new(&engine.settings, desired.infrastructure.maintenance);
        let seen_dead = records.iter().filter(|record| record.is_seen_dead());
        let dead = seen_dead.map(|record| (record.id.clone(), Death::known(record))).collect();
        let looked_at = records.iter().filter(|record| record.is_observed()).count();
        let is_wrong = matches!(infrastructure.state, InfrastructureState::Degraded | InfrastructureState::Failing);
        Ok(Self {
            engine,
            id,
            session,
            stop: &run.stop,
            nudge: &run.nudge,
            world: engine.world_in_time(id, session, run.stop.orderly.child_token(), steady),
            desired: Arc::new(Desired::new(desired.infrastructure)),
            records: records.into_iter().map(|record| (record.id.clone(), record)).collect(),
            targets,
            healing: Healing::default(),
            backoff: Backoff::new(view::load_failing(&*engine.store, id).await?),
            dead,
            looked_at,
            settled: false,
            changed: false,
            failure: infrastructure.message.clone().filter(|_| is_wrong),
            bounds,
            holding: Hold::default(),
            released: None,
            is_excess_logged: false,
            hold: None,
            concluded: infrastructure,
        })
    }

    /// One pass, or passes until stopped. Later passes spread their checks over the time until the next one. The end of a hold is
    /// for the first one, and no option of whoever goes on after that.
    pub(super) async fn keep(mut self, options: &mut MaintainOptions) -> Result<(), EngineError> {
        let cyclic = options.cyclic;
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
                let asked = suspend::release_asked(self.engine, self.session, self.id).await?;
                let asked = asked.filter(|asked| self.released != Some(*asked));
                match self.pass(spread, hasty, options.release || asked.is_some()).await? {
                    Some(Looked::Whole) => {
                        (looked, options.release) = (self.engine.clock.uptime(), false);
                        self.released = asked.or(self.released);
                        self.forget_release().await?;
                    }
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
        self.forget_release().await?;
        self.conclude().await
    }

    /// Forgets the request for the end of a hold when all that it has released is replaced or healthy. Until then it stays for
    /// whoever goes on after a stop.
    async fn forget_release(&mut self) -> Result<(), EngineError> {
        let is_done = !self.stop.orderly.is_cancelled() && self.holding.is_spent(&self.dead, &self.healing);
        if let Some(revision) = self.released.filter(|_| is_done) {
            suspend::forget_release(self.engine, self.session, self.id, revision).await?;
            self.released = None;
        }
        Ok(())
    }

    /// Looks at everything, and heals nothing.
    pub(super) async fn look_once(mut self) -> Result<(), EngineError> {
        self.look(Duration::ZERO, false).await?;
        match self.concluded.state {
            // It is for whoever goes on with that to end it.
            InfrastructureState::Building | InfrastructureState::Destroying => Ok(()),
            _ => {
                self.judge_hold();
                self.conclude().await
            }
        }
    }

    /// None when it was stopped.
    #[tracing::instrument(level = "debug", skip_all, fields(infrastructure = self.id))]
    async fn pass(&mut self, spread: Duration, hasty: bool, release: bool) -> Result<Option<Looked>, EngineError> {
        let Some(looked) = self.look(spread, hasty).await? else { return Ok(None) };
        if looked == Looked::Whole {
            self.count_failures().await?;
            if release {
                self.holding.release(&self.dead);
                let dead = self.dead.keys().filter_map(|id| self.records.get(id)).map(|record| record.node.as_str());
                self.backoff.end_pauses(dead, self.world.steady.now());
                self.write_failing(Vec::new()).await?;
            }
        }
        self.heal().await?;
        Ok(Some(looked))
    }

    /// Looks at every instance that was ready before and that no job works on. In haste, a nudge cuts it short: what was seen
    /// by then is written down, and nothing follows from it.
    async fn look(&mut self, spread: Duration, hasty: bool) -> Result<Option<Looked>, EngineError> {
        self.follow_clock();
        let is_ours = |record: &&InstanceRecord| record.is_observed() && !self.healing.has(&record.id);
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
            self.looked_at = seen.len();
        }
        for (record, look) in seen {
            match look {
                _ if looked == Looked::CutShort => {}
                Look::Dead(death) => {
                    self.dead.insert(record.id.clone(), death);
                }
                // It was dead, and nobody can say that it is not.
                Look::Unclear(_) if record.is_seen_dead() => {
                    self.dead.insert(record.id.clone(), Death::known(&record));
                }
                Look::Unclear(_) | Look::Fine | Look::Failing => {}
            }
            self.records.insert(record.id.clone(), record);
        }
        Ok(Some(looked))
    }

    /// Since when something fails is stored as a time of the clock. When the clock has jumped, these times go along.
    fn follow_clock(&mut self) {
        let Some(jump) = self.world.steady.follow() else { return };
        tracing::info!(infrastructure = self.id, "the clock has jumped by {jump:#}");
        self.backoff.follow(jump);
        for record in self.records.values_mut() {
            let seen_dead = record.is_seen_dead().then_some(&mut record.since);
            for since in record.failing_since.as_mut().into_iter().chain(seen_dead) {
                *since = since.checked_add(jump).unwrap_or(*since);
            }
        }
    }

    /// Counts what died soon after it was ready, and forgives nodes that have been healthy for long.
    async fn count_failures(&mut self) -> Result<(), EngineError> {
        let (settings, now) = (&self.engine.settings, self.world.steady.now());
        let died = self.dead.iter().filter_map(|(id, death)| {
            let record = self.records.get(id)?;
            Some(Died { record, why: &death.why })
        });
        let events = self.backoff.died(settings, died, now);
        let described = &self.desired.infrastructure;
        self.backoff.forgive(settings, self.records.values(), |node| described.node(node).is_some(), now);
        self.write_failing(events).await
    }

    async fn write_failing(&mut self, events: Vec<What>) -> Result<(), EngineError> {
        let writes = self.backoff.writes(self.id)?;
        if writes.is_empty() && events.is_empty() {
            return Ok(());
        }
        self.write(writes, events).await
    }

    async fn write(&self, writes: Vec<Write>, events: Vec<What>) -> Result<(), EngineError> {
        self.session.journal.write(writes, events).await.map_err(|refused| refused.into_error(self.id))
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
        let events = self.backoff.not_made(&self.engine.settings, &ended.failures, self.world.steady.now());
        self.write_failing(events).await?;
        for id in ended.share.instances {
            self.dead.remove(&id);
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
        self.judge_hold();
        if self.hold.is_some() {
            return Ok(());
        }
        let replacements = self.healing.replacements();
        let infrastructure = &self.desired.infrastructure;
        // What jobs work on counts as well: "one more" is relative to all instances, and any of them may be the one to go.
        let all = || self.records.values().cloned().collect();
        let targets = scale::take_in(self.engine, self.session, self.id, infrastructure, all).await?;
        let mut records: Vec<_> =
            self.records.values().filter(|record| !self.healing.has(&record.id)).cloned().collect();
        if self.settled && self.dead.is_empty() && targets == self.targets {
            return Ok(());
        }
        self.targets = targets;
        self.log_excess();
        let infrastructure = &self.desired.infrastructure;
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
        let at_once = self.bounds.at_once(self.looked_at + replacements);
        let room = at_once.saturating_sub(replacements);
        let now = self.world.steady.now();
        let is_unobserved = |id: &String| {
            self.records.get(id).is_some_and(|record| record.unobserved.is_some() && record.is_seen_dead())
        };
        plan.actions.retain(|action| match action.kind {
            ActionKind::Replace => {
                // What can't be observed at the moment may live again.
                room > 0
                    && !self.backoff.holds(&action.node, now)
                    && !action.instance.as_ref().is_some_and(is_unobserved)
            }
            ActionKind::Create => !self.backoff.holds(&action.node, now),
            _ => true,
        });
        if !plan.is_unchanged() {
            let (slots, surplus) = slots(&plan, &self.desired, records);
            self.begin(slots, surplus, room);
        }
        Ok(())
    }

    /// Logs once that there are more instances than are allowed: the limit is lower than it was. They are healed all the same,
    /// and only growth is refused.
    fn log_excess(&mut self) {
        let limits = self.engine.settings.instances;
        let excess = check::instances(&self.desired.infrastructure.nodes, &self.targets, limits).err();
        if let Some(excess) = excess.as_ref().filter(|_| !self.is_excess_logged) {
            tracing::warn!(infrastructure = self.id, "{excess}; what exists is maintained, and no more is made");
        }
        self.is_excess_logged = excess.is_some();
    }

    /// Whether so much looks dead that it is better to wait.
    fn judge_hold(&mut self) {
        let dead = Dead { deaths: &self.dead, looked_at: self.looked_at };
        let (records, now) = (&self.records, self.world.steady.now());
        self.hold = self.holding.judge(&self.bounds, &dead, &self.healing, |id| records.get(id), now);
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
        let (before, hold) = (self.concluded.state, self.hold);
        let (state, message) = match hold {
            Some((dead, of)) => {
                let message = format!("{dead} of {of} instances look dead at once, so nothing is replaced");
                (InfrastructureState::Held, Some(message))
            }
            None => (InfrastructureState::Degraded, self.failure.clone()),
        };
        let judged = InfrastructureRecord { state, message, ..self.concluded.clone() };
        let known = Known {
            id: self.id,
            concluded: &judged,
            is_owned: true,
            described: Some(&self.desired.infrastructure),
            targets: &self.targets,
            failing: self.backoff.nodes(),
        };
        let (state, _) = standing(&known, self.records.values());
        if matches!(state, InfrastructureState::Ready | InfrastructureState::Unreachable) {
            self.failure = None;
        }
        let message = judged.message.filter(|_| hold.is_some() || self.failure.is_some());
        let mut events = Vec::new();
        match hold {
            None if before == InfrastructureState::Held => events.push(What::HoldEnded),
            Some((dead, of)) if before != InfrastructureState::Held => events.push(What::Hold { dead, of }),
            _ => {}
        }
        if self.changed && self.healing.is_idle() {
            events.push(What::InfraUpdated);
            self.changed = false;
        }
        // That it could not be observed for a while has made nothing of it less ready.
        let was_ready = matches!(before, InfrastructureState::Ready | InfrastructureState::Unreachable);
        if state == InfrastructureState::Ready && !was_ready {
            events.push(What::InfraReady);
        }
        if state == before && message == self.concluded.message && events.is_empty() {
            return Ok(());
        }
        (self.concluded.state, self.concluded.message) = (state, message);
        let mut writes = vec![put(keys::infrastructure(self.id), encode(&self.concluded)?)];
        if state == InfrastructureState::Ready {
            // What is described now works: a later change that fails comes back to it.
            writes.push(Write::Delete { key: keys::previous(self.id) });
        }
        self.write(writes, events).await
    }

    fn lost(&self) -> EngineError {
        EngineError::LeaseLost { id: self.id.into() }
    }
}

fn stopped() -> EngineError {
    EngineError::Stopped { rolled_back: false, left: Vec::new() }
}
