//! The promises of a driver.

mod faults;
mod late_lists;
mod machines;
mod strangers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join;
use occopus_engine::ports::{Handle, Phase, Reaction};

use self::machines::Machines;
use crate::bed::Bed;
use crate::hiccups::Faults;
use crate::proxy::Meddling;
use crate::report::{Checked, Miss, News, Suite, words};

/// So many are asked about in one call.
const THOUSAND: usize = 1_000;
/// How long what was removed may look as if nothing had happened.
const GOING: Duration = Duration::from_secs(20);
/// How long a request is on its way that another one overtakes.
const OVERTAKEN: Duration = Duration::from_secs(1);

/// The checks that others build on: there is a machine, and machines can be removed.
const MADE: &str = "create";
const REMOVED: &str = "destroy-again";

pub(crate) async fn run(suite: &mut Suite<impl FnMut(&News<'_>)>, bed: &Bed) {
    let Some(machines) = Machines::new(bed) else { return };
    let m = &machines;
    let id = m.new_id();
    let mut first = None;
    let made = suite.check(MADE, async || {
        let began = Instant::now();
        let handle = m.create(&id).await?;
        m.runs(&handle).await?;
        first = Some(handle);
        Ok(format!("it runs after {:.1} s", began.elapsed().as_secs_f64()))
    });
    made.await;
    // Without a machine nothing looks at it.
    let handle = &first.unwrap_or(Handle { version: 0, data: String::new() });
    suite.after(&[MADE], "create-again", async || created_again(m, &id, handle).await).await;
    suite.after(&[MADE], "find", async || find(m, &id, handle).await).await;
    suite.after(&[MADE], "inventory", async || inventory(m, &id, handle).await).await;
    suite.after(&[MADE, "find"], REMOVED, async || destroyed_again(m).await).await;
    suite.after(&[MADE, REMOVED], "observe", async || observe(m, handle).await).await;
    suite.after(&[MADE, REMOVED], "create-at-once", async || created_at_once(m).await).await;
    suite.after(&[MADE], "wrong-credentials", async || wrong_credentials(m, handle).await).await;
    bed.refused(suite, async |section| m.driver.create(&m.request(&m.new_id(), section.into(), false)).await).await;
    match Faults::before(bed) {
        Ok(f) => {
            faults::run(suite, m, &f, &id, handle).await;
            strangers::run(suite, m, &f, &id, handle).await;
            late_lists::run(suite, m, &f, handle).await;
        }
        Err(miss) => {
            suite.after(&[MADE], "faults", async || Err(miss)).await;
        }
    }
    // Late: clouds that remember what is gone are slow from then on.
    suite.after(&[MADE, REMOVED], "observe-1000", async || observe_many(m).await).await;
    suite.in_any_case("nothing-left", async || m.remove_all().await).await;
}

async fn created_again(m: &Machines<'_>, id: &str, handle: &Handle) -> Checked {
    let again = m.driver.create(&m.request(id, m.section(), true)).await?;
    if again.handle != *handle {
        return Err(format!("the second call made {:?} beside {handle:?}", again.handle).into());
    }
    m.exactly_one(id).await?;
    Ok("one machine".to_owned())
}

/// An owner that has lost its infrastructure and does not know it yet, and the new one. The last request of the old one
/// arrives when the new one might have ended, where that can be arranged.
async fn created_at_once(m: &Machines<'_>) -> Checked {
    let faults = Faults::before(m.bed);
    let section = faults.as_ref().map_or_else(|_| m.section(), |faults| Arc::clone(&faults.section));
    let id = m.new_id();
    let (early, late) = (m.request(&id, Arc::clone(&section), false), m.request(&id, section, true));
    let (early, late) = match &faults {
        Ok(faults) => {
            let requests = requests_of_create(m, faults).await?;
            let seen = faults.requests();
            faults.once(requests.saturating_sub(1), Meddling::Delay(OVERTAKEN));
            let late = async || {
                faults.come(seen + requests, m.bed.patience()).await;
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
        Err(_) => m.settled(&id, m.section()).await?,
    };
    let handle = m.exactly_one(&id).await?;
    if handle != known {
        return Err(format!("there is {handle:?}, and the call that was repeated answered {known:?}").into());
    }
    m.destroy(&handle).await?;
    Ok("one machine".to_owned())
}

/// How many requests a first creation takes, once the driver remembers what it may.
async fn requests_of_create(m: &Machines<'_>, faults: &Faults) -> Result<usize, Miss> {
    let mut requests = 0;
    for _ in 0..2 {
        let before = faults.requests();
        let made = m.driver.create(&m.request(&m.new_id(), Arc::clone(&faults.section), false)).await?;
        requests = faults.requests() - before;
        m.destroy(&made.handle).await?;
    }
    Ok(requests)
}

async fn find(m: &Machines<'_>, id: &str, handle: &Handle) -> Checked {
    match m.driver.find(&m.scope(), id).await? {
        Some(found) if found.handle == *handle => {}
        found => return Err(format!("of {handle:?} it finds {:?}", found.map(|found| found.handle)).into()),
    }
    match m.driver.find(&m.scope(), &m.new_id()).await? {
        None => Ok("the one that is there, and none for another id".to_owned()),
        Some(found) => Err(format!("it finds {:?} for an id that nobody has used", found.handle).into()),
    }
}

async fn inventory(m: &Machines<'_>, id: &str, handle: &Handle) -> Checked {
    let Some(owned) = m.owned().await? else {
        return Err(Miss::Skipped("it can't list its machines".to_owned()));
    };
    match owned.as_slice() {
        [one] if one.instance_id == id && one.observed.handle == *handle => Ok("it has the machine".to_owned()),
        others => {
            let handles: Vec<_> = others.iter().map(|one| &one.observed.handle).collect();
            Err(format!("of {handle:?} alone it lists {handles:?}").into())
        }
    }
}

async fn observe(m: &Machines<'_>, handle: &Handle) -> Checked {
    let other = m.create(&m.new_id()).await?;
    m.runs(&other).await?;
    let both = [other.clone(), handle.clone()];
    let seen = m.driver.observe(&m.scope(), &both).await?;
    let answered: Vec<_> = seen.into_iter().map(|one| one.handle).collect();
    if answered != both {
        return Err(format!("the answers are not in the order of the questions: {answered:?}").into());
    }
    m.destroy(&other).await?;
    m.gone(&other).await?;
    let seen = m.driver.observe(&m.scope(), &[handle.clone(), other, handle.clone()]).await?;
    let phases: Vec<_> = seen.iter().map(|one| one.phase).collect();
    if phases != [Phase::Running, Phase::Gone, Phase::Running] {
        return Err(format!("of a machine, one that is gone, and the first again it says {phases:?}").into());
    }
    Ok("in the order of the questions, and one that is gone".to_owned())
}

async fn observe_many(m: &Machines<'_>) -> Checked {
    let ids: Vec<_> = (0..m.bed.fixture.machines).map(|_| m.new_id()).collect();
    let handles = m.create_all(&ids).await?;
    let asked: Vec<_> = handles.iter().cycle().take(THOUSAND.max(handles.len())).cloned().collect();
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

async fn destroyed_again(m: &Machines<'_>) -> Checked {
    let id = m.new_id();
    let handle = m.create(&id).await?;
    m.destroy(&handle).await?;
    m.destroy(&handle).await?;
    m.gone(&handle).await?;
    m.destroy(&handle).await?;
    let began = Instant::now();
    while m.driver.find(&m.scope(), &id).await?.is_some_and(|found| found.phase != Phase::Gone) {
        if began.elapsed() > m.bed.patience().min(GOING) {
            return Err("`find` goes on finding it, though `observe` says that it is gone".into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok("no complaint, and it is gone".to_owned())
}

/// That a key is wrong must never look like a machine that is gone.
async fn wrong_credentials(m: &Machines<'_>, handle: &Handle) -> Checked {
    let stranger = m.driver_of(m.bed.stranger()?)?;
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
            Some(fault) => return Err(format!("`{call}` must be `denied`: {}", words(&fault)).into()),
        }
    }
    Ok("every call is denied".to_owned())
}
