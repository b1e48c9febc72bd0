//! The loop of maintenance. It owns what is known; looks and jobs run beside it and hand in what they find.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::build::task_specs;
use super::super::infrastructure::{load_existing, put};
use super::super::{Engine, check, scale, suspend, view};
use super::healing::{HealingJob, HealingJobs, JobClaim, JobOutcome};
use super::hold::{DeathTally, HealingLimits, HoldPolicy};
use super::node_backoff::{EarlyDeath, NodeBackoff};
use crate::act::{Assessment, Death, DesiredState, EntryPoint, MonotonicTime, RunContext, TaskError, survey};
use crate::derived_state::{StateInputs, derive_state};
use crate::dispatch::{BringUp, FailurePolicy, RunEnd};
use crate::error::EngineError;
use crate::event::EventKind;
use crate::lease::InfrastructureLease;
use crate::plan::{ActionKind, PlanOptions, Targets, plan};
use crate::ports::{Revision, Write};
use crate::request::{MaintainOptions, RunHandle, StopSignal, WakeSignal};
use crate::state::{DesiredRecord, InfrastructureRecord, InstanceRecord, encode, keys, load_instances, load_record};
use crate::status::{InfrastructureState, InstanceState};

/// Between two passes, at least.
const MIN_PASS_PAUSE: Duration = Duration::from_millis(100);

/// How much of a look was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SurveyExtent {
    Complete,
    Partial,
}

pub(super) struct Reconciler<'a> {
    engine: &'a Engine,
    id: &'a str,
    lease: &'a InfrastructureLease,
    stop: &'a StopSignal,
    wake: &'a WakeSignal,
    /// For looks.
    survey_context: Arc<RunContext>,
    desired: Arc<DesiredState>,
    /// By id, so the oldest first.
    records: BTreeMap<String, InstanceRecord>,
    targets: Targets,
    healing: HealingJobs,
    backoff: NodeBackoff,
    /// What the last looks found dead.
    deaths: HashMap<String, Death>,
    /// How many instances they were.
    surveyed: usize,
    /// Nothing is to be done but to look.
    is_converged: bool,
    /// Something was done, and reporters have not been told.
    has_unreported_change: bool,
    /// Why something is missing.
    failure: Option<String>,
    limits: HealingLimits,
    hold_policy: HoldPolicy,
    /// Revision of the request for the end of a hold that was taken in.
    accepted_release: Option<Revision>,
    /// The log has it that there are more instances than are allowed.
    is_excess_logged: bool,
    /// So many of so many look dead.
    active_hold: Option<(usize, usize)>,
    /// As it is written down.
    recorded: InfrastructureRecord,
}

impl<'a> Reconciler<'a> {
    pub(super) async fn new(
        engine: &'a Engine,
        id: &'a str,
        session: &'a InfrastructureLease,
        run: &'a RunHandle,
        steady: Arc<MonotonicTime>,
    ) -> Result<Self, EngineError> {
        let infrastructure = load_existing(engine, id).await?;
        let invalid = || EngineError::Invalid { message: format!("infrastructure {id} has no description") };
        let desired: DesiredRecord = load_record(&*engine.store, &keys::desired(id)).await?.ok_or_else(invalid)?;
        let records = load_instances(&*engine.store, id).await?;
        let targets = scale::expected_targets(&*engine.store, id, &desired.infrastructure, &records).await?;
        let bounds = HealingLimits::new(&engine.settings, desired.infrastructure.maintenance);
        let seen_dead = records.iter().filter(|record| record.is_observed_dead());
        let dead = seen_dead.map(|record| (record.id.clone(), Death::from_record(record))).collect();
        let looked_at = records.iter().filter(|record| record.is_surveyed()).count();
        let is_wrong = matches!(infrastructure.state, InfrastructureState::Degraded | InfrastructureState::Failing);
        Ok(Self {
            engine,
            id,
            lease: session,
            stop: &run.stop,
            wake: &run.wake,
            survey_context: engine.run_context_at(id, session, run.stop.graceful.child_token(), steady),
            desired: Arc::new(DesiredState::new(desired.infrastructure)),
            records: records.into_iter().map(|record| (record.id.clone(), record)).collect(),
            targets,
            healing: HealingJobs::default(),
            backoff: NodeBackoff::new(view::load_failing(&*engine.store, id).await?),
            deaths: dead,
            surveyed: looked_at,
            is_converged: false,
            has_unreported_change: false,
            failure: infrastructure.message.clone().filter(|_| is_wrong),
            limits: bounds,
            hold_policy: HoldPolicy::default(),
            accepted_release: None,
            is_excess_logged: false,
            active_hold: None,
            recorded: infrastructure,
        })
    }

    /// One pass, or passes until stopped. Later passes spread their checks over the time until the next one. The end of a hold is
    /// for the first one, and no option of whoever goes on after that.
    pub(super) async fn run(mut self, options: &mut MaintainOptions) -> Result<(), EngineError> {
        let cyclic = options.cyclic;
        let mut spread = Duration::ZERO;
        let mut looked = self.engine.clock.uptime();
        loop {
            let begun = self.engine.clock.uptime();
            if suspend::is_detach_requested(self.engine, self.lease, self.id).await? {
                break;
            }
            if !suspend::sync_suspended(self.engine, self.lease, self.id).await? {
                // Those who ask for something all the time must not keep everything from being looked at.
                let hasty = cyclic.is_some_and(|pause| begun.saturating_sub(looked) < pause * 2);
                let asked = suspend::pending_release(self.engine, self.lease, self.id).await?;
                let asked = asked.filter(|asked| self.accepted_release != Some(*asked));
                match self.run_pass(spread, hasty, options.release || asked.is_some()).await? {
                    Some(SurveyExtent::Complete) => {
                        (looked, options.release) = (self.engine.clock.uptime(), false);
                        self.accepted_release = asked.or(self.accepted_release);
                        self.clear_release_if_done().await?;
                    }
                    Some(SurveyExtent::Partial) => continue,
                    None => break,
                }
            }
            let Some(pause) = cyclic else { break };
            self.record_state().await?;
            let passed = self.engine.clock.uptime().saturating_sub(begun);
            let rest = pause.saturating_sub(passed).max(MIN_PASS_PAUSE);
            let (clock, nudge) = (self.engine.clock.clone(), self.wake);
            let pausing = async move {
                tokio::select! {
                    () = clock.sleep(rest) => false,
                    () = nudge.woken() => true,
                }
            };
            let Some(given) = self.run_beside_jobs(pausing).await? else { break };
            spread = if given { Duration::ZERO } else { pause };
        }
        self.finish_jobs().await?;
        self.clear_release_if_done().await?;
        self.record_state().await
    }

    /// Forgets the request for the end of a hold when all that it has released is replaced or healthy. Until then it stays for
    /// whoever goes on after a stop.
    async fn clear_release_if_done(&mut self) -> Result<(), EngineError> {
        let is_done =
            !self.stop.graceful.is_cancelled() && self.hold_policy.is_release_complete(&self.deaths, &self.healing);
        if let Some(revision) = self.accepted_release.filter(|_| is_done) {
            suspend::clear_release(self.engine, self.lease, self.id, revision).await?;
            self.accepted_release = None;
        }
        Ok(())
    }

    /// Looks at everything, and heals nothing.
    pub(super) async fn survey_once(mut self) -> Result<(), EngineError> {
        self.survey(Duration::ZERO, false).await?;
        match self.recorded.state {
            // It is for whoever goes on with that to end it.
            InfrastructureState::Building | InfrastructureState::Destroying => Ok(()),
            _ => {
                self.evaluate_hold();
                self.record_state().await
            }
        }
    }

    /// None when it was stopped.
    #[tracing::instrument(level = "debug", skip_all, fields(infrastructure = self.id))]
    async fn run_pass(
        &mut self,
        spread: Duration,
        hasty: bool,
        release: bool,
    ) -> Result<Option<SurveyExtent>, EngineError> {
        let Some(looked) = self.survey(spread, hasty).await? else { return Ok(None) };
        if looked == SurveyExtent::Complete {
            self.count_failures().await?;
            if release {
                self.hold_policy.release(&self.deaths);
                let dead = self.deaths.keys().filter_map(|id| self.records.get(id)).map(|record| record.node.as_str());
                self.backoff.end_pauses(dead, self.survey_context.monotonic.now());
                self.write_failing(Vec::new()).await?;
            }
        }
        self.heal().await?;
        Ok(Some(looked))
    }

    /// Looks at every instance that was ready before and that no job works on. In haste, a nudge cuts it short: what was seen
    /// by then is written down, and nothing follows from it.
    async fn survey(&mut self, spread: Duration, hasty: bool) -> Result<Option<SurveyExtent>, EngineError> {
        self.follow_clock();
        let is_ours = |record: &&InstanceRecord| record.is_surveyed() && !self.healing.is_claimed(&record.id);
        let records: Vec<_> = self.records.values().filter(is_ours).cloned().collect();
        let (cut, nudge) = (self.survey_context.cancel.child_token(), self.wake);
        let looking = survey(self.survey_context.with_cancel(cut.clone()), self.desired.clone(), records, spread);
        let looking = async move {
            let mut looking = pin!(looking);
            tokio::select! {
                seen = &mut looking => (seen, SurveyExtent::Complete),
                // It is awaited all the same, so that none of its writes comes after those of what follows.
                () = nudge.woken(), if hasty => {
                    cut.cancel();
                    (looking.await, SurveyExtent::Partial)
                }
            }
        };
        let Some((seen, looked)) = self.run_beside_jobs(looking).await? else { return Ok(None) };
        let seen = match seen {
            Ok(seen) => seen,
            Err(TaskError::Journal(refused)) => return Err(refused.into_error(self.id)),
            Err(TaskError::Cancelled | TaskError::Failed(_)) if looked == SurveyExtent::Partial => Vec::new(),
            Err(TaskError::Cancelled | TaskError::Failed(_)) => return Ok(None),
        };
        if looked == SurveyExtent::Complete {
            self.deaths.clear();
            self.surveyed = seen.len();
        }
        for (record, look) in seen {
            match look {
                _ if looked == SurveyExtent::Partial => {}
                Assessment::Dead(death) => {
                    self.deaths.insert(record.id.clone(), death);
                }
                // It was dead, and nobody can say that it is not.
                Assessment::Inconclusive(_) if record.is_observed_dead() => {
                    self.deaths.insert(record.id.clone(), Death::from_record(&record));
                }
                Assessment::Inconclusive(_) | Assessment::Ready | Assessment::NotReady => {}
            }
            self.records.insert(record.id.clone(), record);
        }
        Ok(Some(looked))
    }

    /// Since when something fails is stored as a time of the clock. When the clock has jumped, these times go along.
    fn follow_clock(&mut self) {
        let Some(jump) = self.survey_context.monotonic.follow_clock() else { return };
        tracing::info!(infrastructure = self.id, "the clock has jumped by {jump:#}");
        self.backoff.shift_times(jump);
        for record in self.records.values_mut() {
            let seen_dead = record.is_observed_dead().then_some(&mut record.since);
            for since in record.failing_since.as_mut().into_iter().chain(seen_dead) {
                *since = since.checked_add(jump).unwrap_or(*since);
            }
        }
    }

    /// Counts what died soon after it was ready, and forgives nodes that have been healthy for long.
    async fn count_failures(&mut self) -> Result<(), EngineError> {
        let (settings, now) = (&self.engine.settings, self.survey_context.monotonic.now());
        let died = self.deaths.iter().filter_map(|(id, death)| {
            let record = self.records.get(id)?;
            Some(EarlyDeath { record, reason: &death.reason })
        });
        let events = self.backoff.count_deaths(settings, died, now);
        let described = &self.desired.infrastructure;
        self.backoff.clear_recovered(settings, self.records.values(), |node| described.node(node).is_some(), now);
        self.write_failing(events).await
    }

    async fn write_failing(&mut self, events: Vec<EventKind>) -> Result<(), EngineError> {
        let writes = self.backoff.take_writes(self.id)?;
        if writes.is_empty() && events.is_empty() {
            return Ok(());
        }
        self.write(writes, events).await
    }

    async fn write(&self, writes: Vec<Write>, events: Vec<EventKind>) -> Result<(), EngineError> {
        self.lease.journal.write(writes, events).await.map_err(|refused| refused.into_error(self.id))
    }

    /// Does something, while jobs come to their ends. None when it was stopped.
    async fn run_beside_jobs<T>(&mut self, work: impl Future<Output = T>) -> Result<Option<T>, EngineError> {
        let mut work = pin!(work);
        let (session, stop) = (self.lease, self.stop);
        loop {
            tokio::select! {
                biased;
                () = session.lost.cancelled() => return Err(self.lease_lost_error()),
                () = stop.immediate.cancelled() => return Err(stopped_error()),
                () = stop.graceful.cancelled() => return Ok(None),
                ended = self.healing.next_outcome() => self.handle_job_outcome(ended).await?,
                done = &mut work => return Ok(Some(done)),
            }
        }
    }

    async fn finish_jobs(&mut self) -> Result<(), EngineError> {
        let (session, stop) = (self.lease, self.stop);
        while !self.healing.is_idle() {
            tokio::select! {
                biased;
                () = session.lost.cancelled() => return Err(self.lease_lost_error()),
                () = stop.immediate.cancelled() => return Err(stopped_error()),
                ended = self.healing.next_outcome() => self.handle_job_outcome(ended).await?,
            }
        }
        Ok(())
    }

    /// What a job has left.
    async fn handle_job_outcome(&mut self, ended: JobOutcome) -> Result<(), EngineError> {
        match ended.end {
            RunEnd::Done | RunEnd::Stopped => {}
            RunEnd::Aborted => return Err(stopped_error()),
            RunEnd::JournalFailed(refused) => return Err(refused.into_error(self.id)),
        }
        let events = self.backoff.count_failed_creates(
            &self.engine.settings,
            &ended.failures,
            self.survey_context.monotonic.now(),
        );
        self.write_failing(events).await?;
        for id in ended.claim.instances {
            self.deaths.remove(&id);
            match load_record(&*self.engine.store, &keys::instance(self.id, &id)).await? {
                Some(record) => self.records.insert(id, record),
                None => self.records.remove(&id),
            };
        }
        self.failure = ended.failures.first().map(ToString::to_string);
        (self.has_unreported_change, self.is_converged) = (true, false);
        Ok(())
    }

    /// Begins what the plan says, if there is something, and if not so much looks dead that it is better to wait.
    async fn heal(&mut self) -> Result<(), EngineError> {
        self.evaluate_hold();
        if self.active_hold.is_some() {
            return Ok(());
        }
        let replacements = self.healing.replacements();
        let infrastructure = &self.desired.infrastructure;
        // What jobs work on counts as well: "one more" is relative to all instances, and any of them may be the one to go.
        let all = || self.records.values().cloned().collect();
        let targets = scale::apply_requests(self.engine, self.lease, self.id, infrastructure, all).await?;
        let mut records: Vec<_> =
            self.records.values().filter(|record| !self.healing.is_claimed(&record.id)).cloned().collect();
        if self.is_converged && self.deaths.is_empty() && targets == self.targets {
            return Ok(());
        }
        self.targets = targets;
        self.log_excess();
        let infrastructure = &self.desired.infrastructure;
        for record in &mut records {
            if let Some(death) = self.deaths.get(&record.id) {
                // In memory only: the plan then replaces it.
                record.state = InstanceState::Failed;
                record.message = Some(death.reason.clone());
            }
        }
        let wishes =
            PlanOptions { under_way: Some(self.healing.under_way()), ..PlanOptions::for_targets(&self.targets) };
        let mut plan = plan(infrastructure, &records, &wishes);
        self.is_converged = plan.is_unchanged() && self.healing.is_idle();
        let at_once = self.limits.max_replacements(self.surveyed + replacements);
        let room = at_once.saturating_sub(replacements);
        let now = self.survey_context.monotonic.now();
        let is_unobserved = |id: &String| {
            self.records.get(id).is_some_and(|record| record.unobserved.is_some() && record.is_observed_dead())
        };
        plan.actions.retain(|action| match action.kind {
            ActionKind::Replace => {
                // What can't be observed at the moment may live again.
                room > 0
                    && !self.backoff.is_backing_off(&action.node, now)
                    && !action.instance.as_ref().is_some_and(is_unobserved)
            }
            ActionKind::Create => !self.backoff.is_backing_off(&action.node, now),
            _ => true,
        });
        if !plan.is_unchanged() {
            let (slots, surplus) = task_specs(&plan, &self.desired, records);
            self.start_job(slots, surplus, room);
        }
        Ok(())
    }

    /// Logs once that there are more instances than are allowed: the limit is lower than it was. They are healed all the same,
    /// and only growth is refused.
    fn log_excess(&mut self) {
        let limits = self.engine.settings.instance_limits;
        let excess = check::instances(&self.desired.infrastructure.nodes, &self.targets, limits).err();
        if let Some(excess) = excess.as_ref().filter(|_| !self.is_excess_logged) {
            tracing::warn!(infrastructure = self.id, "{excess}; what exists is maintained, and no more is made");
        }
        self.is_excess_logged = excess.is_some();
    }

    /// Whether so much looks dead that it is better to wait.
    fn evaluate_hold(&mut self) {
        let dead = DeathTally { deaths: &self.deaths, surveyed: self.surveyed };
        let (records, now) = (&self.records, self.survey_context.monotonic.now());
        self.active_hold = self.hold_policy.evaluate(&self.limits, &dead, &self.healing, |id| records.get(id), now);
    }

    fn start_job(&mut self, slots: Vec<crate::dispatch::TaskSpec>, surplus: Vec<InstanceRecord>, room: usize) {
        let (mut kept, mut work, mut share) = (Vec::new(), Vec::new(), JobClaim::default());
        for mut slot in slots {
            let old = match &mut slot.entry_point {
                EntryPoint::Check(_) => {
                    if let EntryPoint::Check(record) = slot.entry_point {
                        kept.push(record);
                    }
                    continue;
                }
                EntryPoint::New | EntryPoint::CreateBeforeDestroy(_) => None,
                EntryPoint::Resume(record) => Some(record.id.clone()),
                EntryPoint::Replace(record, death) => {
                    share.replacements += 1;
                    if let Some(seen) = self.deaths.get(&record.id) {
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
        let raise =
            BringUp { tasks: work, already_ready: kept, on_failure: FailurePolicy::Continue, replace_at_once: room };
        let world = self.survey_context.with_cancel(CancellationToken::new());
        let job = HealingJob { bring_up: raise, surplus, claim: share };
        self.healing.start(world, self.desired.clone(), job, self.stop.clone(), self.lease.lost.clone());
    }

    /// Writes down where the infrastructure stands, when that has changed.
    async fn record_state(&mut self) -> Result<(), EngineError> {
        let (before, hold) = (self.recorded.state, self.active_hold);
        let (state, message) = match hold {
            Some((dead, of)) => {
                let message = format!("{dead} of {of} instances look dead at once, so nothing is replaced");
                (InfrastructureState::Held, Some(message))
            }
            None => (InfrastructureState::Degraded, self.failure.clone()),
        };
        let judged = InfrastructureRecord { state, message, ..self.recorded.clone() };
        let known = StateInputs {
            id: self.id,
            recorded: &judged,
            is_owned: true,
            described: Some(&self.desired.infrastructure),
            targets: &self.targets,
            failing: self.backoff.nodes(),
        };
        let (state, _) = derive_state(&known, self.records.values());
        if matches!(state, InfrastructureState::Ready | InfrastructureState::Unreachable) {
            self.failure = None;
        }
        let message = judged.message.filter(|_| hold.is_some() || self.failure.is_some());
        let mut events = Vec::new();
        match hold {
            None if before == InfrastructureState::Held => events.push(EventKind::HoldEnded),
            Some((dead, of)) if before != InfrastructureState::Held => events.push(EventKind::Hold { dead, of }),
            _ => {}
        }
        if self.has_unreported_change && self.healing.is_idle() {
            events.push(EventKind::InfraUpdated);
            self.has_unreported_change = false;
        }
        // That it could not be observed for a while has made nothing of it less ready.
        let was_ready = matches!(before, InfrastructureState::Ready | InfrastructureState::Unreachable);
        if state == InfrastructureState::Ready && !was_ready {
            events.push(EventKind::InfraReady);
        }
        if state == before && message == self.recorded.message && events.is_empty() {
            return Ok(());
        }
        (self.recorded.state, self.recorded.message) = (state, message);
        let mut writes = vec![put(keys::infrastructure(self.id), encode(&self.recorded)?)];
        if state == InfrastructureState::Ready {
            // What is described now works: a later change that fails comes back to it.
            writes.push(Write::Delete { key: keys::previous(self.id) });
        }
        self.write(writes, events).await
    }

    fn lease_lost_error(&self) -> EngineError {
        EngineError::LeaseLost { id: self.id.into() }
    }
}

fn stopped_error() -> EngineError {
    EngineError::Stopped { rolled_back: false, left: Vec::new() }
}
