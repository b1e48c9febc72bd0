//! The reconciler: the loop of maintenance. Each pass surveys what can be observed (`observed`), decides what follows
//! from it (`decide`), and acts: it starts jobs (`jobs`), which run beside the surveys and return their results to it.
//! The loop owns the records in memory, and knows which of these steps is skipped: whether a hold applies, and whether
//! there is anything to decide.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::super::existing::load_existing;
use super::super::owned::OwnedInfrastructure;
use super::super::task_specs::task_specs;
use super::super::{owner_requests, scale, view};
use super::decide::{Decision, Situation, decide};
use super::goal::{Convergence, Goal};
use super::hold::{HealingLimits, Hold};
use super::jobs::{Job, JobOutcome, Jobs};
use super::node_backoff::NodeBackoff;
use super::observed::{ObservedState, SurveyExtent, SurveyWindow, survey_within};
use super::state_report::{ReportInputs, StateReport};
use super::timetable::{PauseEnd, Timetable};
use crate::act::{DesiredState, MonotonicTime, RunContext, TaskError};
use crate::dispatch::RunEnd;
use crate::error::EngineError;
use crate::event::EventKind;
use crate::request::{MaintainOptions, RunHandle};
use crate::state::{DesiredRecord, keys, load_instances, load_record};
use crate::status::InfrastructureState;

pub(super) struct Reconciler<'a> {
    owned: OwnedInfrastructure<'a>,
    run: &'a RunHandle,
    /// Run context of the surveys.
    ctx: Arc<RunContext>,
    goal: Goal,
    observed: ObservedState,
    hold: Hold,
    backoff: NodeBackoff,
    jobs: Jobs,
    report: StateReport,
}

impl<'a> Reconciler<'a> {
    pub(super) async fn new(
        owned: OwnedInfrastructure<'a>,
        run: &'a RunHandle,
        monotonic: Arc<MonotonicTime>,
    ) -> Result<Self, EngineError> {
        let OwnedInfrastructure { engine, id, lease } = owned;
        let infrastructure = load_existing(engine, id).await?;
        let invalid = || EngineError::Invalid { message: format!("infrastructure {id} has no description") };
        let desired: DesiredRecord = load_record(&*engine.store, &keys::desired(id)).await?.ok_or_else(invalid)?;
        let records = load_instances(&*engine.store, id).await?;
        let targets = scale::expected_targets(&*engine.store, id, &desired.infrastructure, &records).await?;
        let limits = HealingLimits::new(&engine.settings, desired.infrastructure.maintenance);
        Ok(Self {
            owned,
            run,
            ctx: engine.run_context_at(id, lease, run.stop.graceful.child_token(), monotonic),
            goal: Goal::new(DesiredState::new(desired.infrastructure), targets),
            observed: ObservedState::new(records),
            hold: Hold::new(limits),
            backoff: NodeBackoff::new(view::load_failing(&*engine.store, id).await?),
            jobs: Jobs::default(),
            report: StateReport::new(infrastructure),
        })
    }

    /// Runs one pass, or passes until stopped. Later passes spread their health checks over the time until the next
    /// one. `options.release` is for the first complete pass and is reset after it, so that it does not apply again
    /// after a lost lease.
    pub(super) async fn run(mut self, options: &mut MaintainOptions) -> Result<(), EngineError> {
        if self.report.state() == InfrastructureState::Destroying {
            // Only its owner's removal, or another build, may follow: nothing that was to go comes back by itself.
            return Err(EngineError::Destroying { id: self.owned.id.into() });
        }
        let clock = self.owned.engine.clock.clone();
        let mut times = Timetable::new(options.cyclic, clock.uptime());
        loop {
            let window = times.begin_pass(clock.uptime());
            if owner_requests::is_detach_requested(self.owned).await? {
                break;
            }
            if !owner_requests::sync_suspended(self.owned).await? {
                match self.run_pass(window, &mut options.release).await? {
                    Some(SurveyExtent::Complete) => times.note_survey(clock.uptime()),
                    Some(SurveyExtent::Partial) => continue,
                    None => break,
                }
            }
            if options.cyclic.is_some() {
                self.record_state().await?;
            }
            let Some(pause) = times.pause(clock.uptime()) else { break };
            let Some(end) = self.pause(pause).await? else { break };
            times.note_pause(end);
        }
        self.finish_jobs().await?;
        self.clear_completed_release().await?;
        self.record_state().await
    }

    /// Surveys everything once, and changes nothing.
    pub(super) async fn survey_once(mut self) -> Result<(), EngineError> {
        self.survey(SurveyWindow::AT_ONCE).await?;
        match self.report.state() {
            // The build or removal that goes on later ends this state.
            InfrastructureState::Building | InfrastructureState::Destroying => Ok(()),
            _ => {
                self.hold.evaluate(&self.observed, self.jobs.claims(), self.ctx.monotonic.now());
                self.record_state().await
            }
        }
    }

    /// Runs one pass: surveys, decides, acts. `release` releases everything that looks dead from a hold, and is reset
    /// after a complete survey. Returns none if the run was stopped.
    #[tracing::instrument(level = "debug", skip_all, fields(infrastructure = self.owned.id.as_str()))]
    async fn run_pass(
        &mut self,
        window: SurveyWindow,
        release: &mut bool,
    ) -> Result<Option<SurveyExtent>, EngineError> {
        let requested = owner_requests::pending_release(self.owned).await?.filter(|request| self.hold.is_new(*request));
        let Some(extent) = self.survey(window).await? else { return Ok(None) };
        if extent == SurveyExtent::Complete {
            self.count_failures().await?;
            if *release || requested.is_some() {
                self.release().await?;
            }
        }
        self.reconcile(extent).await?;
        if extent == SurveyExtent::Complete {
            *release = false;
            if let Some(request) = requested {
                self.hold.accept(request);
            }
            self.clear_completed_release().await?;
        }
        Ok(Some(extent))
    }

    /// Surveys every instance that was ready before and that no job has claimed. Returns none if the run was stopped.
    async fn survey(&mut self, window: SurveyWindow) -> Result<Option<SurveyExtent>, EngineError> {
        self.follow_clock();
        let records = self.observed.to_survey(self.jobs.claims());
        let surveying = survey_within(window, self.ctx.clone(), self.goal.desired.clone(), records, &self.run.wake);
        let Some((extent, findings)) = self.run_beside_jobs(surveying).await? else { return Ok(None) };
        match findings {
            Ok(findings) => self.observed.apply(extent, findings),
            Err(TaskError::Journal(error)) => return Err(error.into_error(self.owned.id)),
            Err(TaskError::Cancelled | TaskError::Failed(_)) => return Ok(None),
        }
        Ok(Some(extent))
    }

    /// Decides what follows from the last survey, of this extent, and the requests, and starts a job for it.
    async fn reconcile(&mut self, extent: SurveyExtent) -> Result<(), EngineError> {
        let now = self.ctx.monotonic.now();
        self.hold.evaluate(&self.observed, self.jobs.claims(), now);
        if self.hold.active().is_none() {
            // With the instances that jobs have claimed: "one more" is relative to all, and any of them may be a victim.
            let all_records = || self.observed.records.values().cloned().collect();
            let targets = scale::apply_requests(self.owned, &self.goal.desired.infrastructure, all_records).await?;
            let is_converged = self.goal.convergence == Convergence::Converged;
            if is_converged && self.observed.deaths.is_empty() && targets == self.goal.targets {
                return Ok(());
            }
            self.goal.set_targets(self.owned.engine, self.owned.id, targets);
        }
        let decision = decide(&Situation {
            infrastructure: &self.goal.desired.infrastructure,
            targets: &self.goal.targets,
            observed: &self.observed,
            extent,
            hold: &self.hold,
            claims: self.jobs.claims(),
            is_backing_off: &|node| self.backoff.is_backing_off(node, now),
        });
        match decision {
            Decision::Hold => {}
            Decision::Idle if self.jobs.is_idle() => self.goal.convergence = Convergence::Converged,
            Decision::Idle | Decision::Wait => self.goal.convergence = Convergence::UnderWay,
            Decision::Act { plan, records, room } => {
                self.goal.convergence = Convergence::UnderWay;
                let desired = &self.goal.desired;
                let (tasks, surplus) = task_specs(&plan, desired, records);
                let job = Job::new(tasks, surplus, room, desired, &self.observed.deaths);
                let ctx = self.ctx.with_cancel(CancellationToken::new());
                self.jobs.start(ctx, desired.clone(), job, self.run.stop.clone(), self.owned.lease.lost.clone());
            }
        }
        Ok(())
    }

    /// Records the failures of a job, and reloads the records that it claimed.
    async fn handle_job_outcome(&mut self, outcome: JobOutcome) -> Result<(), EngineError> {
        let OwnedInfrastructure { engine, id, .. } = self.owned;
        match outcome.end {
            RunEnd::Done | RunEnd::Stopped => {}
            RunEnd::Aborted => return Err(stopped_error()),
            RunEnd::JournalFailed(error) => return Err(error.into_error(id)),
        }
        let now = self.ctx.monotonic.now();
        let events = self.backoff.count_failed_creates(&engine.settings, &outcome.failures, now);
        self.write_failing(events).await?;
        for instance in outcome.claim.instances {
            let record = load_record(&*engine.store, &keys::instance(id, &instance)).await?;
            self.observed.set_record(instance, record);
        }
        self.report.note_job(outcome.failures.first().map(ToString::to_string));
        self.goal.convergence = Convergence::UnderWay;
        Ok(())
    }

    /// Records the state of the infrastructure, if it has changed, with the events of the change.
    async fn record_state(&mut self) -> Result<(), EngineError> {
        let change = self.report.update(&ReportInputs {
            id: self.owned.id,
            infrastructure: &self.goal.desired.infrastructure,
            targets: &self.goal.targets,
            failing: self.backoff.nodes(),
            records: &self.observed.records,
            hold: self.hold.active(),
            has_jobs: !self.jobs.is_idle(),
        })?;
        match change {
            Some(change) => self.owned.write(change.writes, change.events).await,
            None => Ok(()),
        }
    }

    /// Shifts the stored times after a jump of the wall clock: times since which instances and nodes fail are
    /// wall-clock times.
    fn follow_clock(&mut self) {
        let Some(jump) = self.ctx.monotonic.follow_clock() else { return };
        tracing::info!(infrastructure = self.owned.id.as_str(), "the clock has jumped by {jump:#}");
        self.backoff.shift_times(jump);
        self.observed.shift_times(jump);
    }

    /// Counts instances that died soon after they were ready, and clears nodes that have been healthy for long enough.
    async fn count_failures(&mut self) -> Result<(), EngineError> {
        let (settings, now) = (&self.owned.engine.settings, self.ctx.monotonic.now());
        let events = self.backoff.count_deaths(settings, self.observed.recorded_deaths(), now);
        let described = &self.goal.desired.infrastructure;
        let is_described = |node: &str| described.node(node).is_some();
        self.backoff.clear_recovered(settings, self.observed.records.values(), is_described, now);
        self.write_failing(events).await
    }

    /// Ends the hold, and the pauses of the nodes with instances that look dead.
    async fn release(&mut self) -> Result<(), EngineError> {
        self.hold.release(&self.observed);
        let nodes = self.observed.recorded_deaths().map(|death| death.record.node.as_str());
        self.backoff.end_pauses(nodes, self.ctx.monotonic.now());
        self.write_failing(Vec::new()).await
    }

    /// Removes the request for the end of a hold once all instances that it released are replaced or healthy. Until
    /// then it stays for the process that goes on after a stop.
    async fn clear_completed_release(&mut self) -> Result<(), EngineError> {
        if self.run.stop.graceful.is_cancelled() {
            return Ok(());
        }
        match self.hold.take_completed_request(&self.observed, self.jobs.claims()) {
            Some(request) => owner_requests::clear_release(self.owned, request).await,
            None => Ok(()),
        }
    }

    async fn write_failing(&mut self, events: Vec<EventKind>) -> Result<(), EngineError> {
        let writes = self.backoff.take_writes(self.owned.id)?;
        if writes.is_empty() && events.is_empty() {
            return Ok(());
        }
        self.owned.write(writes, events).await
    }

    /// Pauses until the next pass is due, or until a wake signal. Returns none if the run was stopped.
    async fn pause(&mut self, pause: std::time::Duration) -> Result<Option<PauseEnd>, EngineError> {
        let (clock, wake) = (self.owned.engine.clock.clone(), &self.run.wake);
        let pausing = async move {
            tokio::select! {
                () = clock.sleep(pause) => PauseEnd::Elapsed,
                () = wake.woken() => PauseEnd::Woken,
            }
        };
        self.run_beside_jobs(pausing).await
    }

    /// Awaits `work`, and handles outcomes of jobs meanwhile. Returns none if the run was stopped.
    async fn run_beside_jobs<T>(&mut self, work: impl Future<Output = T>) -> Result<Option<T>, EngineError> {
        let mut work = std::pin::pin!(work);
        let (lease, stop) = (self.owned.lease, &self.run.stop);
        loop {
            tokio::select! {
                biased;
                () = lease.lost.cancelled() => return Err(self.owned.lease_lost_error()),
                () = stop.immediate.cancelled() => return Err(stopped_error()),
                () = stop.graceful.cancelled() => return Ok(None),
                outcome = self.jobs.next_outcome() => self.handle_job_outcome(outcome).await?,
                output = &mut work => return Ok(Some(output)),
            }
        }
    }

    /// Waits for all jobs, and handles their outcomes.
    async fn finish_jobs(&mut self) -> Result<(), EngineError> {
        let (lease, stop) = (self.owned.lease, &self.run.stop);
        while !self.jobs.is_idle() {
            tokio::select! {
                biased;
                () = lease.lost.cancelled() => return Err(self.owned.lease_lost_error()),
                () = stop.immediate.cancelled() => return Err(stopped_error()),
                outcome = self.jobs.next_outcome() => self.handle_job_outcome(outcome).await?,
            }
        }
        Ok(())
    }
}

fn stopped_error() -> EngineError {
    EngineError::Stopped { rolled_back: false, left: Vec::new() }
}
