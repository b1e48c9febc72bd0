//! The reconciler: the loop of maintenance. It owns the records in memory; surveys and jobs run beside it and return
//! their results to it.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::build::task_specs;
use super::super::existing::{load_existing, put};
use super::super::{Engine, check, owner_requests, scale, view};
use super::decide::{Decision, Situation, decide};
use super::healing::{HealingJob, HealingJobs, JobClaim, JobOutcome};
use super::hold::{DeathTally, HealingLimits, HoldPolicy};
use super::node_backoff::{EarlyDeath, NodeBackoff};
use crate::act::{Assessment, Death, DesiredState, EntryPoint, MonotonicTime, RunContext, TaskError, survey};
use crate::derived_state::{StateInputs, derive_state};
use crate::dispatch::{BringUp, FailurePolicy, RunEnd};
use crate::error::EngineError;
use crate::event::EventKind;
use crate::lease::InfrastructureLease;
use crate::plan::Targets;
use crate::ports::{Revision, Write};
use crate::request::{MaintainOptions, RunHandle, StopSignal, WakeSignal};
use crate::state::{DesiredRecord, InfrastructureRecord, InstanceRecord, encode, keys, load_instances, load_record};
use crate::status::InfrastructureState;

/// Shortest pause between two passes.
const MIN_PASS_PAUSE: Duration = Duration::from_millis(100);

/// Extent of a survey.
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
    /// Run context of the surveys.
    survey_context: Arc<RunContext>,
    desired: Arc<DesiredState>,
    /// Instance records by id, so the oldest first.
    records: BTreeMap<String, InstanceRecord>,
    targets: Targets,
    healing: HealingJobs,
    backoff: NodeBackoff,
    /// Instances that the last surveys found dead.
    deaths: HashMap<String, Death>,
    /// Number of instances that the last complete survey covered.
    surveyed: usize,
    /// Set if the last plan contained nothing but checks, and no job runs.
    is_converged: bool,
    /// Set if a job changed something, and no event has reported it.
    has_unreported_change: bool,
    /// Reason why an instance is missing.
    failure: Option<String>,
    limits: HealingLimits,
    hold_policy: HoldPolicy,
    /// Revision of the request for the end of a hold that was accepted.
    accepted_release: Option<Revision>,
    /// Set if the log has reported that there are more instances than are allowed.
    is_excess_logged: bool,
    /// Number of dead and of all instances, during a hold.
    active_hold: Option<(usize, usize)>,
    /// Record of the infrastructure, as it is in the store.
    recorded: InfrastructureRecord,
}

impl<'a> Reconciler<'a> {
    pub(super) async fn new(
        engine: &'a Engine,
        id: &'a str,
        lease: &'a InfrastructureLease,
        run: &'a RunHandle,
        monotonic: Arc<MonotonicTime>,
    ) -> Result<Self, EngineError> {
        let infrastructure = load_existing(engine, id).await?;
        let invalid = || EngineError::Invalid { message: format!("infrastructure {id} has no description") };
        let desired: DesiredRecord = load_record(&*engine.store, &keys::desired(id)).await?.ok_or_else(invalid)?;
        let records = load_instances(&*engine.store, id).await?;
        let targets = scale::expected_targets(&*engine.store, id, &desired.infrastructure, &records).await?;
        let limits = HealingLimits::new(&engine.settings, desired.infrastructure.maintenance);
        let dead = records.iter().filter(|record| record.is_observed_dead());
        let deaths = dead.map(|record| (record.id.clone(), Death::from_record(record))).collect();
        let surveyed = records.iter().filter(|record| record.is_surveyed()).count();
        let is_wrong = matches!(infrastructure.state, InfrastructureState::Degraded | InfrastructureState::Failing);
        Ok(Self {
            engine,
            id,
            lease,
            stop: &run.stop,
            wake: &run.wake,
            survey_context: engine.run_context_at(id, lease, run.stop.graceful.child_token(), monotonic),
            desired: Arc::new(DesiredState::new(desired.infrastructure)),
            records: records.into_iter().map(|record| (record.id.clone(), record)).collect(),
            targets,
            healing: HealingJobs::default(),
            backoff: NodeBackoff::new(view::load_failing(&*engine.store, id).await?),
            deaths,
            surveyed,
            is_converged: false,
            has_unreported_change: false,
            failure: infrastructure.message.clone().filter(|_| is_wrong),
            limits,
            hold_policy: HoldPolicy::default(),
            accepted_release: None,
            is_excess_logged: false,
            active_hold: None,
            recorded: infrastructure,
        })
    }

    /// Runs one pass, or passes until stopped. Later passes spread their health checks over the time until the next
    /// one. `options.release` is for the first complete pass and is reset after it, so that it does not apply again
    /// after a lost lease.
    pub(super) async fn run(mut self, options: &mut MaintainOptions) -> Result<(), EngineError> {
        if self.recorded.state == InfrastructureState::Destroying {
            // Only its owner's removal, or another build, may follow: nothing that was to go comes back by itself.
            return Err(EngineError::Destroying { id: self.id.into() });
        }
        let cyclic = options.cyclic;
        let mut spread = Duration::ZERO;
        let mut last_survey = self.engine.clock.uptime();
        loop {
            let begun = self.engine.clock.uptime();
            if owner_requests::is_detach_requested(self.engine, self.lease, self.id).await? {
                break;
            }
            if !owner_requests::sync_suspended(self.engine, self.lease, self.id).await? {
                // Frequent requests must not keep surveys from being completed.
                let is_interruptible = cyclic.is_some_and(|pause| begun.saturating_sub(last_survey) < pause * 2);
                let requested = owner_requests::pending_release(self.engine, self.lease, self.id).await?;
                let requested = requested.filter(|revision| self.accepted_release != Some(*revision));
                match self.run_pass(spread, is_interruptible, options.release || requested.is_some()).await? {
                    Some(SurveyExtent::Complete) => {
                        (last_survey, options.release) = (self.engine.clock.uptime(), false);
                        self.accepted_release = requested.or(self.accepted_release);
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
            let (clock, wake) = (self.engine.clock.clone(), self.wake);
            let pausing = async move {
                tokio::select! {
                    () = clock.sleep(rest) => false,
                    () = wake.woken() => true,
                }
            };
            let Some(woken) = self.run_beside_jobs(pausing).await? else { break };
            spread = if woken { Duration::ZERO } else { pause };
        }
        self.finish_jobs().await?;
        self.clear_release_if_done().await?;
        self.record_state().await
    }

    /// Removes the request for the end of a hold once all instances that it released are replaced or healthy. Until
    /// then it stays for the process that goes on after a stop.
    async fn clear_release_if_done(&mut self) -> Result<(), EngineError> {
        let is_done = !self.stop.graceful.is_cancelled()
            && self.hold_policy.is_release_complete(&self.deaths, self.healing.claims());
        if let Some(revision) = self.accepted_release.filter(|_| is_done) {
            owner_requests::clear_release(self.engine, self.lease, self.id, revision).await?;
            self.accepted_release = None;
        }
        Ok(())
    }

    /// Surveys everything once, and heals nothing.
    pub(super) async fn survey_once(mut self) -> Result<(), EngineError> {
        self.survey(Duration::ZERO, false).await?;
        match self.recorded.state {
            // The build or removal that goes on later ends this state.
            InfrastructureState::Building | InfrastructureState::Destroying => Ok(()),
            _ => {
                self.evaluate_hold();
                self.record_state().await
            }
        }
    }

    /// Runs one pass: surveys, counts failures, heals. Returns none if it was stopped.
    #[tracing::instrument(level = "debug", skip_all, fields(infrastructure = self.id))]
    async fn run_pass(
        &mut self,
        spread: Duration,
        is_interruptible: bool,
        release: bool,
    ) -> Result<Option<SurveyExtent>, EngineError> {
        let Some(extent) = self.survey(spread, is_interruptible).await? else { return Ok(None) };
        if extent == SurveyExtent::Complete {
            self.count_failures().await?;
            if release {
                self.hold_policy.release(&self.deaths);
                let dead = self.deaths.keys().filter_map(|id| self.records.get(id)).map(|record| record.node.as_str());
                self.backoff.end_pauses(dead, self.survey_context.monotonic.now());
                self.write_failing(Vec::new()).await?;
            }
        }
        self.heal().await?;
        Ok(Some(extent))
    }

    /// Surveys every instance that was ready before and that no job has claimed. If `is_interruptible`, a wake signal
    /// cuts the survey short: what was observed by then is recorded, and no decision follows from it.
    async fn survey(&mut self, spread: Duration, is_interruptible: bool) -> Result<Option<SurveyExtent>, EngineError> {
        self.follow_clock();
        let is_free = |record: &&InstanceRecord| record.is_surveyed() && !self.healing.claims().has(&record.id);
        let records: Vec<_> = self.records.values().filter(is_free).cloned().collect();
        let (cut, wake) = (self.survey_context.cancel.child_token(), self.wake);
        let surveying = survey(self.survey_context.with_cancel(cut.clone()), self.desired.clone(), records, spread);
        let surveying = async move {
            let mut surveying = pin!(surveying);
            tokio::select! {
                surveyed = &mut surveying => (surveyed, SurveyExtent::Complete),
                // Awaited all the same, so that none of its writes comes after later ones.
                () = wake.woken(), if is_interruptible => {
                    cut.cancel();
                    (surveying.await, SurveyExtent::Partial)
                }
            }
        };
        let Some((surveyed, extent)) = self.run_beside_jobs(surveying).await? else { return Ok(None) };
        let surveyed = match surveyed {
            Ok(surveyed) => surveyed,
            Err(TaskError::Journal(error)) => return Err(error.into_error(self.id)),
            Err(TaskError::Cancelled | TaskError::Failed(_)) if extent == SurveyExtent::Partial => Vec::new(),
            Err(TaskError::Cancelled | TaskError::Failed(_)) => return Ok(None),
        };
        if extent == SurveyExtent::Complete {
            self.deaths.clear();
            self.surveyed = surveyed.len();
        }
        for (record, assessment) in surveyed {
            match assessment {
                _ if extent == SurveyExtent::Partial => {}
                Assessment::Dead(death) => {
                    self.deaths.insert(record.id.clone(), death);
                }
                // Dead before, and not known to be alive now.
                Assessment::Inconclusive(_) if record.is_observed_dead() => {
                    self.deaths.insert(record.id.clone(), Death::from_record(&record));
                }
                Assessment::Inconclusive(_) | Assessment::Ready | Assessment::NotReady => {}
            }
            self.records.insert(record.id.clone(), record);
        }
        Ok(Some(extent))
    }

    /// Shifts the stored times after a jump of the wall clock: times since which instances and nodes fail are
    /// wall-clock times.
    fn follow_clock(&mut self) {
        let Some(jump) = self.survey_context.monotonic.follow_clock() else { return };
        tracing::info!(infrastructure = self.id, "the clock has jumped by {jump:#}");
        self.backoff.shift_times(jump);
        for record in self.records.values_mut() {
            let dead_since = record.is_observed_dead().then_some(&mut record.since);
            for since in record.failing_since.as_mut().into_iter().chain(dead_since) {
                *since = since.checked_add(jump).unwrap_or(*since);
            }
        }
    }

    /// Counts instances that died soon after they were ready, and clears nodes that have been healthy for long enough.
    async fn count_failures(&mut self) -> Result<(), EngineError> {
        let (settings, now) = (&self.engine.settings, self.survey_context.monotonic.now());
        let deaths = self.deaths.iter().filter_map(|(id, death)| {
            let record = self.records.get(id)?;
            Some(EarlyDeath { record, reason: &death.reason })
        });
        let events = self.backoff.count_deaths(settings, deaths, now);
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
        self.lease.journal.write(writes, events).await.map_err(|error| error.into_error(self.id))
    }

    /// Awaits `work`, and handles outcomes of jobs meanwhile. Returns none if the run was stopped.
    async fn run_beside_jobs<T>(&mut self, work: impl Future<Output = T>) -> Result<Option<T>, EngineError> {
        let mut work = pin!(work);
        let (lease, stop) = (self.lease, self.stop);
        loop {
            tokio::select! {
                biased;
                () = lease.lost.cancelled() => return Err(self.lease_lost_error()),
                () = stop.immediate.cancelled() => return Err(stopped_error()),
                () = stop.graceful.cancelled() => return Ok(None),
                outcome = self.healing.next_outcome() => self.handle_job_outcome(outcome).await?,
                output = &mut work => return Ok(Some(output)),
            }
        }
    }

    async fn finish_jobs(&mut self) -> Result<(), EngineError> {
        let (lease, stop) = (self.lease, self.stop);
        while !self.healing.is_idle() {
            tokio::select! {
                biased;
                () = lease.lost.cancelled() => return Err(self.lease_lost_error()),
                () = stop.immediate.cancelled() => return Err(stopped_error()),
                outcome = self.healing.next_outcome() => self.handle_job_outcome(outcome).await?,
            }
        }
        Ok(())
    }

    /// Records the failures of a job, and reloads the records that it claimed.
    async fn handle_job_outcome(&mut self, outcome: JobOutcome) -> Result<(), EngineError> {
        match outcome.end {
            RunEnd::Done | RunEnd::Stopped => {}
            RunEnd::Aborted => return Err(stopped_error()),
            RunEnd::JournalFailed(error) => return Err(error.into_error(self.id)),
        }
        let events = self.backoff.count_failed_creates(
            &self.engine.settings,
            &outcome.failures,
            self.survey_context.monotonic.now(),
        );
        self.write_failing(events).await?;
        for id in outcome.claim.instances {
            self.deaths.remove(&id);
            match load_record(&*self.engine.store, &keys::instance(self.id, &id)).await? {
                Some(record) => self.records.insert(id, record),
                None => self.records.remove(&id),
            };
        }
        self.failure = outcome.failures.first().map(ToString::to_string);
        (self.has_unreported_change, self.is_converged) = (true, false);
        Ok(())
    }

    /// Decides what follows from the last survey and the requests, and starts a job for it.
    async fn heal(&mut self) -> Result<(), EngineError> {
        self.evaluate_hold();
        if self.active_hold.is_none() {
            let infrastructure = &self.desired.infrastructure;
            // With the instances that jobs have claimed: "one more" is relative to all, and any of them may be a victim.
            let all_records = || self.records.values().cloned().collect();
            let targets = scale::apply_requests(self.engine, self.lease, self.id, infrastructure, all_records).await?;
            if self.is_converged && self.deaths.is_empty() && targets == self.targets {
                return Ok(());
            }
            self.targets = targets;
            self.log_excess();
        }
        let now = self.survey_context.monotonic.now();
        let decision = decide(&Situation {
            infrastructure: &self.desired.infrastructure,
            targets: &self.targets,
            records: &self.records,
            deaths: &self.deaths,
            surveyed: self.surveyed,
            hold: self.active_hold,
            limits: &self.limits,
            claims: self.healing.claims(),
            is_backing_off: &|node| self.backoff.is_backing_off(node, now),
        });
        match decision {
            Decision::Hold => {}
            Decision::Idle => self.is_converged = self.healing.is_idle(),
            Decision::Wait => self.is_converged = false,
            Decision::Heal { plan, records, room } => {
                self.is_converged = false;
                let (tasks, surplus) = task_specs(&plan, &self.desired, records);
                self.start_job(tasks, surplus, room);
            }
        }
        Ok(())
    }

    /// Logs once that there are more instances than are allowed, since the limit is lower than it was. They are healed
    /// all the same, and only growth is refused.
    fn log_excess(&mut self) {
        let limits = self.engine.settings.instance_limits;
        let excess = check::instances(&self.desired.infrastructure.nodes, &self.targets, limits).err();
        if let Some(excess) = excess.as_ref().filter(|_| !self.is_excess_logged) {
            tracing::warn!(
                infrastructure = self.id,
                "{excess}; existing instances are maintained, and no more are created"
            );
        }
        self.is_excess_logged = excess.is_some();
    }

    /// Decides whether healing is on hold, because too many instances look dead.
    fn evaluate_hold(&mut self) {
        let dead = DeathTally { deaths: &self.deaths, surveyed: self.surveyed };
        let (records, now) = (&self.records, self.survey_context.monotonic.now());
        self.active_hold =
            self.hold_policy.evaluate(&self.limits, &dead, self.healing.claims(), |id| records.get(id), now);
    }

    fn start_job(&mut self, specs: Vec<crate::dispatch::TaskSpec>, surplus: Vec<InstanceRecord>, room: usize) {
        let (mut already_ready, mut tasks, mut claim) = (Vec::new(), Vec::new(), JobClaim::default());
        for mut task in specs {
            let old = match &mut task.entry_point {
                EntryPoint::Check(_) => {
                    if let EntryPoint::Check(record) = task.entry_point {
                        already_ready.push(record);
                    }
                    continue;
                }
                EntryPoint::New | EntryPoint::CreateBeforeDestroy(_) => None,
                EntryPoint::Resume(record) => Some(record.id.clone()),
                EntryPoint::Replace(record, death) => {
                    claim.replacements += 1;
                    if let Some(observed) = self.deaths.get(&record.id) {
                        *death = observed.clone();
                    }
                    Some(record.id.clone())
                }
            };
            claim.instances.push(task.id.clone());
            claim.instances.extend(old);
            claim.nodes.extend(self.desired.node(task.node).map(|node| node.name.clone()));
            tasks.push(task);
        }
        claim.instances.extend(surplus.iter().map(|record| record.id.clone()));
        let bring_up = BringUp { tasks, already_ready, on_failure: FailurePolicy::Continue, replace_at_once: room };
        let ctx = self.survey_context.with_cancel(CancellationToken::new());
        let job = HealingJob { bring_up, surplus, claim };
        self.healing.start(ctx, self.desired.clone(), job, self.stop.clone(), self.lease.lost.clone());
    }

    /// Records the state of the infrastructure, if it has changed, with the events of the change.
    async fn record_state(&mut self) -> Result<(), EngineError> {
        let (before, hold) = (self.recorded.state, self.active_hold);
        let (state, message) = match hold {
            Some((dead, of)) => {
                let message = format!("{dead} of {of} instances look dead at once, so none is replaced");
                (InfrastructureState::Held, Some(message))
            }
            None => (InfrastructureState::Degraded, self.failure.clone()),
        };
        let concluded = InfrastructureRecord { state, message, ..self.recorded.clone() };
        let inputs = StateInputs {
            id: self.id,
            recorded: &concluded,
            is_owned: true,
            described: Some(&self.desired.infrastructure),
            targets: &self.targets,
            failing: self.backoff.nodes(),
        };
        let (state, _) = derive_state(&inputs, self.records.values());
        if matches!(state, InfrastructureState::Ready | InfrastructureState::Unreachable) {
            self.failure = None;
        }
        let message = concluded.message.filter(|_| hold.is_some() || self.failure.is_some());
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
        // An infrastructure that could not be observed for a while was ready all the same.
        let was_ready = matches!(before, InfrastructureState::Ready | InfrastructureState::Unreachable);
        if state == InfrastructureState::Ready && !was_ready {
            events.push(EventKind::InfraReady);
        }
        if state == before && message == self.recorded.message && events.is_empty() {
            return Ok(());
        }
        self.recorded.set_state(state);
        self.recorded.message = message;
        let mut writes = vec![put(keys::infrastructure(self.id), encode(&self.recorded)?)];
        if state == InfrastructureState::Ready {
            // The current description is deployed: a later change that fails rolls back to it.
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
