//! Assessment of an instance that was ready before: whether it still is, or is again, or is dead. In come its record,
//! the cloud's answer and the results of the health checks; out come an updated record, its events and an
//! [`Assessment`]. How an instance becomes ready for the first time must not be known here.

use std::sync::Arc;
use std::time::Duration;

use super::health::{Health, check};
use super::monotonic::elapsed;
use super::observation::{machine_failure, observe_confirmed};
use super::readiness::mark_ready;
use super::{DesiredState, RunContext, TaskError};
use crate::error::FailureReason;
use crate::event::EventKind;
use crate::ports::{Fault, ObservedMachine, Phase, Verdict};
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

    /// Creates the death of an instance whose cloud has just reported this phase; `None` if it is not dead.
    pub(super) fn from_phase(phase: Phase, record: &InstanceRecord) -> Option<Self> {
        match phase {
            Phase::Gone => Some(Self { reason: "the machine vanished".into(), vanished: true }),
            Phase::Stopped => Some(Self::from_reason(&machine_failure("stopped", record))),
            Phase::Failed => Some(Self::from_reason(&machine_failure("failed", record))),
            Phase::Pending | Phase::Running | Phase::Unknown => None,
        }
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

/// Observes and assesses an instance whose machine is known, and records changes. If it seems to have died, it is
/// observed again after the confirm delay.
pub(super) async fn observe_and_assess(
    ctx: &Arc<RunContext>,
    desired: &DesiredState,
    record: &mut InstanceRecord,
) -> Result<Assessment, TaskError> {
    let answer = observe_confirmed(ctx, record).await?;
    assess(ctx, desired, record, answer).await
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
                Phase::Gone => mark_dead(ctx, record, phase, InstanceState::Vanished),
                Phase::Stopped => mark_dead(ctx, record, phase, InstanceState::Stopped),
                Phase::Failed => mark_dead(ctx, record, phase, InstanceState::Failed),
                Phase::Running => {
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

/// Marks an instance as dead by the report of its cloud.
fn mark_dead(ctx: &RunContext, record: &mut InstanceRecord, phase: Phase, state: InstanceState) -> Assessment {
    let Some(death) = Death::from_phase(phase, record) else { return Assessment::NotReady };
    if death.vanished {
        record.message = Some(death.reason.clone());
    }
    record.set_state(state, ctx.monotonic.now());
    (record.health, record.failing_since) = (None, None);
    Assessment::Dead(death)
}

/// Marks an instance whose machine is starting again as unhealthy.
fn mark_not_running(ctx: &RunContext, record: &mut InstanceRecord, events: &mut Vec<EventKind>) {
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
        Assessment::Inconclusive(reason) => {
            if record.unobserved.as_deref().map(kind) != Some(kind(reason)) {
                record.unobserved = Some(reason.clone());
            }
        }
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
                let (node_id, node_name) = (record.id.clone(), record.node.clone());
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
        Ok(Health::Healthy) => {
            events.extend(mark_ready(record, now));
            Assessment::Ready
        }
    }
}
