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
    let mut polling = Polling::new(&world.settings);
    loop {
        match phase {
            Phase::Running => match once_healthy(world, desired, record, &mut unhealthy_since).await? {
                Some(outcome) => return Ok(outcome),
                None => unhealthy_since = unhealthy_since.or(Some(world.clock.uptime())),
            },
            Phase::Pending | Phase::Unknown => {
                unhealthy_since = None;
                if world.clock.uptime().saturating_sub(begun) > world.settings.start_timeout {
                    return Ok(Err(Reason::Slow { seconds: world.settings.start_timeout.as_secs() }));
                }
            }
            // A cloud may list a new machine late; `find` knows better.
            Phase::Gone => match calls::find(world, record).await {
                Ok(Some(observed)) if observed.phase != Phase::Gone => {
                    phase = observed.phase;
                    record.absorb(observed);
                    continue;
                }
                Ok(_) => return Ok(Err(lost("vanished", record))),
                Err(calls::Ended::Cancelled) => return Err(Trouble::Cancelled),
                Err(calls::Ended::Spent(spent)) => return Ok(Err(spent.into())),
            },
            Phase::Stopped => return Ok(Err(lost("stopped", record))),
            Phase::Failed => return Ok(Err(lost("failed", record))),
        }
        if !world.pause(polling.next()).await {
            return Err(Trouble::Cancelled);
        }
        let seen = match observe(world, record).await {
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

/// One round of checks on a running machine; none while it is too early to tell.
async fn once_healthy(
    world: &Arc<World>,
    desired: &Desired,
    record: &mut InstanceRecord,
    since: &mut Option<Duration>,
) -> Result<Option<Result<(), Reason>>, Trouble> {
    let running = note_running(world, record);
    if !running.is_empty() {
        world.journal.put(record, running).await?;
    }
    match check(world, desired, record).await {
        Err(fault) => Ok(Some(Err(Reason::Call { call: "check".into(), fault, attempts: 1, seconds: 0 }))),
        Ok(Health::Healthy) => {
            let now = world.now();
            record.enter(InstanceState::Ready, now);
            record.ready_at = record.ready_at.or(Some(now));
            (record.health, record.failing_since, record.message) = (None, None, None);
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

/// One look at an instance whose machine is known. What changed is written down.
pub(super) async fn look(world: &Arc<World>, desired: &Desired, record: &mut InstanceRecord) -> Result<Look, Trouble> {
    let answer = observe(world, record).await;
    examine(world, desired, record, answer).await
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
            let phase = observed.phase;
            record.absorb(observed);
            match phase {
                Phase::Unknown => Look::Unclear("its cloud does not say what it does".into()),
                Phase::Pending => Look::Failing,
                Phase::Gone => Look::Dead(Death { why: "the machine vanished".into(), vanished: true }),
                Phase::Stopped => Look::Dead(Death::of(&lost("stopped", record))),
                Phase::Failed => Look::Dead(Death::of(&lost("failed", record))),
                Phase::Running => {
                    events = note_running(world, record);
                    let health = check(world, desired, record).await;
                    judge(world, record, health, &mut events)
                }
            }
        }
    };
    if *record != before {
        world.journal.put(record, events).await?;
    }
    Ok(conclusion)
}

/// What the checks mean for a running machine, given what they said before.
fn judge(world: &World, record: &mut InstanceRecord, health: Result<Health, Fault>, events: &mut Vec<What>) -> Look {
    let now = world.steady.now();
    let (node_id, node_name) = (record.id.clone(), record.node.clone());
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
