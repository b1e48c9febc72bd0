//! Checks of a driver's contract.

mod eventual_consistency;
mod faults;
mod foreign_answers;
mod machines;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join;
use occopus_engine::ports::{Handle, Phase, Reaction};

use self::machines::Machines;
use crate::fault_injection::FaultProxy;
use crate::proxy::ProxyAction;
use crate::report::{CheckError, ProgressEvent, Suite, TestResult, describe_fault};
use crate::testbed::Testbed;

/// Number of handles that one call observes.
const MANY_HANDLES: usize = 1_000;
/// Maximum time for which a removed machine may be reported as if nothing had happened.
const MAX_REMOVAL_LAG: Duration = Duration::from_secs(20);
/// Delay of a request that another one overtakes.
const OVERTAKEN_REQUEST_DELAY: Duration = Duration::from_secs(1);

/// Checks that others depend on: a machine is created, and machines can be removed.
const CREATE_CHECK: &str = "create";
const DESTROY_CHECK: &str = "destroy-again";

pub(crate) async fn run(suite: &mut Suite<impl FnMut(&ProgressEvent<'_>)>, testbed: &Testbed) {
    let Some(machines) = Machines::new(testbed) else { return };
    let machines = &machines;
    let id = machines.new_id();
    let mut first = None;
    let made = suite.check(CREATE_CHECK, async || {
        let began = Instant::now();
        let handle = machines.create(&id).await?;
        machines.wait_until_running(&handle).await?;
        first = Some(handle);
        Ok(format!("it runs after {:.1} s", began.elapsed().as_secs_f64()))
    });
    made.await;
    // Without a machine no check uses it.
    let handle = &first.unwrap_or(Handle { version: 0, data: String::new() });
    suite.check_after(&[CREATE_CHECK], "create-again", async || check_create_again(machines, &id, handle).await).await;
    suite.check_after(&[CREATE_CHECK], "find", async || check_find(machines, &id, handle).await).await;
    suite.check_after(&[CREATE_CHECK], "inventory", async || check_inventory(machines, &id, handle).await).await;
    suite.check_after(&[CREATE_CHECK, "find"], DESTROY_CHECK, async || check_destroy_again(machines).await).await;
    suite.check_after(&[CREATE_CHECK, DESTROY_CHECK], "observe", async || check_observe(machines, handle).await).await;
    suite
        .check_after(&[CREATE_CHECK, DESTROY_CHECK], "create-at-once", async || check_concurrent_create(machines).await)
        .await;
    suite
        .check_after(&[CREATE_CHECK], "wrong-credentials", async || check_wrong_credentials(machines, handle).await)
        .await;
    testbed
        .check_refusals(suite, async |section| {
            machines.driver.create(&machines.request(&machines.new_id(), section.into(), false)).await
        })
        .await;
    match FaultProxy::in_front_of(testbed) {
        Ok(proxy) => {
            faults::run(suite, machines, &proxy, &id, handle).await;
            foreign_answers::run(suite, machines, &proxy, &id, handle).await;
            eventual_consistency::run(suite, machines, &proxy, handle).await;
        }
        Err(error) => {
            suite.check_after(&[CREATE_CHECK], "faults", async || Err(error)).await;
        }
    }
    // Late: clouds that keep records of removed machines are slow from then on.
    suite
        .check_after(&[CREATE_CHECK, DESTROY_CHECK], "observe-1000", async || check_observe_many(machines).await)
        .await;
    suite.check_always("nothing-left", async || machines.remove_all().await).await;
}

async fn check_create_again(machines: &Machines<'_>, id: &str, handle: &Handle) -> TestResult {
    let again = machines.driver.create(&machines.request(id, machines.section(), true)).await?;
    if again.handle != *handle {
        return Err(format!("the second call made {:?} beside {handle:?}", again.handle).into());
    }
    machines.require_exactly_one(id).await?;
    Ok("one machine".to_owned())
}

/// Checks concurrent creations by an owner that has lost its lease and has not noticed it yet, and by the new owner. If
/// a proxy is possible, the last request of the old owner is delayed until the new one may have ended.
async fn check_concurrent_create(machines: &Machines<'_>) -> TestResult {
    let faults = FaultProxy::in_front_of(machines.testbed);
    let section = faults.as_ref().map_or_else(|_| machines.section(), |faults| Arc::clone(&faults.section));
    let id = machines.new_id();
    let (early, late) = (machines.request(&id, Arc::clone(&section), false), machines.request(&id, section, true));
    let (early, late) = match &faults {
        Ok(faults) => {
            let requests = count_create_requests(machines, faults).await?;
            let seen = faults.requests();
            faults.inject_once(requests.saturating_sub(1), ProxyAction::Delay(OVERTAKEN_REQUEST_DELAY));
            let late = async || {
                faults.wait_for_requests(seen + requests, machines.testbed.call_timeout()).await;
                machines.driver.create(&late).await
            };
            join(machines.driver.create(&early), late()).await
        }
        Err(_) => join(machines.driver.create(&early), machines.driver.create(&late)).await,
    };
    for answer in [&early, &late] {
        if let Err(fault) = answer
            && !matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome | Reaction::Conflict)
        {
            return Err(fault.clone().into());
        }
    }
    let known = match late {
        Ok(late) => late.handle,
        Err(_) => machines.recover_create(&id, machines.section()).await?,
    };
    let handle = machines.require_exactly_one(&id).await?;
    if handle != known {
        return Err(format!("there is {handle:?}, and the call that was repeated answered {known:?}").into());
    }
    machines.destroy(&handle).await?;
    Ok("one machine".to_owned())
}

/// Counts the requests of a first creation, once the driver's caches are filled.
async fn count_create_requests(machines: &Machines<'_>, faults: &FaultProxy) -> Result<usize, CheckError> {
    let mut requests = 0;
    for _ in 0..2 {
        let before = faults.requests();
        let made =
            machines.driver.create(&machines.request(&machines.new_id(), Arc::clone(&faults.section), false)).await?;
        requests = faults.requests() - before;
        machines.destroy(&made.handle).await?;
    }
    Ok(requests)
}

async fn check_find(machines: &Machines<'_>, id: &str, handle: &Handle) -> TestResult {
    match machines.driver.find(&machines.scope(), id).await? {
        Some(found) if found.handle == *handle => {}
        found => return Err(format!("of {handle:?} it finds {:?}", found.map(|found| found.handle)).into()),
    }
    match machines.driver.find(&machines.scope(), &machines.new_id()).await? {
        None => Ok("the one that is there, and none for another id".to_owned()),
        Some(found) => Err(format!("it finds {:?} for an id that nobody has used", found.handle).into()),
    }
}

async fn check_inventory(machines: &Machines<'_>, id: &str, handle: &Handle) -> TestResult {
    let Some(owned) = machines.list_owned().await? else {
        return Err(CheckError::Skipped("it can't list its machines".to_owned()));
    };
    match owned.as_slice() {
        [one] if one.instance_id == id && one.observed.handle == *handle => Ok("it has the machine".to_owned()),
        others => {
            let handles: Vec<_> = others.iter().map(|one| &one.observed.handle).collect();
            Err(format!("of {handle:?} alone it lists {handles:?}").into())
        }
    }
}

async fn check_observe(machines: &Machines<'_>, handle: &Handle) -> TestResult {
    let other = machines.create(&machines.new_id()).await?;
    machines.wait_until_running(&other).await?;
    let both = [other.clone(), handle.clone()];
    let seen = machines.driver.observe(&machines.scope(), &both).await?;
    let answered: Vec<_> = seen.into_iter().map(|one| one.handle).collect();
    if answered != both {
        return Err(format!("the answers are not in the order of the handles: {answered:?}").into());
    }
    machines.destroy(&other).await?;
    machines.wait_until_gone(&other).await?;
    let seen = machines.driver.observe(&machines.scope(), &[handle.clone(), other, handle.clone()]).await?;
    let phases: Vec<_> = seen.iter().map(|one| one.phase).collect();
    if phases != [Phase::Running, Phase::Gone, Phase::Running] {
        return Err(format!("for a machine, one that is gone, and the first again it reports {phases:?}").into());
    }
    Ok("in the order of the handles, and one that is gone".to_owned())
}

async fn check_observe_many(machines: &Machines<'_>) -> TestResult {
    let ids: Vec<_> = (0..machines.testbed.fixture.machines).map(|_| machines.new_id()).collect();
    let handles = machines.create_all(&ids).await?;
    let requested: Vec<_> = handles.iter().cycle().take(MANY_HANDLES.max(handles.len())).cloned().collect();
    let began = Instant::now();
    let seen = machines.driver.observe(&machines.scope(), &requested).await?;
    let time = began.elapsed();
    let wrong =
        seen.iter().zip(&requested).find(|(seen, requested)| seen.handle != **requested || seen.phase == Phase::Gone);
    if let Some((seen, requested)) = wrong {
        return Err(format!("for {requested:?} it reports {:?} as {:?}", seen.handle, seen.phase).into());
    }
    machines.destroy_all(&handles).await?;
    let (requested, made, time) = (requested.len(), handles.len(), time.as_millis());
    Ok(format!("{requested} handles of {made} machines in one call, {time} ms"))
}

async fn check_destroy_again(machines: &Machines<'_>) -> TestResult {
    let id = machines.new_id();
    let handle = machines.create(&id).await?;
    machines.destroy(&handle).await?;
    machines.destroy(&handle).await?;
    machines.wait_until_gone(&handle).await?;
    machines.destroy(&handle).await?;
    let began = Instant::now();
    while machines.driver.find(&machines.scope(), &id).await?.is_some_and(|found| found.phase != Phase::Gone) {
        if began.elapsed() > machines.testbed.call_timeout().min(MAX_REMOVAL_LAG) {
            return Err("`find` still finds it, though `observe` reports it as gone".into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok("no error, and it is gone".to_owned())
}

/// Checks that wrong credentials are never reported as a machine that is gone.
async fn check_wrong_credentials(machines: &Machines<'_>, handle: &Handle) -> TestResult {
    let unauthorized = machines.driver_of(machines.testbed.unauthorized_runtime()?)?;
    let request = machines.request(&machines.new_id(), machines.section(), false);
    let faults = [
        ("create", unauthorized.create(&request).await.err()),
        ("find", unauthorized.find(&machines.scope(), &request.instance_id).await.err()),
        ("observe", unauthorized.observe(&machines.scope(), std::slice::from_ref(handle)).await.err()),
        ("destroy", unauthorized.destroy(&machines.scope(), handle).await.err()),
        ("list-owned", unauthorized.list_owned(&machines.scope(), None).await.err()),
    ];
    for (call, fault) in faults {
        match fault {
            None => return Err(format!("`{call}` works with wrong credentials").into()),
            Some(fault) if matches!(fault.reaction, Reaction::Denied | Reaction::Unsupported) => {}
            Some(fault) => return Err(format!("`{call}` must be `denied`: {}", describe_fault(&fault)).into()),
        }
    }
    Ok("every call is denied".to_owned())
}
