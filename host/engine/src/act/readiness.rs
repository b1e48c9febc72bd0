//! Readiness of an instance: waits until it is ready, and single assessments of whether it still is. In come the
//! record, the cloud's answers and the results of health checks; out come an updated record, its events and an
//! [`Assessment`].

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::PollInterval;
use super::{DesiredState, RunContext, TaskError, calls, context};
use crate::error::FailureReason;
use crate::event::EventKind;
use crate::ports::{Fault, Handle, HealthTarget, ObservedMachine, Phase, Reaction, Verdict};
use crate::state::InstanceRecord;
use crate::status::InstanceState;

/// The conclusion of one observation and its health checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Assessment {
    /// The machine runs, and its checks pass.
    Ready,
    /// Checks fail or the machine does not run yet, but not for long enough to count as dead.
    NotReady,
    /// The instance cannot recover.
    Dead(Death),
    /// An answer without a conclusion, with the reason.
    Inconclusive(String),
}

/// The death of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Death {
    /// Reason why the instance counts as dead, in one sentence.
    pub(crate) reason: String,
    /// Set if its machine does not exist any more.
    pub(crate) vanished: bool,
}

impl Death {
    /// Creates the death of an instance with a machine that still exists.
    pub(crate) fn from_reason(reason: &FailureReason) -> Self {
        Self { reason: reason.to_string(), vanished: false }
    }

    /// Creates a death from the record of an earlier observation.
    pub(crate) fn from_record(record: &InstanceRecord) -> Self {
        let reason = match (&record.message, record.state) {
            (_, InstanceState::Vanished) | (None, _) => format!("the machine is {}", record.state),
            (Some(message), state) => format!("the machine is {state}: {message}"),
        };
        Self { reason, vanished: record.state == InstanceState::Vanished }
    }
}

/// The combined result of the health checks.
enum Health {
    Healthy,
    Unhealthy(Verdict, String),
}

/// Waits until an instance is ready. The inner error is the reason why it will not become so.
pub(super) async fn wait_until_ready(
    ctx: &Arc<RunContext>,
    desired: &DesiredState,
    record: &mut InstanceRecord,
    mut phase: Phase,
) -> Result<Result<(), FailureReason>, TaskError> {
    // Not the wall clock, which may be set, and which goes on while this computer sleeps.
    let started = ctx.clock.uptime();
    let mut unhealthy_since = None;
    let mut uptime = UncheckedUptime::default();
    let mut not_found_before = false;
    let mut polling = PollInterval::new(&ctx.settings);
    // The last answer, where `phase` may be an older one.
    let mut seen = phase;
    loop {
        let mut pause = None;
        match phase {
            Phase::Running => {
                pause = uptime.remaining(ctx, record, seen);
                if pause.is_some() {
                    record_running(ctx, record).await?;
                } else {
                    match check_once(ctx, desired, record, &mut unhealthy_since).await? {
                        Some(outcome) => return Ok(outcome),
                        None => unhealthy_since = unhealthy_since.or(Some(ctx.clock.uptime())),
                    }
                }
            }
            Phase::Pending | Phase::Unknown => {
                unhealthy_since = None;
                uptime = UncheckedUptime::default();
                if ctx.clock.uptime().saturating_sub(started) > ctx.settings.start_timeout {
                    return Ok(Err(FailureReason::Slow { seconds: ctx.settings.start_timeout.as_secs() }));
                }
            }
            // A cloud may show a new machine late; `find` is authoritative.
            Phase::Gone => match calls::find(ctx, record).await {
                Ok(Some(observed)) if observed.phase != Phase::Gone => {
                    phase = observed.phase;
                    seen = phase;
                    record.apply_observation(observed);
                    continue;
                }
                Ok(_) if not_found_before => return Ok(Err(machine_failure("vanished", record))),
                // A single answer is not sufficient.
                Ok(_) => {
                    not_found_before = true;
                    pause = Some(ctx.settings.confirm_delay);
                }
                Err(calls::CallError::Cancelled) => return Err(TaskError::Cancelled),
                Err(calls::CallError::Failed(failed)) => return Ok(Err(failed.into())),
            },
            Phase::Stopped => return Ok(Err(machine_failure("stopped", record))),
            Phase::Failed => return Ok(Err(machine_failure("failed", record))),
        }
        if !ctx.sleep_unless_cancelled(pause.unwrap_or_else(|| polling.next())).await {
            return Err(TaskError::Cancelled);
        }
        seen = match observe(ctx, record).await {
            Ok(observed) => {
                let seen = observed.phase;
                record.apply_observation(observed);
                seen
            }
            Err(fault) if is_retryable(&fault) => Phase::Unknown,
            Err(fault) => {
                return Ok(Err(FailureReason::Call { call: "observe".into(), fault, attempts: 1, seconds: 0 }));
            }
        };
        // A running machine that could not be observed for a moment is still checked.
        if seen != phase && !(seen == Phase::Unknown && phase == Phase::Running) {
            phase = seen;
            polling.reset();
        }
    }
}

/// Time since when a machine without health checks has been observed to run.
#[derive(Default)]
struct UncheckedUptime(Option<Duration>);

impl UncheckedUptime {
    /// Returns the wait until the next observation of a machine without health checks; `None` if it has run for long
    /// enough.
    fn remaining(&mut self, ctx: &RunContext, record: &InstanceRecord, seen: Phase) -> Option<Duration> {
        let needed = min_ready_time(ctx, record);
        if needed.is_zero() {
            return None;
        }
        let now = ctx.clock.uptime();
        let rest = match self.0 {
            Some(since) => needed.saturating_sub(now.saturating_sub(since)),
            None => needed,
        };
        if seen != Phase::Running {
            // A machine that cannot be observed at the moment is not known to run.
            return Some(rest.max(ctx.settings.poll_interval_min));
        }
        self.0.get_or_insert(now);
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

/// Records the first observation that a machine runs.
async fn record_running(ctx: &RunContext, record: &mut InstanceRecord) -> Result<(), TaskError> {
    let events = mark_running(ctx, record);
    if !events.is_empty() {
        ctx.journal.put_instance(record, events).await?;
    }
    Ok(())
}

/// Runs the health checks of a running machine once. `None` while the instance is unhealthy but within its time-out.
async fn check_once(
    ctx: &Arc<RunContext>,
    desired: &DesiredState,
    record: &mut InstanceRecord,
    since: &mut Option<Duration>,
) -> Result<Option<Result<(), FailureReason>>, TaskError> {
    record_running(ctx, record).await?;
    match check(ctx, desired, record).await {
        Err(fault) => Ok(Some(Err(FailureReason::Call { call: "check".into(), fault, attempts: 1, seconds: 0 }))),
        Ok(Health::Healthy) => {
            let now = ctx.now();
            record.set_state(InstanceState::Ready, now);
            record.ready_at = record.ready_at.or(Some(now));
            (record.health, record.failing_since, record.message, record.unobserved) = (None, None, None, None);
            let (node_id, node_name) = (record.id.clone(), record.node.clone());
            let event = EventKind::NodeCreated { node_id, node_name, addresses: record.addresses.clone() };
            ctx.journal.put_instance(record, vec![event]).await?;
            Ok(Some(Ok(())))
        }
        Ok(Health::Unhealthy(_, message)) => {
            if record.health.as_ref() != Some(&message) {
                record.health = Some(message.clone());
                let (node_id, node_name) = (record.id.clone(), record.node.clone());
                ctx.journal.emit(EventKind::Waiting { node_id, node_name, message: message.clone() });
            }
            let allowed = Duration::from_secs(record.health_check.timeout);
            let late = since.is_some_and(|since| ctx.clock.uptime().saturating_sub(since) > allowed);
            Ok(late.then_some(Err(FailureReason::Unhealthy { message, seconds: record.health_check.timeout })))
        }
    }
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

/// Observes and assesses an instance whose machine is known, and records changes. If it seems to have died, it is
/// observed again after the confirm delay.
pub(super) async fn observe_and_assess(
    ctx: &Arc<RunContext>,
    desired: &DesiredState,
    record: &mut InstanceRecord,
) -> Result<Assessment, TaskError> {
    let mut answer = observe(ctx, record).await;
    if is_newly_dead(record, &answer) {
        if !ctx.sleep_unless_cancelled(ctx.settings.confirm_delay).await {
            return Err(TaskError::Cancelled);
        }
        answer = observe(ctx, record).await;
    }
    assess(ctx, desired, record, answer).await
}

/// Returns whether an answer reports the death of an instance that was not recorded as dead.
pub(super) fn is_newly_dead(record: &InstanceRecord, answer: &Result<ObservedMachine, Fault>) -> bool {
    let dead = matches!(answer, Ok(seen) if matches!(seen.phase, Phase::Gone | Phase::Stopped | Phase::Failed));
    dead && !record.is_dead()
}

/// Assesses an instance by the cloud's answer, and by its health checks if the machine runs. Records changes.
pub(super) async fn assess(
    ctx: &Arc<RunContext>,
    desired: &DesiredState,
    record: &mut InstanceRecord,
    answer: Result<ObservedMachine, Fault>,
) -> Result<Assessment, TaskError> {
    let before = record.clone();
    let mut events = Vec::new();
    let assessment = match answer {
        Err(fault) => {
            tracing::debug!(node = record.node, %fault, "cannot observe an instance");
            Assessment::Inconclusive(fault.to_string())
        }
        Ok(observed) => {
            let (phase, message) = (observed.phase, observed.message.clone());
            record.apply_observation(observed);
            match phase {
                Phase::Unknown => Assessment::Inconclusive(
                    message.unwrap_or_else(|| "the driver does not recognise the state that the cloud reports".into()),
                ),
                Phase::Pending => {
                    mark_not_running(ctx, record, &mut events);
                    Assessment::NotReady
                }
                Phase::Gone => {
                    let reason = "the machine vanished".to_owned();
                    record.message = Some(reason.clone());
                    mark_dead(ctx, record, InstanceState::Vanished, Death { reason, vanished: true })
                }
                Phase::Stopped => {
                    let death = Death::from_reason(&machine_failure("stopped", record));
                    mark_dead(ctx, record, InstanceState::Stopped, death)
                }
                Phase::Failed => {
                    let death = Death::from_reason(&machine_failure("failed", record));
                    mark_dead(ctx, record, InstanceState::Failed, death)
                }
                Phase::Running => {
                    events = mark_running(ctx, record);
                    let health = check(ctx, desired, record).await;
                    apply_health(ctx, record, health, &mut events)
                }
            }
        }
    };
    note_unobserved(record, &assessment);
    if *record != before {
        ctx.journal.put_instance(record, events).await?;
    }
    Ok(assessment)
}

/// Marks an instance as dead by the report of its cloud. The state of one that was never ready is left to its bring-up.
fn mark_dead(ctx: &RunContext, record: &mut InstanceRecord, state: InstanceState, death: Death) -> Assessment {
    if record.ready_at.is_some() {
        record.set_state(state, ctx.monotonic.now());
        (record.health, record.failing_since) = (None, None);
    }
    Assessment::Dead(death)
}

/// Marks an instance that was ready, and whose machine is starting again, as unhealthy.
fn mark_not_running(ctx: &RunContext, record: &mut InstanceRecord, events: &mut Vec<EventKind>) {
    if !record.is_surveyed() {
        return;
    }
    let message = record.message.clone().unwrap_or_else(|| "the machine is not running".into());
    if record.state == InstanceState::Ready {
        let (node_id, node_name) = (record.id.clone(), record.node.clone());
        events.push(EventKind::NodeHealth { node_id, node_name, healthy: false, message: message.clone() });
    }
    record.set_state(InstanceState::Unhealthy, ctx.monotonic.now());
    record.health = Some(message);
}

/// Notes the reason why an instance could not be observed. A reason that differs only in its digits is not noted again.
fn note_unobserved(record: &mut InstanceRecord, assessment: &Assessment) {
    let kind = |text: &str| text.chars().filter(|character| !character.is_ascii_digit()).collect::<String>();
    match assessment {
        Assessment::Inconclusive(reason) if record.is_surveyed() => {
            if record.unobserved.as_deref().map(kind) != Some(kind(reason)) {
                record.unobserved = Some(reason.clone());
            }
        }
        Assessment::Inconclusive(_) => {}
        Assessment::Ready | Assessment::NotReady | Assessment::Dead(_) => record.unobserved = None,
    }
}

/// Applies the result of the health checks of a running machine to its record, in view of earlier results.
fn apply_health(
    ctx: &RunContext,
    record: &mut InstanceRecord,
    health: Result<Health, Fault>,
    events: &mut Vec<EventKind>,
) -> Assessment {
    let now = ctx.monotonic.now();
    let (node_id, node_name) = (record.id.clone(), record.node.clone());
    if matches!(record.state, InstanceState::Stopped | InstanceState::Vanished | InstanceState::Failed) {
        // The machine runs again; its checks decide whether it is ready.
        record.set_state(InstanceState::Unhealthy, now);
        record.message = None;
    }
    match health {
        Err(fault) => Assessment::Inconclusive(fault.to_string()),
        Ok(Health::Unhealthy(Verdict::CannotTell, reason)) => Assessment::Inconclusive(reason),
        Ok(Health::Unhealthy(_, message)) => {
            let since = *record.failing_since.get_or_insert(now);
            if record.state == InstanceState::Ready {
                record.set_state(InstanceState::Unhealthy, now);
                events.push(EventKind::NodeHealth { node_id, node_name, healthy: false, message: message.clone() });
            }
            record.health = Some(message.clone());
            let allowed = record.health_check.timeout;
            if elapsed(since, now) > Duration::from_secs(allowed) {
                Assessment::Dead(Death::from_reason(&FailureReason::Unhealthy { message, seconds: allowed }))
            } else {
                Assessment::NotReady
            }
        }
        Ok(_) => {
            let running = record.running_at.map_or(Duration::MAX, |since| elapsed(since, now));
            if record.ready_at.is_none() && running < min_ready_time(ctx, record) {
                return Assessment::NotReady;
            }
            if record.ready_at.is_none() {
                let addresses = record.addresses.clone();
                events.push(EventKind::NodeCreated { node_id, node_name, addresses });
                record.ready_at = Some(now);
            } else if record.state != InstanceState::Ready {
                events.push(EventKind::NodeHealth { node_id, node_name, healthy: true, message: String::new() });
            }
            record.set_state(InstanceState::Ready, now);
            (record.health, record.failing_since) = (None, None);
            Assessment::Ready
        }
    }
}

/// Runs the health checks in order, up to the first that does not pass. A fault means that a section is unusable.
async fn check(ctx: &Arc<RunContext>, desired: &DesiredState, record: &InstanceRecord) -> Result<Health, Fault> {
    let template_data = match record.health_check.checks.is_empty() {
        true => return Ok(Health::Healthy),
        false => context::check_data(&ctx.id, desired, record),
    };
    for (keyword, section) in &record.health_check.checks {
        let Some(checker) = ctx.plugins.health_checker(keyword) else {
            let message = format!("there is no health checker for {keyword:?}");
            return Err(Fault::new(Reaction::GiveUp, "engine.no-plugin", message));
        };
        let target = HealthTarget {
            context: ctx.call_context(&record.node, ctx.settings.query_timeout),
            section: Arc::new(section.clone()),
            addresses: record.addresses.clone(),
            node_name: record.node.clone(),
            instance_id: record.id.clone(),
            template_data: template_data.clone(),
        };
        match checker.check(&target).await {
            Ok(result) if result.verdict == Verdict::Healthy => {}
            Ok(result) => return Ok(Health::Unhealthy(result.verdict, result.reason)),
            Err(fault) if is_retryable(&fault) => return Ok(Health::Unhealthy(Verdict::CannotTell, fault.message)),
            Err(fault) => return Err(fault),
        }
    }
    Ok(Health::Healthy)
}

async fn observe(ctx: &Arc<RunContext>, record: &InstanceRecord) -> Result<ObservedMachine, Fault> {
    let driver = calls::driver_for(ctx, record)?;
    let Some(handle) = &record.handle else {
        return Err(Fault::new(Reaction::Retry, "engine.no-handle", "the machine of this instance is not known"));
    };
    let answer = ctx.batcher.observe(&driver, &ctx.query_scope(record), handle).await;
    gone_if_not_found(answer, handle)
}

/// Converts a `not-found` fault to an observation of a machine that is gone.
pub(super) fn gone_if_not_found(
    answer: Result<ObservedMachine, Fault>,
    handle: &Handle,
) -> Result<ObservedMachine, Fault> {
    match answer {
        Err(fault) if fault.reaction == Reaction::NotFound => Ok(ObservedMachine {
            handle: handle.clone(),
            phase: Phase::Gone,
            addresses: Vec::new(),
            attributes: Vec::new(),
            message: None,
        }),
        answer => answer,
    }
}

/// Returns whether the same query may succeed later. A query changes nothing, so a lost answer is no unresolved outcome.
fn is_retryable(fault: &Fault) -> bool {
    matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome | Reaction::NoCapacity)
}

fn machine_failure(change: &str, record: &InstanceRecord) -> FailureReason {
    FailureReason::Machine { what: change.into(), message: record.message.clone() }
}

/// Returns the elapsed time; zero if the clock was set back.
pub(crate) fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
