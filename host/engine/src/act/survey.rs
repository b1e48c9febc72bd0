//! One survey of many instances: the clouds are asked by the page, then the checks run, spread over some time. What looks dead is
//! observed twice: one answer alone may be that of a proxy, of another server behind the same name, or of a list that is late.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{StreamExt, stream};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::observer::of_many;
use super::ready::{Look, examine, gone_if_not_found, is_newly_dead};
use super::{Desired, Trouble, World, calls};
use crate::event::What;
use crate::ports::{Fault, Observed, Phase, Reaction};
use crate::state::{InstanceRecord, digest};

/// Checks run in so many tasks, so that more than one core has something to do.
const LANES: usize = 4;
/// Checks under way in each of them.
const CHECKS_IN_A_LANE: usize = 250;

/// An instance, and what its cloud says of it.
type Answered = (InstanceRecord, Result<Observed, Fault>);
type Seen = (InstanceRecord, Look);

/// Looks at instances whose machines are known. Each check has its own moment within `spread`, the same one every time.
/// Instances that could not be looked at, since everything ends, are missing from the answer.
pub(crate) async fn survey(
    world: Arc<World>,
    desired: Arc<Desired>,
    records: Vec<InstanceRecord>,
    spread: Duration,
) -> Result<Vec<Seen>, Trouble> {
    let begun = world.clock.uptime();
    let answered = ask(&world, records).await;
    let all_gone = answered.iter().all(|(_, answer)| matches!(answer, Ok(seen) if seen.phase == Phase::Gone));
    let (suspects, others): (Vec<_>, Vec<_>) =
        answered.into_iter().partition(|(record, answer)| is_newly_dead(record, answer));
    let suspects = async {
        match confirm(&world, suspects, all_gone).await {
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
async fn confirm(world: &Arc<World>, suspects: Vec<Answered>, all_gone: bool) -> Option<Vec<Answered>> {
    let Some((first, _)) = suspects.first() else { return Some(Vec::new()) };
    let settings = &world.settings;
    let pause = if all_gone { settings.confirm_all_after } else { settings.confirm_after };
    if all_gone {
        let message =
            format!("all machines look vanished at once, and are observed again in {} s", pause.as_secs_f64());
        let (node_id, node_name) = (first.id.clone(), first.node.clone());
        world.journal.tell(What::Waiting { node_id, node_name, message });
    }
    if !world.pause(pause).await {
        return None;
    }
    Some(ask(world, suspects.into_iter().map(|(record, _)| record).collect()).await)
}

/// Runs the checks of what runs, in lanes, and writes down what has changed.
async fn check_all(
    world: &Arc<World>,
    desired: &Arc<Desired>,
    answered: Vec<Answered>,
    begun: Duration,
    spread: Duration,
) -> Result<Vec<Seen>, Trouble> {
    if answered.is_empty() {
        return Ok(Vec::new());
    }
    let mut lanes: Vec<Vec<(Duration, Answered)>> = (0..LANES).map(|_| Vec::new()).collect();
    for (number, answered) in answered.into_iter().enumerate() {
        let due = if is_to_be_checked(&answered) { moment(&answered.0, spread) } else { Duration::ZERO };
        lanes[number % LANES].push((due, answered));
    }
    let mut tasks = JoinSet::new();
    for mut lane in lanes {
        lane.sort_by_key(|(due, _)| *due);
        tasks.spawn(check_in_time(world.clone(), desired.clone(), lane, begun).in_current_span());
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

fn is_to_be_checked((record, answer): &Answered) -> bool {
    !record.health_check.checks.is_empty() && matches!(answer, Ok(seen) if seen.phase == Phase::Running)
}

/// Ids end in random bits.
fn moment(record: &InstanceRecord, spread: Duration) -> Duration {
    spread.mul_f64((digest(record.id.as_bytes()) % 1000) as f64 / 1000.0)
}

async fn check_in_time(
    world: Arc<World>,
    desired: Arc<Desired>,
    lane: Vec<(Duration, Answered)>,
    begun: Duration,
) -> Result<Vec<Seen>, Trouble> {
    let in_time = stream::iter(lane).then(|(due, answered)| {
        let world = world.clone();
        async move {
            let passed = world.clock.uptime().saturating_sub(begun);
            if due > passed {
                world.pause(due - passed).await;
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
            match examine(&world, &desired, &mut record, answer).await {
                Ok(look) => Ok(Some((record, look))),
                Err(Trouble::Cancelled) => Ok(None),
                Err(trouble) => Err(trouble),
            }
        }
    });
    let mut seen = Vec::new();
    let mut looks = std::pin::pin!(looks.buffer_unordered(CHECKS_IN_A_LANE));
    while let Some(look) = looks.next().await {
        seen.extend(look?);
    }
    Ok(seen)
}

/// Asks the clouds, by the page.
async fn ask(world: &Arc<World>, records: Vec<InstanceRecord>) -> Vec<Answered> {
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
            pages.push(group.by_ref().take(world.settings.observe_batch).collect());
        }
    }
    let asked: FuturesUnordered<_> = pages.into_iter().map(|page| ask_one_page(world, page)).collect();
    asked.concat().await
}

async fn ask_one_page(world: &Arc<World>, page: Vec<InstanceRecord>) -> Vec<Answered> {
    let fails = |page: Vec<InstanceRecord>, fault: Fault| -> Vec<Answered> {
        page.into_iter().map(|record| (record, Err(fault.clone()))).collect()
    };
    let (known, unknown): (Vec<_>, Vec<_>) = page.into_iter().partition(|record| record.handle.is_some());
    let mut answered = fails(unknown, Fault::new(Reaction::Retry, "engine.no-handle", "its machine is not known"));
    let Some(first) = known.first() else { return answered };
    let driver = match calls::driver(world, first) {
        Ok(driver) => driver,
        Err(fault) => {
            answered.extend(fails(known, fault));
            return answered;
        }
    };
    let mut scope = world.short_scope(first);
    if known.len() > 1 {
        scope.context = world.call("", world.settings.short_call);
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
            let fault = of_many(fault, handles.len());
            let gone = |(record, handle)| (record, gone_if_not_found(Err(fault.clone()), handle));
            answered.extend(known.into_iter().zip(&handles).map(gone));
        }
    }
    answered
}
