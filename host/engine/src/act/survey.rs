//! One survey of many instances: the clouds are asked by the page, then the checks run, spread over some time. What looks dead is
//! observed twice: one answer alone may be that of a proxy, of another server behind the same name, or of a list that is late.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{StreamExt, stream};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::batcher::retry_if_ambiguous;
use super::readiness::{Assessment, assess, gone_if_not_found, is_newly_dead};
use super::{DesiredState, RunContext, TaskError, calls};
use crate::event::EventKind;
use crate::ports::{Fault, ObservedMachine, Phase, Reaction};
use crate::state::{InstanceRecord, digest};

/// Checks run in so many tasks, so that more than one core has something to do.
const CHECK_TASKS: usize = 4;
/// Checks under way in each of them.
const MAX_CHECKS_PER_TASK: usize = 250;

/// An instance, and what its cloud says of it.
type ObservedInstance = (InstanceRecord, Result<ObservedMachine, Fault>);
type AssessedInstance = (InstanceRecord, Assessment);

/// Looks at instances whose machines are known. Each check has its own moment within `spread`, the same one every time.
/// Instances that could not be looked at, since everything ends, are missing from the answer.
pub(crate) async fn survey(
    world: Arc<RunContext>,
    desired: Arc<DesiredState>,
    records: Vec<InstanceRecord>,
    spread: Duration,
) -> Result<Vec<AssessedInstance>, TaskError> {
    let begun = world.clock.uptime();
    let answered = observe_all(&world, records).await;
    let all_gone = answered.iter().all(|(_, answer)| matches!(answer, Ok(seen) if seen.phase == Phase::Gone));
    let (suspects, others): (Vec<_>, Vec<_>) =
        answered.into_iter().partition(|(record, answer)| is_newly_dead(record, answer));
    let suspects = async {
        match confirm_deaths(&world, suspects, all_gone).await {
            Some(suspects) => check_all(&world, &desired, suspects, begun, Duration::ZERO).await,
            None => Ok(Vec::new()),
        }
    };
    let (suspects, others) = tokio::join!(suspects, check_all(&world, &desired, others, begun, spread));
    let mut seen = others?;
    seen.extend(suspects?);
    Ok(seen)
}

/// Observes again what looks dead, and gives the second answer; nothing when everything ends meanwhile.
async fn confirm_deaths(
    world: &Arc<RunContext>,
    suspects: Vec<ObservedInstance>,
    all_gone: bool,
) -> Option<Vec<ObservedInstance>> {
    let Some((first, _)) = suspects.first() else { return Some(Vec::new()) };
    let settings = &world.settings;
    let pause = if all_gone { settings.confirm_all_delay } else { settings.confirm_delay };
    if all_gone {
        let message =
            format!("all machines look vanished at once, and are observed again in {} s", pause.as_secs_f64());
        let (node_id, node_name) = (first.id.clone(), first.node.clone());
        world.journal.emit(EventKind::Waiting { node_id, node_name, message });
    }
    if !world.sleep_unless_cancelled(pause).await {
        return None;
    }
    Some(observe_all(world, suspects.into_iter().map(|(record, _)| record).collect()).await)
}

/// Runs the checks of what runs, in lanes, and writes down what has changed.
async fn check_all(
    world: &Arc<RunContext>,
    desired: &Arc<DesiredState>,
    answered: Vec<ObservedInstance>,
    begun: Duration,
    spread: Duration,
) -> Result<Vec<AssessedInstance>, TaskError> {
    if answered.is_empty() {
        return Ok(Vec::new());
    }
    let mut lanes: Vec<Vec<(Duration, ObservedInstance)>> = (0..CHECK_TASKS).map(|_| Vec::new()).collect();
    for (number, answered) in answered.into_iter().enumerate() {
        let due = if is_to_be_checked(&answered) { check_offset(&answered.0, spread) } else { Duration::ZERO };
        lanes[number % CHECK_TASKS].push((due, answered));
    }
    let mut tasks = JoinSet::new();
    for mut lane in lanes {
        lane.sort_by_key(|(due, _)| *due);
        tasks.spawn(run_checks(world.clone(), desired.clone(), lane, begun).in_current_span());
    }
    let mut seen = Vec::new();
    while let Some(lane) = tasks.join_next().await {
        match lane {
            Ok(lane) => seen.extend(lane?),
            // Nobody cancels it, so it has panicked.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    Ok(seen)
}

fn is_to_be_checked((record, answer): &ObservedInstance) -> bool {
    !record.health_check.checks.is_empty() && matches!(answer, Ok(seen) if seen.phase == Phase::Running)
}

/// Ids end in random bits.
fn check_offset(record: &InstanceRecord, spread: Duration) -> Duration {
    spread.mul_f64((digest(record.id.as_bytes()) % 1000) as f64 / 1000.0)
}

async fn run_checks(
    world: Arc<RunContext>,
    desired: Arc<DesiredState>,
    lane: Vec<(Duration, ObservedInstance)>,
    begun: Duration,
) -> Result<Vec<AssessedInstance>, TaskError> {
    let in_time = stream::iter(lane).then(|(due, answered)| {
        let world = world.clone();
        async move {
            let passed = world.clock.uptime().saturating_sub(begun);
            if due > passed {
                world.sleep_unless_cancelled(due - passed).await;
            }
            answered
        }
    });
    let looks = in_time.map(|(mut record, answer)| {
        let (world, desired) = (world.clone(), desired.clone());
        async move {
            if world.cancel.is_cancelled() {
                return Ok(None);
            }
            match assess(&world, &desired, &mut record, answer).await {
                Ok(look) => Ok(Some((record, look))),
                Err(TaskError::Cancelled) => Ok(None),
                Err(trouble) => Err(trouble),
            }
        }
    });
    let mut seen = Vec::new();
    let mut looks = std::pin::pin!(looks.buffer_unordered(MAX_CHECKS_PER_TASK));
    while let Some(look) = looks.next().await {
        seen.extend(look?);
    }
    Ok(seen)
}

/// Asks the clouds, by the page.
async fn observe_all(world: &Arc<RunContext>, records: Vec<InstanceRecord>) -> Vec<ObservedInstance> {
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
            pages.push(group.by_ref().take(world.settings.observe_batch_size).collect());
        }
    }
    let asked: FuturesUnordered<_> = pages.into_iter().map(|page| observe_page(world, page)).collect();
    asked.concat().await
}

async fn observe_page(world: &Arc<RunContext>, page: Vec<InstanceRecord>) -> Vec<ObservedInstance> {
    let fails = |page: Vec<InstanceRecord>, fault: Fault| -> Vec<ObservedInstance> {
        page.into_iter().map(|record| (record, Err(fault.clone()))).collect()
    };
    let (known, unknown): (Vec<_>, Vec<_>) = page.into_iter().partition(|record| record.handle.is_some());
    let mut answered = fails(unknown, Fault::new(Reaction::Retry, "engine.no-handle", "its machine is not known"));
    let Some(first) = known.first() else { return answered };
    let driver = match calls::driver_for(world, first) {
        Ok(driver) => driver,
        Err(fault) => {
            answered.extend(fails(known, fault));
            return answered;
        }
    };
    let mut scope = world.query_scope(first);
    if known.len() > 1 {
        scope.context = world.call_context("", world.settings.query_timeout);
    }
    let handles: Vec<_> = known.iter().filter_map(|record| record.handle.clone()).collect();
    let answer = calls::observe(world, &driver, &scope, first, &handles).await;
    match answer {
        Ok(answers) if answers.len() == handles.len() => {
            answered.extend(known.into_iter().zip(answers).map(|(record, seen)| (record, Ok(seen))))
        }
        Ok(answers) => {
            let message = format!("the driver gave {} answers to {} questions", answers.len(), handles.len());
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
