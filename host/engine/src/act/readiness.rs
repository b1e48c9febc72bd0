//! The way to ready: the wait of an instance that was created, found again after a crash, or is unhealthy, until it is
//! ready. In come the record and the cloud's answers; out come an updated record, its events, or the reason why the
//! instance will not become ready.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::PollInterval;
use super::health::{Health, check};
use super::observation::{is_retryable, machine_failure, observe};
use super::{DesiredState, RunContext, TaskError, calls};
use crate::error::FailureReason;
use crate::event::EventKind;
use crate::ports::Phase;
use crate::state::InstanceRecord;
use crate::status::InstanceState;

/// Waits until an instance is ready. The inner error is the reason why it will not become so.
pub(super) async fn wait_until_ready(
    ctx: &Arc<RunContext>,
    desired: &DesiredState,
    record: &mut InstanceRecord,
    phase: Phase,
) -> Result<Result<(), FailureReason>, TaskError> {
    let mut wait = ReadinessWait {
        ctx,
        desired,
        record,
        phase,
        last_seen: phase,
        times: WaitTimes { begun: ctx.clock.uptime(), unhealthy_since: None, unchecked_since: None },
        was_missing: false,
        polling: PollInterval::new(&ctx.settings),
    };
    loop {
        match wait.step().await? {
            Step::End(outcome) => return Ok(outcome),
            Step::Again => continue,
            Step::ObserveIn(pause) => {
                if !ctx.sleep_unless_cancelled(pause).await {
                    return Err(TaskError::Cancelled);
                }
            }
        }
        if let Err(reason) = wait.observe().await {
            return Ok(Err(reason));
        }
    }
}

/// A wait of one instance.
struct ReadinessWait<'a> {
    ctx: &'a Arc<RunContext>,
    desired: &'a DesiredState,
    record: &'a mut InstanceRecord,
    phase: Phase,
    /// Phase in the last answer; `phase` may be an older one.
    last_seen: Phase,
    times: WaitTimes,
    /// Set once the cloud did not know the machine.
    was_missing: bool,
    polling: PollInterval,
}

/// Uptimes since which something holds. Not the wall clock, which may be set, and which goes on while this computer
/// sleeps.
struct WaitTimes {
    begun: Duration,
    unhealthy_since: Option<Duration>,
    /// Time since when a machine without health checks has been observed to run.
    unchecked_since: Option<Duration>,
}

/// The next step of a wait.
enum Step {
    End(Result<(), FailureReason>),
    /// A step with the phase that is known now.
    Again,
    ObserveIn(Duration),
}

impl ReadinessWait<'_> {
    async fn step(&mut self) -> Result<Step, TaskError> {
        match self.phase {
            Phase::Running => self.step_running().await,
            Phase::Pending | Phase::Unknown => {
                (self.times.unhealthy_since, self.times.unchecked_since) = (None, None);
                let allowed = self.ctx.settings.start_timeout;
                if self.ctx.clock.uptime().saturating_sub(self.times.begun) > allowed {
                    return Ok(Step::End(Err(FailureReason::Slow { seconds: allowed.as_secs() })));
                }
                Ok(Step::ObserveIn(self.polling.next()))
            }
            Phase::Gone => self.step_gone().await,
            Phase::Stopped => Ok(Step::End(Err(machine_failure("stopped", self.record)))),
            Phase::Failed => Ok(Step::End(Err(machine_failure("failed", self.record)))),
        }
    }

    /// Checks a running machine, or waits until it has been running for long enough.
    async fn step_running(&mut self) -> Result<Step, TaskError> {
        let rest = self.unchecked_rest();
        let events = mark_running(self.ctx, self.record);
        if !events.is_empty() {
            self.ctx.journal.put_instance(self.record, events).await?;
        }
        if let Some(rest) = rest {
            return Ok(Step::ObserveIn(rest));
        }
        match check(self.ctx, self.desired, self.record).await {
            Err(fault) => {
                Ok(Step::End(Err(FailureReason::Call { call: "check".into(), fault, attempts: 1, seconds: 0 })))
            }
            Ok(Health::Healthy) => {
                let event = mark_ready(self.record, self.ctx.now());
                self.ctx.journal.put_instance(self.record, event.into_iter().collect()).await?;
                Ok(Step::End(Ok(())))
            }
            Ok(Health::Unhealthy(_, message)) => Ok(self.wait_for_health(message)),
        }
    }

    /// Waits for the health checks to pass, within their time-out.
    fn wait_for_health(&mut self, message: String) -> Step {
        if self.record.health.as_ref() != Some(&message) {
            self.record.health = Some(message.clone());
            let (node_id, node_name) = (self.record.id.clone(), self.record.node.clone());
            self.ctx.journal.emit(EventKind::Waiting { node_id, node_name, message: message.clone() });
        }
        let now = self.ctx.clock.uptime();
        let since = *self.times.unhealthy_since.get_or_insert(now);
        let seconds = self.record.health_check.timeout;
        if now.saturating_sub(since) > Duration::from_secs(seconds) {
            return Step::End(Err(FailureReason::Unhealthy { message, seconds }));
        }
        Step::ObserveIn(self.polling.next())
    }

    /// Finds a machine that the cloud does not know: it may show a new one late, and `find` is authoritative.
    async fn step_gone(&mut self) -> Result<Step, TaskError> {
        match calls::find(self.ctx, self.record).await {
            Ok(Some(observed)) if observed.phase != Phase::Gone => {
                (self.phase, self.last_seen) = (observed.phase, observed.phase);
                self.record.apply_observation(observed);
                Ok(Step::Again)
            }
            Ok(_) if self.was_missing => Ok(Step::End(Err(machine_failure("vanished", self.record)))),
            // A single answer is not sufficient.
            Ok(_) => {
                self.was_missing = true;
                Ok(Step::ObserveIn(self.ctx.settings.confirm_delay))
            }
            Err(calls::CallError::Cancelled) => Err(TaskError::Cancelled),
            Err(calls::CallError::Failed(failed)) => Ok(Step::End(Err(failed.into()))),
        }
    }

    async fn observe(&mut self) -> Result<(), FailureReason> {
        self.last_seen = match observe(self.ctx, self.record).await {
            Ok(observed) => {
                let seen = observed.phase;
                self.record.apply_observation(observed);
                seen
            }
            Err(fault) if is_retryable(&fault) => Phase::Unknown,
            Err(fault) => {
                return Err(FailureReason::Call { call: "observe".into(), fault, attempts: 1, seconds: 0 });
            }
        };
        // A running machine that could not be observed for a moment is still checked.
        let is_unobserved = self.last_seen == Phase::Unknown && self.phase == Phase::Running;
        if self.last_seen != self.phase && !is_unobserved {
            self.phase = self.last_seen;
            self.polling.reset();
        }
        Ok(())
    }

    /// Returns the wait until the next observation of a machine without health checks; `None` if it has run for long
    /// enough.
    fn unchecked_rest(&mut self) -> Option<Duration> {
        let needed = min_ready_time(self.ctx, self.record);
        if needed.is_zero() {
            return None;
        }
        let now = self.ctx.clock.uptime();
        let rest = match self.times.unchecked_since {
            Some(since) => needed.saturating_sub(now.saturating_sub(since)),
            None => needed,
        };
        if self.last_seen != Phase::Running {
            // A machine that cannot be observed at the moment is not known to run.
            return Some(rest.max(self.ctx.settings.poll_interval_min));
        }
        self.times.unchecked_since.get_or_insert(now);
        (!rest.is_zero()).then_some(rest)
    }
}

/// Returns for how long a machine must run before its instance is ready: zero if it has health checks.
fn min_ready_time(ctx: &RunContext, record: &InstanceRecord) -> Duration {
    let health = &record.health_check;
    if !health.checks.is_empty() {
        return Duration::ZERO;
    }
    let defined = health.min_ready_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    defined.unwrap_or(ctx.settings.min_ready_time)
}

/// Marks a machine as running when it is first observed to run; returns no events later.
pub(super) fn mark_running(ctx: &RunContext, record: &mut InstanceRecord) -> Vec<EventKind> {
    if !matches!(record.state, InstanceState::Creating | InstanceState::UnknownOutcome | InstanceState::Pending) {
        return Vec::new();
    }
    let now = ctx.now();
    record.set_state(InstanceState::Running, now);
    record.running_at = record.running_at.or(Some(now));
    let (node_id, node_name) = (record.id.clone(), record.node.clone());
    vec![EventKind::NodeRunning { node_id, node_name, addresses: record.addresses.clone() }]
}

/// Marks an instance as ready; nothing else does. Returns an event if it was not ready before: that of a new instance,
/// or of one that is healthy again.
pub(super) fn mark_ready(record: &mut InstanceRecord, now: Timestamp) -> Option<EventKind> {
    let (node_id, node_name) = (record.id.clone(), record.node.clone());
    let event = match (record.ready_at, record.state) {
        (None, _) => Some(EventKind::NodeCreated { node_id, node_name, addresses: record.addresses.clone() }),
        (Some(_), InstanceState::Ready) => None,
        (Some(_), _) => Some(EventKind::NodeHealth { node_id, node_name, healthy: true, message: String::new() }),
    };
    record.ready_at.get_or_insert(now);
    record.set_state(InstanceState::Ready, now);
    (record.health, record.failing_since, record.message, record.unobserved) = (None, None, None, None);
    event
}
