//! Looking at a machine: until it is ready, or once, to see whether it still is.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::Polling;
use super::{Desired, Trouble, World, calls, context};
use crate::error::Reason;
use crate::event::What;
use crate::ports::{Fault, Handle, HealthTarget, Observed, Phase, Reaction, Verdict};
use crate::state::InstanceRecord;
use crate::status::InstanceState;

/// What one look concluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// Runs, and its checks pass.
    Fine,
    /// Its checks fail, or it does not run yet; not for long enough to call it dead.
    Failing,
    /// It can't recover.
    Dead(Death),
    /// Nothing can be concluded, and why.
    Unclear(String),
}

/// Why an instance counts as dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Death {
    /// One sentence.
    pub(crate) why: String,
    /// Its machine does not exist any more.
    pub(crate) vanished: bool,
}

impl Death {
    /// Of a machine that still exists.
    pub(crate) fn of(reason: &Reason) -> Self {
        Self { why: reason.to_string(), vanished: false }
    }

    /// As an earlier look has written it down.
    pub(crate) fn known(record: &InstanceRecord) -> Self {
        let why = match (&record.message, record.state) {
            (_, InstanceState::Vanished) | (None, _) => format!("the machine is {}", record.state),
            (Some(message), state) => format!("the machine is {state}: {message}"),
        };
        Self { why, vanished: record.state == InstanceState::Vanished }
    }
}

/// What the checks said together.
enum Health {
    Healthy,
    Not(Verdict, String),
}

/// Waits until an instance is ready. The inner error says why it will not be.
pub(super) async fn until_ready(
    world: &Arc<World>,
    desired: &Desired,
    record: &mut InstanceRecord,
    mut phase: Phase,
) -> Result<Result<(), Reason>, Trouble> {
    // Not by the wall clock: it may be set, and the machine may sleep.
    let begun = world.clock.uptime();
    let mut unhealthy_since = None;
    let mut running = Running::default();
    let mut not_found_before = false;
    let mut polling = Polling::new(&world.settings);
    // The last answer, where `phase` may be an older one.
    let mut seen = phase;
    loop {
        let mut pause = None;
        match phase {
            Phase::Running => {
                pause = running.rest(world, record, seen);
                if pause.is_some() {
                    note(world, record).await?;
                } else {
                    match once_healthy(world, desired, record, &mut unhealthy_since).await? {
                        Some(outcome) => return Ok(outcome),
                        None => unhealthy_since = unhealthy_since.or(Some(world.clock.uptime())),
                    }
                }
            }
            Phase::Pending | Phase::Unknown => {
                unhealthy_since = None;
                running = Running::default();
                if world.clock.uptime().saturating_sub(begun) > world.settings.start_timeout {
                    return Ok(Err(Reason::Slow { seconds: world.settings.start_timeout.as_secs() }));
                }
            }
            // A cloud may list a new machine late; `find` knows better.
            Phase::Gone => match calls::find(world, record).await {
                Ok(Some(observed)) if observed.phase != Phase::Gone => {
                    phase = observed.phase;
                    seen = phase;
                    record.absorb(observed);
                    continue;
                }
                Ok(_) if not_found_before => return Ok(Err(lost("vanished", record))),
                // One answer alone is not believed.
                Ok(_) => {
                    not_found_before = true;
                    pause = Some(world.settings.confirm_after);
                }
                Err(calls::Ended::Cancelled) => return Err(Trouble::Cancelled),
                Err(calls::Ended::Spent(spent)) => return Ok(Err(spent.into())),
            },
            Phase::Stopped => return Ok(Err(lost("stopped", record))),
            Phase::Failed => return Ok(Err(lost("failed", record))),
        }
        if !world.pause(pause.unwrap_or_else(|| polling.next())).await {
            return Err(Trouble::Cancelled);
        }
        seen = match observe(world, record).await {
            Ok(observed) => {
                let seen = observed.phase;
                record.absorb(observed);
                seen
            }
            Err(fault) if is_passing(&fault) => Phase::Unknown,
            Err(fault) => return Ok(Err(Reason::Call { call: "observe".into(), fault, attempts: 1, seconds: 0 })),
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
struct Running(Option<Duration>);

impl Running {
    /// How long to wait until the next look at a machine that nothing checks and that has not been seen to run for long enough.
    fn rest(&mut self, world: &World, record: &InstanceRecord, seen: Phase) -> Option<Duration> {
        let needed = needed_to_be_ready(world, record);
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
            return Some(rest.max(world.settings.poll_first));
        }
        self.0.get_or_insert(now);
        (!rest.is_zero()).then_some(rest)
    }
}

/// For how long a machine must have been running before its instance is ready; no time at all when checks say whether it is.
fn needed_to_be_ready(world: &World, record: &InstanceRecord) -> Duration {
    let health = &record.health_check;
    if !health.checks.is_empty() {
        return Duration::ZERO;
    }
    let said = health.min_ready_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    said.unwrap_or(world.settings.min_ready)
}

/// Writes down that a machine runs, the first time.
async fn note(world: &World, record: &mut InstanceRecord) -> Result<(), Trouble> {
    let events = note_running(world, record);
    if !events.is_empty() {
        world.journal.put(record, events).await?;
    }
    Ok(())
}

/// One round of checks on a running machine; none while it is too early to tell.
async fn once_healthy(
    world: &Arc<World>,
    desired: &Desired,
    record: &mut InstanceRecord,
    since: &mut Option<Duration>,
) -> Result<Option<Result<(), Reason>>, Trouble> {
    note(world, record).await?;
    match check(world, desired, record).await {
        Err(fault) => Ok(Some(Err(Reason::Call { call: "check".into(), fault, attempts: 1, seconds: 0 }))),
        Ok(Health::Healthy) => {
            let now = world.now();
            record.enter(InstanceState::Ready, now);
            record.ready_at = record.ready_at.or(Some(now));
            (record.health, record.failing_since, record.message, record.unobserved) = (None, None, None, None);
            let (node_id, node_name) = (record.id.clone(), record.node.clone());
            let event = What::NodeCreated { node_id, node_name, addresses: record.addresses.clone() };
            world.journal.put(record, vec![event]).await?;
            Ok(Some(Ok(())))
        }
        Ok(Health::Not(_, message)) => {
            if record.health.as_ref() != Some(&message) {
                record.health = Some(message.clone());
                let (node_id, node_name) = (record.id.clone(), record.node.clone());
                world.journal.tell(What::Waiting { node_id, node_name, message: message.clone() });
            }
            let allowed = Duration::from_secs(record.health_check.timeout);
            let late = since.is_some_and(|since| world.clock.uptime().saturating_sub(since) > allowed);
            Ok(late.then_some(Err(Reason::Unhealthy { message, seconds: record.health_check.timeout })))
        }
    }
}

/// The first time that a machine is seen to run; nothing to tell later.
pub(super) fn note_running(world: &World, record: &mut InstanceRecord) -> Vec<What> {
    if !matches!(record.state, InstanceState::Creating | InstanceState::UnknownOutcome | InstanceState::Pending) {
        return Vec::new();
    }
    let now = world.now();
    record.enter(InstanceState::Running, now);
    record.running_at = record.running_at.or(Some(now));
    let (node_id, node_name) = (record.id.clone(), record.node.clone());
    vec![What::NodeRunning { node_id, node_name, addresses: record.addresses.clone() }]
}

/// One look at an instance whose machine is known; two when it seems to have died. What changed is written down.
pub(super) async fn look(world: &Arc<World>, desired: &Desired, record: &mut InstanceRecord) -> Result<Look, Trouble> {
    let mut answer = observe(world, record).await;
    if is_newly_dead(record, &answer) {
        if !world.pause(world.settings.confirm_after).await {
            return Err(Trouble::Cancelled);
        }
        answer = observe(world, record).await;
    }
    examine(world, desired, record, answer).await
}

/// Whether an answer says that an instance has died of which that was not known.
pub(super) fn is_newly_dead(record: &InstanceRecord, answer: &Result<Observed, Fault>) -> bool {
    let dead = matches!(answer, Ok(seen) if matches!(seen.phase, Phase::Gone | Phase::Stopped | Phase::Failed));
    dead && !record.is_dead()
}

/// What an answer of the cloud means, together with the checks of a machine that runs. What changed is written down.
pub(super) async fn examine(
    world: &Arc<World>,
    desired: &Desired,
    record: &mut InstanceRecord,
    answer: Result<Observed, Fault>,
) -> Result<Look, Trouble> {
    let before = record.clone();
    let mut events = Vec::new();
    let conclusion = match answer {
        Err(fault) => {
            tracing::debug!(node = record.node, %fault, "could not be observed");
            Look::Unclear(fault.to_string())
        }
        Ok(observed) => {
            let (phase, said) = (observed.phase, observed.message.clone());
            record.absorb(observed);
            match phase {
                Phase::Unknown => {
                    Look::Unclear(said.unwrap_or_else(|| "its cloud says nothing that its driver understands".into()))
                }
                Phase::Pending => {
                    not_running(world, record, &mut events);
                    Look::Failing
                }
                Phase::Gone => {
                    let why = "the machine vanished".to_owned();
                    record.message = Some(why.clone());
                    died(world, record, InstanceState::Vanished, Death { why, vanished: true })
                }
                Phase::Stopped => {
                    let death = Death::of(&lost("stopped", record));
                    died(world, record, InstanceState::Stopped, death)
                }
                Phase::Failed => {
                    let death = Death::of(&lost("failed", record));
                    died(world, record, InstanceState::Failed, death)
                }
                Phase::Running => {
                    events = note_running(world, record);
                    let health = check(world, desired, record).await;
                    judge(world, record, health, &mut events)
                }
            }
        }
    };
    note_observed(record, &conclusion);
    if *record != before {
        world.journal.put(record, events).await?;
    }
    Ok(conclusion)
}

/// Its cloud says that it is dead. What was never ready is judged by whoever brings it up.
fn died(world: &World, record: &mut InstanceRecord, state: InstanceState, death: Death) -> Look {
    if record.ready_at.is_some() {
        record.enter(state, world.steady.now());
        (record.health, record.failing_since) = (None, None);
    }
    Look::Dead(death)
}

/// A machine that was ready, and is starting again.
fn not_running(world: &World, record: &mut InstanceRecord, events: &mut Vec<What>) {
    if !record.is_observed() {
        return;
    }
    let message = record.message.clone().unwrap_or_else(|| "the machine does not run at the moment".into());
    if record.state == InstanceState::Ready {
        let (node_id, node_name) = (record.id.clone(), record.node.clone());
        events.push(What::NodeHealth { node_id, node_name, healthy: false, message: message.clone() });
    }
    record.enter(InstanceState::Unhealthy, world.steady.now());
    record.health = Some(message);
}

/// Remembers why an instance could not be observed. The same kind of reason with other numbers in it is not news.
fn note_observed(record: &mut InstanceRecord, look: &Look) {
    let kind = |text: &str| text.chars().filter(|character| !character.is_ascii_digit()).collect::<String>();
    match look {
        Look::Unclear(why) if record.is_observed() => {
            if record.unobserved.as_deref().map(kind) != Some(kind(why)) {
                record.unobserved = Some(why.clone());
            }
        }
        Look::Unclear(_) => {}
        Look::Fine | Look::Failing | Look::Dead(_) => record.unobserved = None,
    }
}

/// What the checks mean for a running machine, given what they said before.
fn judge(world: &World, record: &mut InstanceRecord, health: Result<Health, Fault>, events: &mut Vec<What>) -> Look {
    let now = world.steady.now();
    let (node_id, node_name) = (record.id.clone(), record.node.clone());
    if matches!(record.state, InstanceState::Stopped | InstanceState::Vanished) {
        // It runs again; whether it is ready is to be seen.
        record.enter(InstanceState::Unhealthy, now);
        record.message = None;
    }
    match health {
        Err(fault) => Look::Unclear(fault.to_string()),
        Ok(Health::Not(Verdict::CannotTell, why)) => Look::Unclear(why),
        Ok(Health::Not(_, message)) => {
            let since = *record.failing_since.get_or_insert(now);
            if record.state == InstanceState::Ready {
                record.enter(InstanceState::Unhealthy, now);
                events.push(What::NodeHealth { node_id, node_name, healthy: false, message: message.clone() });
            }
            record.health = Some(message.clone());
            let allowed = record.health_check.timeout;
            if elapsed(since, now) > Duration::from_secs(allowed) {
                Look::Dead(Death::of(&Reason::Unhealthy { message, seconds: allowed }))
            } else {
                Look::Failing
            }
        }
        Ok(_) => {
            let running = record.running_at.map_or(Duration::MAX, |since| elapsed(since, now));
            if record.ready_at.is_none() && running < needed_to_be_ready(world, record) {
                return Look::Failing;
            }
            if record.ready_at.is_none() {
                let addresses = record.addresses.clone();
                events.push(What::NodeCreated { node_id, node_name, addresses });
                record.ready_at = Some(now);
            } else if record.state != InstanceState::Ready {
                events.push(What::NodeHealth { node_id, node_name, healthy: true, message: String::new() });
            }
            record.enter(InstanceState::Ready, now);
            (record.health, record.failing_since) = (None, None);
            Look::Fine
        }
    }
}

/// Runs the checks in order, up to the first that does not pass. A fault means that a section can't be used.
async fn check(world: &Arc<World>, desired: &Desired, record: &InstanceRecord) -> Result<Health, Fault> {
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
            context: world.call(&record.node, world.settings.short_call),
            section: Arc::new(section.clone()),
            addresses: record.addresses.clone(),
            node_name: record.node.clone(),
            instance_id: record.id.clone(),
            template_data: template_data.clone(),
        };
        match checker.check(&target).await {
            Ok(seen) if seen.verdict == Verdict::Healthy => {}
            Ok(seen) => return Ok(Health::Not(seen.verdict, seen.reason)),
            Err(fault) if is_passing(&fault) => return Ok(Health::Not(Verdict::CannotTell, fault.message)),
            Err(fault) => return Err(fault),
        }
    }
    Ok(Health::Healthy)
}

async fn observe(world: &Arc<World>, record: &InstanceRecord) -> Result<Observed, Fault> {
    let driver = calls::driver(world, record)?;
    let Some(handle) = &record.handle else {
        return Err(Fault::new(Reaction::Retry, "engine.no-handle", "its machine is not known"));
    };
    let answer = world.observer.observe(&driver, &world.short_scope(record), handle).await;
    gone_if_not_found(answer, handle)
}

/// `not-found` is an answer.
pub(super) fn gone_if_not_found(answer: Result<Observed, Fault>, handle: &Handle) -> Result<Observed, Fault> {
    match answer {
        Err(fault) if fault.reaction == Reaction::NotFound => Ok(Observed {
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
fn is_passing(fault: &Fault) -> bool {
    matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome | Reaction::NoCapacity)
}

fn lost(what: &str, record: &InstanceRecord) -> Reason {
    Reason::Machine { what: what.into(), message: record.message.clone() }
}

/// Time that has passed; none when the clock was set back.
pub(crate) fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
