//! What a driver does when the network or the cloud fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use occopus_engine::ports::{Fault, Handle, Observed, OwnedPage, Phase, Reaction};

use super::machines::Machines;
use super::{MADE, REMOVED};
use crate::hiccups::{AFTER_IT_ACTED, Faults, HICCUPS, THROTTLED, may_be_repeated, reads};
use crate::proxy::Meddling;
use crate::report::{Checked, Miss, News, Suite, words};

/// An answer that comes too late, and how long a call may take that waits for it.
const LATE: Duration = Duration::from_secs(4);
const DEADLINE: Duration = Duration::from_secs(1);

/// With a machine of this id, that is there.
pub(crate) async fn run(
    suite: &mut Suite<impl FnMut(&News<'_>)>,
    m: &Machines<'_>,
    f: &Faults,
    id: &str,
    handle: &Handle,
) {
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.patience());
    suite.after(&[MADE, REMOVED], "faults-create", async || create(m, f).await).await;
    let find = async || m.driver.find(&scope(), id).await;
    suite.after(&[MADE, "find"], "faults-find", async || reads(f, m.bed, find, Option::is_none).await).await;
    let observe = async || m.driver.observe(&scope(), std::slice::from_ref(handle)).await;
    let gone = |seen: &Vec<Observed>| seen.iter().any(|one| one.phase == Phase::Gone);
    suite.after(&[MADE], "faults-observe", async || reads(f, m.bed, observe, gone).await).await;
    suite
        .after(&[MADE, "inventory"], "faults-list", async || {
            let list = async || m.driver.list_owned(&scope(), None).await;
            if m.owned().await?.is_none() {
                return Err(Miss::Skipped("it can't list its machines".to_owned()));
            }
            reads(f, m.bed, list, |page| lacks(page, id)).await
        })
        .await;
    suite.after(&[MADE, REMOVED], "faults-destroy", async || destroy(m, f).await).await;
    suite.after(&[MADE, REMOVED, "find"], "late-answers", async || late(m, f, id, handle).await).await;
    suite.after(&[MADE], "echo", async || echo(m, f, id, handle).await).await;
}

/// Whether an inventory without the machine of this id is wrong. On a cloud with other machines it may be on a later page.
pub(super) fn lacks(page: &OwnedPage, id: &str) -> bool {
    page.cursor.is_none() && !page.machines.iter().any(|one| one.instance_id == id)
}

/// Whatever happens to any request of `create`, there is one machine in the end, and it is known.
async fn create(m: &Machines<'_>, f: &Faults) -> Checked {
    let before = f.requests();
    let id = m.new_id();
    let made = m.driver.create(&m.request(&id, Arc::clone(&f.section), false)).await?;
    let requests = f.requests() - before;
    m.destroy(&made.handle).await?;
    for (name, meddling) in HICCUPS.into_iter().chain([AFTER_IT_ACTED]) {
        for after in 0..requests {
            let place = format!("{name} at request {} of {requests}", after + 1);
            m.bed.at(&place);
            let id = m.new_id();
            f.once(after, meddling);
            let answer = m.driver.create(&m.request(&id, Arc::clone(&f.section), false)).await;
            f.none();
            let handle = match answer {
                Ok(made) => made.handle,
                Err(fault) => {
                    says_what_happened(m, &id, &place, (name, after), &fault).await?;
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
    Ok(format!("{} faults at {requests} requests", (HICCUPS.len() + 1) * requests))
}

/// `retry` says that nothing happened, and is believed. So it is right as long as nothing was made, and wrong from then on:
/// a creation of several requests that is refused after its first effect is an unknown outcome.
async fn says_what_happened(
    m: &Machines<'_>,
    id: &str,
    place: &str,
    (hiccup, after): (&str, usize),
    fault: &Fault,
) -> Result<(), Miss> {
    let why = || words(fault);
    if !matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) {
        return Err(format!("{place} must be `retry` or `unknown-outcome`: {}", why()).into());
    }
    if fault.reaction == Reaction::Retry && !m.of(id).await?.is_empty() {
        return Err(format!("{place}: the machine is there, so this must be `unknown-outcome`: {}", why()).into());
    }
    // The first request has no effects before it.
    let (throttled, delay) = THROTTLED;
    if hiccup == throttled && after == 0 && fault.reaction != Reaction::Retry {
        return Err(format!("{place}: nothing was made, so this must be `retry`: {}", why()).into());
    }
    if hiccup == throttled && fault.retry_after.is_none_or(|after| after < delay) {
        return Err(format!("{place} must have the delay of `Retry-After`: {}", why()).into());
    }
    Ok(())
}

async fn destroy(m: &Machines<'_>, f: &Faults) -> Checked {
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.patience());
    let handle = m.create(&m.new_id()).await?;
    let before = f.requests();
    m.driver.destroy(&scope(), &handle).await?;
    let requests = f.requests() - before;
    for (name, meddling) in HICCUPS.into_iter().chain([AFTER_IT_ACTED]) {
        for after in 0..requests {
            let place = format!("{name} at request {} of {requests}", after + 1);
            m.bed.at(&place);
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
    Ok(format!("{} faults at {requests} requests", (HICCUPS.len() + 1) * requests))
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

pub(super) fn at(place: &str, miss: Miss) -> Miss {
    match miss {
        Miss::Failed(why) => Miss::Failed(format!("{place}: {why}")),
        Miss::Skipped(why) => Miss::Skipped(why),
    }
}
