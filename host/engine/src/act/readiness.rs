//! Looking at a machine: until it is ready, or once, to see whether it still is.

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

/// What one look concluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Assessment {
    /// Runs, and its checks pass.
    Ready,
    /// Its checks fail, or it does not run yet; not for long enough to call it dead.
    NotReady,
    /// It can't recover.
    Dead(Death),
    /// Nothing can be concluded, and why.
    Inconclusive(String),
}

/// Why an instance counts as dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Death {
    /// One sentence.
    pub(crate) reason: String,
    /// Its machine does not exist any more.
    pub(crate) vanished: bool,
}

impl Death {
    /// Of a machine that still exists.
    pub(crate) fn from_reason(reason: &FailureReason) -> Self {
        Self { reason: reason.to_string(), vanished: false }
    }

    /// As an earlier look has written it down.
    pub(crate) fn from_record(record: &InstanceRecord) -> Self {
        let why = match (&record.message, record.state) {
            (_, InstanceState::Vanished) | (None, _) => format!("the machine is {}", record.state),
            (Some(message), state) => format!("the machine is {state}: {message}"),
        };
        Self { reason: why, vanished: record.state == InstanceState::Vanished }
    }
}

/// What the checks said together.
enum Health {
    Healthy,
    Unhealthy(Verdict, String),
}

/// Waits until an instance is ready. The inner error says why it will not be.
pub(super) async fn wait_until_ready(
    world: &Arc<RunContext>,
    desired: &DesiredState,
    record: &mut InstanceRecord,
    mut phase: Phase,
) -> Result<Result<(), FailureReason>, TaskError> {
    // Not by the wall clock: it may be set, and the machine may sleep.
    let begun = world.clock.uptime();
    let mut unhealthy_since = None;
    let mut running = UncheckedUptime::default();
    let mut not_found_before = false;
    let mut polling = PollInterval::new(&world.settings);
    // The last answer, where `phase` may be an older one.
    let mut seen = phase;
    loop {
        let mut pause = None;
        match phase {
            Phase::Running => {
                pause = running.remaining(world, record, seen);
                if pause.is_some() {
                    record_running(world, record).await?;
                } else {
                    match check_once(world, desired, record, &mut unhealthy_since).await? {
                        Some(outcome) => return Ok(outcome),
                        None => unhealthy_since = unhealthy_since.or(Some(world.clock.uptime())),
                    }
                }
            }
            Phase::Pending | Phase::Unknown => {
                unhealthy_since = None;
                running = UncheckedUptime::default();
                if world.clock.uptime().saturating_sub(begun) > world.settings.start_timeout {
                    return Ok(Err(FailureReason::Slow { seconds: world.settings.start_timeout.as_secs() }));
                }
            }
            // A cloud may list a new machine late; `find` knows better.
            Phase::Gone => match calls::find(world, record).await {
                Ok(Some(observed)) if observed.phase != Phase::Gone => {
                    phase = observed.phase;
                    seen = phase;
                    record.apply_observation(observed);
                    continue;
                }
                Ok(_) if not_found_before => return Ok(Err(machine_failure("vanished", record))),
                // One answer alone is not believed.
                Ok(_) => {
                    not_found_before = true;
                    pause = Some(world.settings.confirm_delay);
                }
                Err(calls::CallError::Cancelled) => return Err(TaskError::Cancelled),
                Err(calls::CallError::Failed(spent)) => return Ok(Err(spent.into())),
            },
            Phase::Stopped => return Ok(Err(machine_failure("stopped", record))),
            Phase::Failed => return Ok(Err(machine_failure("failed", record))),
        }
        if !world.sleep_unless_cancelled(pause.unwrap_or_else(|| polling.next())).await {
            return Err(TaskError::Cancelled);
        }
        seen = match observe(world, record).await {
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
        // A running machine that could not be seen for a moment is still looked at by its checks.
        if seen != phase && !(seen == Phase::Unknown && phase == Phase::Running) {
            phase = seen;
            polling.reset();
        }
    }
}

/// For how long a machine has been running that nothing checks.
#[derive(Default)]
struct UncheckedUptime(Option<Duration>);

impl UncheckedUptime {
    /// How long to wait until the next look at a machine that nothing checks and that has not been seen to run for long enough.
    fn remaining(&mut self, world: &RunContext, record: &InstanceRecord, seen: Phase) -> Option<Duration> {
        let needed = min_ready_time(world, record);
        if needed.is_zero() {
            return None;
        }
        let now = world.clock.uptime();
        let rest = match self.0 {
            Some(since) => needed.saturating_sub(now.saturating_sub(since)),
            None => needed,
        };
        if seen != Phase::Running {
            // It can't be seen at the moment: that is no proof that it runs.
            return Some(rest.max(world.settings.poll_interval_min));
        }
        self.0.get_or_insert(now);
        (!rest.is_zero()).then_some(rest)
    }
}

/// For how long a machine must have been running before its instance is ready; no time at all when checks say whether it is.
fn min_ready_time(world: &RunContext, record: &InstanceRecord) -> Duration {
    let health = &record.health_check;
    if !health.checks.is_empty() {
        return Duration::ZERO;
    }
    let said = health.min_ready_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    said.unwrap_or(world.settings.min_ready_time)
}

/// Writes down that a machine runs, the first time.
async fn record_running(world: &RunContext, record: &mut InstanceRecord) -> Result<(), TaskError> {
    let events = mark_running(world, record);
    if !events.is_empty() {
        world.journal.put_instance(record, events).await?;
    }
    Ok(())
}

/// One round of checks on a running machine; none while it is too early to tell.
async fn check_once(
    world: &Arc<RunContext>,
    desired: &DesiredState,
    record: &mut InstanceRecord,
    since: &mut Option<Duration>,
) -> Result<Option<Result<(), FailureReason>>, TaskError> {
    record_running(world, record).await?;
    match check(world, desired, record).await {
        Err(fault) => Ok(Some(Err(FailureReason::Call { call: "check".into(), fault, attempts: 1, seconds: 0 }))),
        Ok(Health::Healthy) => {
            let now = world.now();
            record.set_state(InstanceState::Ready, now);
            record.ready_at = record.ready_at.or(Some(now));
            (record.health, record.failing_since, record.message, record.unobserved) = (None, None, None, None);
            let (node_id, node_name) = (record.id.clone(), record.node.clone());
            let event = EventKind::NodeCreated { node_id, node_name, addresses: record.addresses.clone() };
            world.journal.put_instance(record, vec![event]).await?;
            Ok(Some(Ok(())))
        }
        Ok(Health::Unhealthy(_, message)) => {
            if record.health.as_ref() != Some(&message) {
                record.health = Some(message.clone());
                let (node_id, node_name) = (record.id.clone(), record.node.clone());
                world.journal.emit(EventKind::Waiting { node_id, node_name, message: message.clone() });
            }
            let allowed = Duration::from_secs(record.health_check.timeout);
            let late = since.is_some_and(|since| world.clock.uptime().saturating_sub(since) > allowed);
            Ok(late.then_some(Err(FailureReason::Unhealthy { message, seconds: record.health_check.timeout })))
        }
    }
}

/// The first time that a machine is seen to run; nothing to tell later.
pub(super) fn mark_running(world: &RunContext, record: &mut InstanceRecord) -> Vec<EventKind> {
    if !matches!(record.state, InstanceState::Creating | InstanceState::UnknownOutcome | InstanceState::Pending) {
        return Vec::new();
    }
    let now = world.now();
    record.set_state(InstanceState::Running, now);
    record.running_at = record.running_at.or(Some(now));
    let (node_id, node_name) = (record.id.clone(), record.node.clone());
    vec![EventKind::NodeRunning { node_id, node_name, addresses: record.addresses.clone() }]
}

/// One look at an instance whose machine is known; two when it seems to have died. What changed is written down.
pub(super) async fn observe_and_assess(
    world: &Arc<RunContext>,
    desired: &DesiredState,
    record: &mut InstanceRecord,
) -> Result<Assessment, TaskError> {
    let mut answer = observe(world, record).await;
    if is_newly_dead(record, &answer) {
        if !world.sleep_unless_cancelled(world.settings.confirm_delay).await {
            return Err(TaskError::Cancelled);
        }
        answer = observe(world, record).await;
    }
    assess(world, desired, record, answer).await
}

/// Whether an answer says that an instance has died of which that was not known.
pub(super) fn is_newly_dead(record: &InstanceRecord, answer: &Result<ObservedMachine, Fault>) -> bool {
    let dead = matches!(answer, Ok(seen) if matches!(seen.phase, Phase::Gone | Phase::Stopped | Phase::Failed));
    dead && !record.is_dead()
}

/// What an answer of the cloud means, together with the checks of a machine that runs. What changed is written down.
pub(super) async fn assess(
    world: &Arc<RunContext>,
    desired: &DesiredState,
    record: &mut InstanceRecord,
    answer: Result<ObservedMachine, Fault>,
) -> Result<Assessment, TaskError> {
    let before = record.clone();
    let mut events = Vec::new();
    let conclusion = match answer {
        Err(fault) => {
            tracing::debug!(node = record.node, %fault, "could not be observed");
            Assessment::Inconclusive(fault.to_string())
        }
        Ok(observed) => {
            let (phase, said) = (observed.phase, observed.message.clone());
            record.apply_observation(observed);
            match phase {
                Phase::Unknown => Assessment::Inconclusive(
                    said.unwrap_or_else(|| "its cloud says nothing that its driver understands".into()),
                ),
                Phase::Pending => {
                    mark_not_running(world, record, &mut events);
                    Assessment::NotReady
                }
                Phase::Gone => {
                    let why = "the machine vanished".to_owned();
                    record.message = Some(why.clone());
                    mark_dead(world, record, InstanceState::Vanished, Death { reason: why, vanished: true })
                }
                Phase::Stopped => {
                    let death = Death::from_reason(&machine_failure("stopped", record));
                    mark_dead(world, record, InstanceState::Stopped, death)
                }
                Phase::Failed => {
                    let death = Death::from_reason(&machine_failure("failed", record));
                    mark_dead(world, record, InstanceState::Failed, death)
                }
                Phase::Running => {
                    events = mark_running(world, record);
                    let health = check(world, desired, record).await;
                    apply_health(world, record, health, &mut events)
                }
            }
        }
    };
    note_unobserved(record, &conclusion);
    if *record != before {
        world.journal.put_instance(record, events).await?;
    }
    Ok(conclusion)
}

/// Its cloud says that it is dead. What was never ready is judged by whoever brings it up.
fn mark_dead(world: &RunContext, record: &mut InstanceRecord, state: InstanceState, death: Death) -> Assessment {
    if record.ready_at.is_some() {
        record.set_state(state, world.monotonic.now());
        (record.health, record.failing_since) = (None, None);
    }
    Assessment::Dead(death)
}

/// A machine that was ready, and is starting again.
fn mark_not_running(world: &RunContext, record: &mut InstanceRecord, events: &mut Vec<EventKind>) {
    if !record.is_surveyed() {
        return;
    }
    let message = record.message.clone().unwrap_or_else(|| "the machine does not run at the moment".into());
    if record.state == InstanceState::Ready {
        let (node_id, node_name) = (record.id.clone(), record.node.clone());
        events.push(EventKind::NodeHealth { node_id, node_name, healthy: false, message: message.clone() });
    }
    record.set_state(InstanceState::Unhealthy, world.monotonic.now());
    record.health = Some(message);
}

/// Remembers why an instance could not be observed. The same kind of reason with other numbers in it is not news.
fn note_unobserved(record: &mut InstanceRecord, look: &Assessment) {
    let kind = |text: &str| text.chars().filter(|character| !character.is_ascii_digit()).collect::<String>();
    match look {
        Assessment::Inconclusive(why) if record.is_surveyed() => {
            if record.unobserved.as_deref().map(kind) != Some(kind(why)) {
                record.unobserved = Some(why.clone());
            }
        }
        Assessment::Inconclusive(_) => {}
        Assessment::Ready | Assessment::NotReady | Assessment::Dead(_) => record.unobserved = None,
    }
}

/// What the checks mean for a running machine, given what they said before.
fn apply_health(
    world: &RunContext,
    record: &mut InstanceRecord,
    health: Result<Health, Fault>,
    events: &mut Vec<EventKind>,
) -> Assessment {
    let now = world.monotonic.now();
    let (node_id, node_name) = (record.id.clone(), record.node.clone());
    if matches!(record.state, InstanceState::Stopped | InstanceState::Vanished) {
        // It runs again; whether it is ready is to be seen.
        record.set_state(InstanceState::Unhealthy, now);
        record.message = None;
    }
    match health {
        Err(fault) => Assessment::Inconclusive(fault.to_string()),
        Ok(Health::Unhealthy(Verdict::CannotTell, why)) => Assessment::Inconclusive(why),
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
            if record.ready_at.is_none() && running < min_ready_time(world, record) {
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

/// Runs the checks in order, up to the first that does not pass. A fault means that a section can't be used.
async fn check(world: &Arc<RunContext>, desired: &DesiredState, record: &InstanceRecord) -> Result<Health, Fault> {
    let template_data = match record.health_check.checks.is_empty() {
        true => return Ok(Health::Healthy),
        false => context::check_data(&world.id, desired, record),
    };
    for (keyword, section) in &record.health_check.checks {
        let Some(checker) = world.plugins.health_checker(keyword) else {
            let message = format!("there is no health checker for {keyword:?}");
            return Err(Fault::new(Reaction::GiveUp, "engine.no-plugin", message));
        };
        let target = HealthTarget {
            context: world.call_context(&record.node, world.settings.query_timeout),
            section: Arc::new(section.clone()),
            addresses: record.addresses.clone(),
            node_name: record.node.clone(),
            instance_id: record.id.clone(),
            template_data: template_data.clone(),
        };
        match checker.check(&target).await {
            Ok(seen) if seen.verdict == Verdict::Healthy => {}
            Ok(seen) => return Ok(Health::Unhealthy(seen.verdict, seen.reason)),
            Err(fault) if is_retryable(&fault) => return Ok(Health::Unhealthy(Verdict::CannotTell, fault.message)),
            Err(fault) => return Err(fault),
        }
    }
    Ok(Health::Healthy)
}

async fn observe(world: &Arc<RunContext>, record: &InstanceRecord) -> Result<ObservedMachine, Fault> {
    let driver = calls::driver_for(world, record)?;
    let Some(handle) = &record.handle else {
        return Err(Fault::new(Reaction::Retry, "engine.no-handle", "its machine is not known"));
    };
    let answer = world.batcher.observe(&driver, &world.query_scope(record), handle).await;
    gone_if_not_found(answer, handle)
}

/// `not-found` is an answer.
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

/// Whether the same call may succeed later. To look changes nothing, so a lost answer is as good as none.
fn is_retryable(fault: &Fault) -> bool {
    matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome | Reaction::NoCapacity)
}

fn machine_failure(what: &str, record: &InstanceRecord) -> FailureReason {
    FailureReason::Machine { what: what.into(), message: record.message.clone() }
}

/// Time that has passed; none when the clock was set back.
pub(crate) fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
