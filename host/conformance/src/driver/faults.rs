//! What a driver does when the network or the cloud fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use occopus_engine::ports::{Fault, Handle, Phase, Reaction};

use super::machines::Machines;
use crate::hiccups::{Faults, HICCUPS, NOT_THIS_API, may_be_repeated, reads};
use crate::proxy::Meddling;
use crate::report::{Check, Checked, Miss, Suite, words};

/// An answer that comes too late, and how long a call may take that waits for it.
const LATE: Duration = Duration::from_secs(4);
const DEADLINE: Duration = Duration::from_secs(1);

/// With a machine of this id, that is there.
pub(crate) async fn run(suite: &mut Suite<impl FnMut(&Check)>, m: &Machines<'_>, id: &str, handle: &Handle) {
    let faults = match Faults::before(&m.bed.section, &m.bed.fixture.services) {
        Ok(faults) => faults,
        Err(miss) => {
            suite.check("faults", async || Err(miss)).await;
            return;
        }
    };
    let f = &faults;
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.patience());
    suite.check("faults-create", async || create(m, f).await).await;
    let find = async || m.driver.find(&scope(), id).await;
    suite.check("faults-find", async || reads(f, find, Option::is_none).await).await;
    let observe = async || m.driver.observe(&scope(), std::slice::from_ref(handle)).await;
    let gone = |seen: &Vec<occopus_engine::ports::Observed>| seen.iter().any(|one| one.phase == Phase::Gone);
    suite.check("faults-observe", async || reads(f, observe, gone).await).await;
    suite
        .check("faults-list", async || {
            let list = async || m.driver.list_owned(&scope(), None).await;
            if m.owned().await?.is_none() {
                return Err(Miss::Skipped("it can't list its machines".to_owned()));
            }
            // On a cloud with other machines it may be on a later page.
            let lacks = |page: &occopus_engine::ports::OwnedPage| {
                page.cursor.is_none() && !page.machines.iter().any(|one| one.instance_id == id)
            };
            reads(f, list, lacks).await
        })
        .await;
    suite.check("faults-destroy", async || destroy(m, f).await).await;
    suite.check("late-answers", async || late(m, f, id, handle).await).await;
    suite.check("echo", async || echo(m, f, id, handle).await).await;
}

/// Whatever happens to any request of `create`, there is one machine in the end, and it is known.
async fn create(m: &Machines<'_>, f: &Faults) -> Checked {
    let before = f.requests();
    let id = m.new_id();
    let made = m.driver.create(&m.request(&id, Arc::clone(&f.section), false)).await?;
    let requests = f.requests() - before;
    m.destroy(&made.handle).await?;
    for (name, meddling) in HICCUPS {
        for after in 0..requests {
            let place = format!("{name} at request {} of {requests}", after + 1);
            let id = m.new_id();
            f.once(after, meddling);
            let answer = m.driver.create(&m.request(&id, Arc::clone(&f.section), false)).await;
            f.none();
            let handle = match answer {
                Ok(made) => made.handle,
                Err(fault) => {
                    may_be_repeated(&place, name, &fault)?;
                    nothing_happened(m, &id, &place, &fault).await?;
                    m.settled(&id, m.section()).await?
                }
            };
            let one = m.exactly_one(&id).await.map_err(|miss| at(&place, miss))?;
            if one != handle {
                return Err(format!("{place}: there is {one:?}, and the answer was {handle:?}").into());
            }
            m.destroy(&handle).await?;
        }
    }
    for page in NOT_THIS_API {
        f.always(page);
        let id = m.new_id();
        let answer = m.driver.create(&m.request(&id, Arc::clone(&f.section), false)).await;
        f.none();
        if answer.is_ok() {
            return Err(format!("{page:?} instead of the API's answer is taken for a machine").into());
        }
    }
    Ok(format!("{} faults at {requests} requests, and web pages", HICCUPS.len() * requests))
}

/// `retry` says that nothing happened, and is believed.
async fn nothing_happened(m: &Machines<'_>, id: &str, place: &str, fault: &Fault) -> Result<(), Miss> {
    if fault.reaction == Reaction::Retry && !m.of(id).await?.is_empty() {
        let why = words(fault);
        return Err(format!("{place}: the machine is there, so this must be `unknown-outcome`: {why}").into());
    }
    Ok(())
}

async fn destroy(m: &Machines<'_>, f: &Faults) -> Checked {
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.patience());
    let handle = m.create(&m.new_id()).await?;
    let before = f.requests();
    m.driver.destroy(&scope(), &handle).await?;
    let requests = f.requests() - before;
    for (name, meddling) in HICCUPS {
        for after in 0..requests {
            let place = format!("{name} at request {} of {requests}", after + 1);
            let handle = m.create(&m.new_id()).await?;
            f.once(after, meddling);
            let answer = m.driver.destroy(&scope(), &handle).await;
            f.none();
            if let Err(fault) = answer {
                may_be_repeated(&place, name, &fault)?;
                m.destroy(&handle).await.map_err(|fault| at(&place, fault.into()))?;
            }
            m.gone(&handle).await.map_err(|miss| at(&place, miss))?;
        }
    }
    let handle = m.create(&m.new_id()).await?;
    for page in NOT_THIS_API {
        f.always(page);
        let answer = m.driver.destroy(&scope(), &handle).await;
        f.none();
        if answer.is_ok() {
            return Err(format!("{page:?} instead of the API's answer is taken for a removal").into());
        }
    }
    m.destroy(&handle).await?;
    Ok(format!("{} faults at {requests} requests, and web pages", HICCUPS.len() * requests))
}

/// The server acts, and its answer comes after the deadline.
async fn late(m: &Machines<'_>, f: &Faults, id: &str, handle: &Handle) -> Checked {
    let scope = || m.scope_of(Arc::clone(&f.section), DEADLINE);
    let ended = |call: &str, began: Instant, fault: Option<Fault>| -> Result<(), Miss> {
        let took = began.elapsed();
        if took > DEADLINE + Duration::from_millis(500) {
            return Err(format!("`{call}` may take {DEADLINE:?} and took {took:?}").into());
        }
        match fault {
            Some(fault) => may_be_repeated(&format!("late answers to `{call}`"), "", &fault),
            None => Err(format!("`{call}` knows the answer before it came").into()),
        }
    };
    f.always(Meddling::DelayAnswer(LATE));
    let new = m.new_id();
    let mut request = m.request(&new, Arc::clone(&f.section), false);
    request.scope = scope();
    let began = Instant::now();
    ended("create", began, m.driver.create(&request).await.err())?;
    let began = Instant::now();
    ended("find", began, m.driver.find(&scope(), id).await.err())?;
    let began = Instant::now();
    ended("observe", began, m.driver.observe(&scope(), std::slice::from_ref(handle)).await.err())?;
    f.none();
    let made = m.settled(&new, m.section()).await?;
    m.exactly_one(&new).await?;
    f.always(Meddling::DelayAnswer(LATE));
    let began = Instant::now();
    ended("destroy", began, m.driver.destroy(&scope(), &made).await.err())?;
    f.none();
    m.destroy(&made).await?;
    m.gone(&made).await?;
    Ok(format!("every call ends by its deadline of {DEADLINE:?}"))
}

/// A server that repeats what it was sent, credentials included. What the driver makes of it is looked through at the end.
async fn echo(m: &Machines<'_>, f: &Faults, id: &str, handle: &Handle) -> Checked {
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.patience());
    f.always(Meddling::Echo);
    let new = m.new_id();
    let answers = [
        ("create", m.driver.create(&m.request(&new, Arc::clone(&f.section), false)).await.err()),
        ("find", m.driver.find(&scope(), id).await.err()),
        ("observe", m.driver.observe(&scope(), std::slice::from_ref(handle)).await.err()),
        ("destroy", m.driver.destroy(&scope(), handle).await.err()),
    ];
    f.none();
    match answers.into_iter().find(|(_, fault)| fault.is_none()) {
        Some((call, _)) => Err(format!("`{call}` takes status 400 for success").into()),
        None => Ok("every call fails".to_owned()),
    }
}

fn at(place: &str, miss: Miss) -> Miss {
    match miss {
        Miss::Failed(why) => Miss::Failed(format!("{place}: {why}")),
        Miss::Skipped(why) => Miss::Skipped(why),
    }
}
