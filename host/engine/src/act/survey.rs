//! Surveys of many instances: machines are observed by the page, then the health checks run, spread over some time.
//! Instances that seem dead are observed twice, since a single answer may be that of a proxy, of another server behind
//! the same name, or of a list that is late. Conclusions for the infrastructure are drawn elsewhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{StreamExt, stream};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::assessment::{Assessment, assess};
use super::batcher::retry_if_ambiguous;
use super::observation::{gone_if_not_found, is_newly_dead};
use super::{DesiredState, RunContext, TaskError, calls};
use crate::event::EventKind;
use crate::ports::{Fault, ObservedMachine, Phase, Reaction};
use crate::state::{InstanceRecord, digest};

/// Number of tasks that run checks, so that more than one core is used.
const CHECK_TASKS: usize = 4;
/// Number of concurrent checks in each task.
const MAX_CHECKS_PER_TASK: usize = 250;

/// An instance, and the answer of its cloud.
type ObservedInstance = (InstanceRecord, Result<ObservedMachine, Fault>);
type AssessedInstance = (InstanceRecord, Assessment);

/// Surveys instances whose machines are known. The checks of an instance run at an offset within `spread`, the same one
/// in every survey. Instances that could not be assessed before the run was cancelled are missing from the result.
pub(crate) async fn survey(
    ctx: Arc<RunContext>,
    desired: Arc<DesiredState>,
    records: Vec<InstanceRecord>,
    spread: Duration,
) -> Result<Vec<AssessedInstance>, TaskError> {
    let started = ctx.clock.uptime();
    let observed = observe_all(&ctx, records).await;
    let all_gone = observed.iter().all(|(_, answer)| matches!(answer, Ok(seen) if seen.phase == Phase::Gone));
    let (suspects, others): (Vec<_>, Vec<_>) =
        observed.into_iter().partition(|(record, answer)| is_newly_dead(record, answer));
    let suspects = async {
        match confirm_deaths(&ctx, suspects, all_gone).await {
            Some(suspects) => check_all(&ctx, &desired, suspects, started, Duration::ZERO).await,
            None => Ok(Vec::new()),
        }
    };
    let (suspects, others) = tokio::join!(suspects, check_all(&ctx, &desired, others, started, spread));
    let mut assessed = others?;
    assessed.extend(suspects?);
    Ok(assessed)
}

/// Observes instances that seem dead again, and returns the second answers; `None` if the run is cancelled meanwhile.
async fn confirm_deaths(
    ctx: &Arc<RunContext>,
    suspects: Vec<ObservedInstance>,
    all_gone: bool,
) -> Option<Vec<ObservedInstance>> {
    let Some((first, _)) = suspects.first() else { return Some(Vec::new()) };
    let settings = &ctx.settings;
    let pause = if all_gone { settings.confirm_all_delay } else { settings.confirm_delay };
    if all_gone {
        let message =
            format!("all machines seem to have vanished at once; observing them again in {} s", pause.as_secs_f64());
        let (node_id, node_name) = (first.id.clone(), first.node.clone());
        ctx.journal.emit(EventKind::Waiting { node_id, node_name, message });
    }
    if !ctx.sleep_unless_cancelled(pause).await {
        return None;
    }
    Some(observe_all(ctx, suspects.into_iter().map(|(record, _)| record).collect()).await)
}

/// Assesses instances in several tasks, runs the checks of those whose machines run, and records changes.
async fn check_all(
    ctx: &Arc<RunContext>,
    desired: &Arc<DesiredState>,
    observed: Vec<ObservedInstance>,
    started: Duration,
    spread: Duration,
) -> Result<Vec<AssessedInstance>, TaskError> {
    if observed.is_empty() {
        return Ok(Vec::new());
    }
    let mut lanes: Vec<Vec<(Duration, ObservedInstance)>> = (0..CHECK_TASKS).map(|_| Vec::new()).collect();
    for (number, instance) in observed.into_iter().enumerate() {
        let due = if is_to_be_checked(&instance) { check_offset(&instance.0, spread) } else { Duration::ZERO };
        lanes[number % CHECK_TASKS].push((due, instance));
    }
    let mut tasks = JoinSet::new();
    for mut lane in lanes {
        lane.sort_by_key(|(due, _)| *due);
        tasks.spawn(run_checks(ctx.clone(), desired.clone(), lane, started).in_current_span());
    }
    let mut assessed = Vec::new();
    while let Some(lane) = tasks.join_next().await {
        match lane {
            Ok(lane) => assessed.extend(lane?),
            // The tasks are not cancelled while they are joined, so this one has panicked.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    Ok(assessed)
}

fn is_to_be_checked((record, answer): &ObservedInstance) -> bool {
    !record.health_check.checks.is_empty() && matches!(answer, Ok(seen) if seen.phase == Phase::Running)
}

/// Returns the offset of an instance's checks within `spread`. It is derived from the id, which ends in random bits.
fn check_offset(record: &InstanceRecord, spread: Duration) -> Duration {
    spread.mul_f64((digest(record.id.as_bytes()) % 1000) as f64 / 1000.0)
}

async fn run_checks(
    ctx: Arc<RunContext>,
    desired: Arc<DesiredState>,
    lane: Vec<(Duration, ObservedInstance)>,
    started: Duration,
) -> Result<Vec<AssessedInstance>, TaskError> {
    let in_time = stream::iter(lane).then(|(due, instance)| {
        let ctx = ctx.clone();
        async move {
            let passed = ctx.clock.uptime().saturating_sub(started);
            if due > passed {
                ctx.sleep_unless_cancelled(due - passed).await;
            }
            instance
        }
    });
    let assessments = in_time.map(|(mut record, answer)| {
        let (ctx, desired) = (ctx.clone(), desired.clone());
        async move {
            if ctx.cancel.is_cancelled() {
                return Ok(None);
            }
            match assess(&ctx, &desired, &mut record, answer).await {
                Ok(assessment) => Ok(Some((record, assessment))),
                Err(TaskError::Cancelled) => Ok(None),
                Err(error) => Err(error),
            }
        }
    });
    let mut assessed = Vec::new();
    let mut assessments = std::pin::pin!(assessments.buffer_unordered(MAX_CHECKS_PER_TASK));
    while let Some(assessment) = assessments.next().await {
        assessed.extend(assessment?);
    }
    Ok(assessed)
}

/// Observes instances by the page, all pages concurrently.
async fn observe_all(ctx: &Arc<RunContext>, records: Vec<InstanceRecord>) -> Vec<ObservedInstance> {
    // Equal `resource` sections mean the same access to the same cloud.
    let mut by_access = HashMap::<u64, Vec<InstanceRecord>>::new();
    for record in records {
        by_access.entry(digest(record.section.to_string().as_bytes())).or_default().push(record);
    }
    let mut groups: Vec<_> = by_access.into_values().collect();
    groups.sort_by(|one, other| one.first().map(|record| &record.id).cmp(&other.first().map(|record| &record.id)));
    let mut pages = Vec::<Vec<_>>::new();
    for group in groups {
        let mut group = group.into_iter();
        while group.len() > 0 {
            pages.push(group.by_ref().take(ctx.settings.observe_batch_size).collect());
        }
    }
    let observed: FuturesUnordered<_> = pages.into_iter().map(|page| observe_page(ctx, page)).collect();
    observed.concat().await
}

async fn observe_page(ctx: &Arc<RunContext>, page: Vec<InstanceRecord>) -> Vec<ObservedInstance> {
    let fails = |page: Vec<InstanceRecord>, fault: Fault| -> Vec<ObservedInstance> {
        page.into_iter().map(|record| (record, Err(fault.clone()))).collect()
    };
    let (known, unknown): (Vec<_>, Vec<_>) = page.into_iter().partition(|record| record.handle.is_some());
    let mut answered =
        fails(unknown, Fault::new(Reaction::Retry, "engine.no-handle", "the machine of this instance is not known"));
    let Some(first) = known.first() else { return answered };
    let driver = match calls::driver_for(ctx, first) {
        Ok(driver) => driver,
        Err(fault) => {
            answered.extend(fails(known, fault));
            return answered;
        }
    };
    let mut scope = ctx.query_scope(first);
    if known.len() > 1 {
        scope.context = ctx.call_context("", ctx.settings.query_timeout);
    }
    let handles: Vec<_> = known.iter().filter_map(|record| record.handle.clone()).collect();
    let answer = calls::observe(ctx, &driver, &scope, first, &handles).await;
    match answer {
        Ok(answers) if answers.len() == handles.len() => {
            answered.extend(known.into_iter().zip(answers).map(|(record, seen)| (record, Ok(seen))))
        }
        Ok(answers) => {
            let message = format!("the driver returned {} answers for {} handles", answers.len(), handles.len());
            answered.extend(fails(known, Fault::new(Reaction::Retry, "driver.wrong-count", message)));
        }
        Err(fault) => {
            let fault = retry_if_ambiguous(fault, handles.len());
            let gone = |(record, handle)| (record, gone_if_not_found(Err(fault.clone()), handle));
            answered.extend(known.into_iter().zip(&handles).map(gone));
        }
    }
    answered
}
