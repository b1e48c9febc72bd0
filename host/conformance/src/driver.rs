//! The promises of a driver.

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

/// So many are asked about in one call.
const MANY_HANDLES: usize = 1_000;
/// How long what was removed may look as if nothing had happened.
const MAX_REMOVAL_LAG: Duration = Duration::from_secs(20);
/// How long a request is on its way that another one overtakes.
const OVERTAKEN_REQUEST_DELAY: Duration = Duration::from_secs(1);

/// The checks that others build on: there is a machine, and machines can be removed.
const CREATE_CHECK: &str = "create";
const DESTROY_CHECK: &str = "destroy-again";

pub(crate) async fn run(suite: &mut Suite<impl FnMut(&ProgressEvent<'_>)>, bed: &Testbed) {
    let Some(machines) = Machines::new(bed) else { return };
    let m = &machines;
    let id = m.new_id();
    let mut first = None;
    let made = suite.check(CREATE_CHECK, async || {
        let began = Instant::now();
        let handle = m.create(&id).await?;
        m.wait_until_running(&handle).await?;
        first = Some(handle);
        Ok(format!("it runs after {:.1} s", began.elapsed().as_secs_f64()))
    });
    made.await;
    // Without a machine nothing looks at it.
    let handle = &first.unwrap_or(Handle { version: 0, data: String::new() });
    suite.check_after(&[CREATE_CHECK], "create-again", async || check_create_again(m, &id, handle).await).await;
    suite.check_after(&[CREATE_CHECK], "find", async || check_find(m, &id, handle).await).await;
    suite.check_after(&[CREATE_CHECK], "inventory", async || check_inventory(m, &id, handle).await).await;
    suite.check_after(&[CREATE_CHECK, "find"], DESTROY_CHECK, async || check_destroy_again(m).await).await;
    suite.check_after(&[CREATE_CHECK, DESTROY_CHECK], "observe", async || check_observe(m, handle).await).await;
    suite
        .check_after(&[CREATE_CHECK, DESTROY_CHECK], "create-at-once", async || check_concurrent_create(m).await)
        .await;
    suite.check_after(&[CREATE_CHECK], "wrong-credentials", async || check_wrong_credentials(m, handle).await).await;
    bed.check_refusals(suite, async |section| m.driver.create(&m.request(&m.new_id(), section.into(), false)).await)
        .await;
    match FaultProxy::in_front_of(bed) {
        Ok(f) => {
            faults::run(suite, m, &f, &id, handle).await;
            foreign_answers::run(suite, m, &f, &id, handle).await;
            eventual_consistency::run(suite, m, &f, handle).await;
        }
        Err(miss) => {
            suite.check_after(&[CREATE_CHECK], "faults", async || Err(miss)).await;
        }
    }
    // Late: clouds that remember what is gone are slow from then on.
    suite.check_after(&[CREATE_CHECK, DESTROY_CHECK], "observe-1000", async || check_observe_many(m).await).await;
    suite.check_always("nothing-left", async || m.remove_all().await).await;
}

async fn check_create_again(m: &Machines<'_>, id: &str, handle: &Handle) -> TestResult {
    let again = m.driver.create(&m.request(id, m.section(), true)).await?;
    if again.handle != *handle {
        return Err(format!("the second call made {:?} beside {handle:?}", again.handle).into());
    }
    m.require_exactly_one(id).await?;
    Ok("one machine".to_owned())
}

/// An owner that has lost its infrastructure and does not know it yet, and the new one. The last request of the old one
/// arrives when the new one might have ended, where that can be arranged.
async fn check_concurrent_create(m: &Machines<'_>) -> TestResult {
    let faults = FaultProxy::in_front_of(m.bed);
    let section = faults.as_ref().map_or_else(|_| m.section(), |faults| Arc::clone(&faults.section));
    let id = m.new_id();
    let (early, late) = (m.request(&id, Arc::clone(&section), false), m.request(&id, section, true));
    let (early, late) = match &faults {
        Ok(faults) => {
            let requests = count_create_requests(m, faults).await?;
            let seen = faults.requests();
            faults.inject_once(requests.saturating_sub(1), ProxyAction::Delay(OVERTAKEN_REQUEST_DELAY));
            let late = async || {
                faults.wait_for_requests(seen + requests, m.bed.call_timeout()).await;
                m.driver.create(&late).await
            };
            join(m.driver.create(&early), late()).await
        }
        Err(_) => join(m.driver.create(&early), m.driver.create(&late)).await,
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
        Err(_) => m.recover_create(&id, m.section()).await?,
    };
    let handle = m.require_exactly_one(&id).await?;
    if handle != known {
        return Err(format!("there is {handle:?}, and the call that was repeated answered {known:?}").into());
    }
    m.destroy(&handle).await?;
    Ok("one machine".to_owned())
}

/// How many requests a first creation takes, once the driver remembers what it may.
async fn count_create_requests(m: &Machines<'_>, faults: &FaultProxy) -> Result<usize, CheckError> {
    let mut requests = 0;
    for _ in 0..2 {
        let before = faults.requests();
        let made = m.driver.create(&m.request(&m.new_id(), Arc::clone(&faults.section), false)).await?;
        requests = faults.requests() - before;
        m.destroy(&made.handle).await?;
    }
    Ok(requests)
}

async fn check_find(m: &Machines<'_>, id: &str, handle: &Handle) -> TestResult {
    match m.driver.find(&m.scope(), id).await? {
        Some(found) if found.handle == *handle => {}
        found => return Err(format!("of {handle:?} it finds {:?}", found.map(|found| found.handle)).into()),
    }
    match m.driver.find(&m.scope(), &m.new_id()).await? {
        None => Ok("the one that is there, and none for another id".to_owned()),
        Some(found) => Err(format!("it finds {:?} for an id that nobody has used", found.handle).into()),
    }
}

async fn check_inventory(m: &Machines<'_>, id: &str, handle: &Handle) -> TestResult {
    let Some(owned) = m.list_owned().await? else {
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

async fn check_observe(m: &Machines<'_>, handle: &Handle) -> TestResult {
    let other = m.create(&m.new_id()).await?;
    m.wait_until_running(&other).await?;
    let both = [other.clone(), handle.clone()];
    let seen = m.driver.observe(&m.scope(), &both).await?;
    let answered: Vec<_> = seen.into_iter().map(|one| one.handle).collect();
    if answered != both {
        return Err(format!("the answers are not in the order of the questions: {answered:?}").into());
    }
    m.destroy(&other).await?;
    m.wait_until_gone(&other).await?;
    let seen = m.driver.observe(&m.scope(), &[handle.clone(), other, handle.clone()]).await?;
    let phases: Vec<_> = seen.iter().map(|one| one.phase).collect();
    if phases != [Phase::Running, Phase::Gone, Phase::Running] {
        return Err(format!("of a machine, one that is gone, and the first again it says {phases:?}").into());
    }
    Ok("in the order of the questions, and one that is gone".to_owned())
}

async fn check_observe_many(m: &Machines<'_>) -> TestResult {
    let ids: Vec<_> = (0..m.bed.fixture.machines).map(|_| m.new_id()).collect();
    let handles = m.create_all(&ids).await?;
    let asked: Vec<_> = handles.iter().cycle().take(MANY_HANDLES.max(handles.len())).cloned().collect();
    let began = Instant::now();
    let seen = m.driver.observe(&m.scope(), &asked).await?;
    let time = began.elapsed();
    let wrong = seen.iter().zip(&asked).find(|(seen, asked)| seen.handle != **asked || seen.phase == Phase::Gone);
    if let Some((seen, asked)) = wrong {
        return Err(format!("asked about {asked:?}, it says that {:?} is {:?}", seen.handle, seen.phase).into());
    }
    m.destroy_all(&handles).await?;
    let (asked, made, time) = (asked.len(), handles.len(), time.as_millis());
    Ok(format!("{asked} questions about {made} machines in one call, {time} ms"))
}

async fn check_destroy_again(m: &Machines<'_>) -> TestResult {
    let id = m.new_id();
    let handle = m.create(&id).await?;
    m.destroy(&handle).await?;
    m.destroy(&handle).await?;
    m.wait_until_gone(&handle).await?;
    m.destroy(&handle).await?;
    let began = Instant::now();
    while m.driver.find(&m.scope(), &id).await?.is_some_and(|found| found.phase != Phase::Gone) {
        if began.elapsed() > m.bed.call_timeout().min(MAX_REMOVAL_LAG) {
            return Err("`find` goes on finding it, though `observe` says that it is gone".into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok("no complaint, and it is gone".to_owned())
}

/// That a key is wrong must never look like a machine that is gone.
async fn check_wrong_credentials(m: &Machines<'_>, handle: &Handle) -> TestResult {
    let stranger = m.driver_of(m.bed.unauthorized_runtime()?)?;
    let request = m.request(&m.new_id(), m.section(), false);
    let faults = [
        ("create", stranger.create(&request).await.err()),
        ("find", stranger.find(&m.scope(), &request.instance_id).await.err()),
        ("observe", stranger.observe(&m.scope(), std::slice::from_ref(handle)).await.err()),
        ("destroy", stranger.destroy(&m.scope(), handle).await.err()),
        ("list-owned", stranger.list_owned(&m.scope(), None).await.err()),
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
