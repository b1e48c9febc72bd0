//! What a driver does when the network or the cloud fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use occopus_engine::ports::{Fault, Handle, ObservedMachine, OwnedPage, Phase, Reaction};

use super::machines::Machines;
use super::{CREATE_CHECK, DESTROY_CHECK};
use crate::fault_injection::{
    FAULT_AFTER_EFFECT, FaultProxy, READ_FAULTS, THROTTLING_FAULT, check_read_faults, require_retriable,
};
use crate::proxy::ProxyAction;
use crate::report::{CheckError, ProgressEvent, Suite, TestResult, describe_fault};

/// An answer that comes too late, and how long a call may take that waits for it.
const LATE_ANSWER_DELAY: Duration = Duration::from_secs(4);
const LATE_CALL_DEADLINE: Duration = Duration::from_secs(1);

/// With a machine of this id, that is there.
pub(crate) async fn run(
    suite: &mut Suite<impl FnMut(&ProgressEvent<'_>)>,
    m: &Machines<'_>,
    f: &FaultProxy,
    id: &str,
    handle: &Handle,
) {
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.call_timeout());
    suite.check_after(&[CREATE_CHECK, DESTROY_CHECK], "faults-create", async || check_create(m, f).await).await;
    let find = async || m.driver.find(&scope(), id).await;
    suite
        .check_after(&[CREATE_CHECK, "find"], "faults-find", async || {
            check_read_faults(f, m.bed, find, Option::is_none).await
        })
        .await;
    let observe = async || m.driver.observe(&scope(), std::slice::from_ref(handle)).await;
    let gone = |seen: &Vec<ObservedMachine>| seen.iter().any(|one| one.phase == Phase::Gone);
    suite
        .check_after(&[CREATE_CHECK], "faults-observe", async || check_read_faults(f, m.bed, observe, gone).await)
        .await;
    suite
        .check_after(&[CREATE_CHECK, "inventory"], "faults-list", async || {
            let list = async || m.driver.list_owned(&scope(), None).await;
            if m.list_owned().await?.is_none() {
                return Err(CheckError::Skipped("it can't list its machines".to_owned()));
            }
            check_read_faults(f, m.bed, list, |page| is_missing_from(page, id)).await
        })
        .await;
    suite.check_after(&[CREATE_CHECK, DESTROY_CHECK], "faults-destroy", async || check_destroy(m, f).await).await;
    suite
        .check_after(&[CREATE_CHECK, DESTROY_CHECK, "find"], "late-answers", async || {
            check_late_answer(m, f, id, handle).await
        })
        .await;
    suite.check_after(&[CREATE_CHECK], "echo", async || check_echo(m, f, id, handle).await).await;
}

/// Whether an inventory without the machine of this id is wrong. On a cloud with other machines it may be on a later page.
pub(super) fn is_missing_from(page: &OwnedPage, id: &str) -> bool {
    page.cursor.is_none() && !page.machines.iter().any(|one| one.instance_id == id)
}

/// Whatever happens to any request of `create`, there is one machine in the end, and it is known.
async fn check_create(m: &Machines<'_>, f: &FaultProxy) -> TestResult {
    let before = f.requests();
    let id = m.new_id();
    let made = m.driver.create(&m.request(&id, Arc::clone(&f.section), false)).await?;
    let requests = f.requests() - before;
    m.destroy(&made.handle).await?;
    for (name, meddling) in READ_FAULTS.into_iter().chain([FAULT_AFTER_EFFECT]) {
        for after in 0..requests {
            let place = format!("{name} at request {} of {requests}", after + 1);
            m.bed.set_step(&place);
            let id = m.new_id();
            f.inject_once(after, meddling);
            let answer = m.driver.create(&m.request(&id, Arc::clone(&f.section), false)).await;
            f.clear();
            let handle = match answer {
                Ok(made) => made.handle,
                Err(fault) => {
                    check_reaction(m, &id, &place, (name, after), &fault).await?;
                    m.recover_create(&id, m.section()).await?
                }
            };
            let one = m.require_exactly_one(&id).await.map_err(|miss| with_step(&place, miss))?;
            if one != handle {
                return Err(format!("{place}: there is {one:?}, and the answer was {handle:?}").into());
            }
            m.destroy(&handle).await?;
        }
    }
    Ok(format!("{} faults at {requests} requests", (READ_FAULTS.len() + 1) * requests))
}

/// `retry` says that nothing happened, and is believed. So it is right as long as nothing was made, and wrong from then on:
/// a creation of several requests that is refused after its first effect is an unknown outcome.
async fn check_reaction(
    m: &Machines<'_>,
    id: &str,
    place: &str,
    (hiccup, after): (&str, usize),
    fault: &Fault,
) -> Result<(), CheckError> {
    let why = || describe_fault(fault);
    if !matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) {
        return Err(format!("{place} must be `retry` or `unknown-outcome`: {}", why()).into());
    }
    if fault.reaction == Reaction::Retry && !m.list_of_instance(id).await?.is_empty() {
        return Err(format!("{place}: the machine is there, so this must be `unknown-outcome`: {}", why()).into());
    }
    // The first request has no effects before it.
    let (throttled, delay) = THROTTLING_FAULT;
    if hiccup == throttled && after == 0 && fault.reaction != Reaction::Retry {
        return Err(format!("{place}: nothing was made, so this must be `retry`: {}", why()).into());
    }
    if hiccup == throttled && fault.retry_after.is_none_or(|after| after < delay) {
        return Err(format!("{place} must have the delay of `Retry-After`: {}", why()).into());
    }
    Ok(())
}

async fn check_destroy(m: &Machines<'_>, f: &FaultProxy) -> TestResult {
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.call_timeout());
    let handle = m.create(&m.new_id()).await?;
    let before = f.requests();
    m.driver.destroy(&scope(), &handle).await?;
    let requests = f.requests() - before;
    for (name, meddling) in READ_FAULTS.into_iter().chain([FAULT_AFTER_EFFECT]) {
        for after in 0..requests {
            let place = format!("{name} at request {} of {requests}", after + 1);
            m.bed.set_step(&place);
            let handle = m.create(&m.new_id()).await?;
            f.inject_once(after, meddling);
            let answer = m.driver.destroy(&scope(), &handle).await;
            f.clear();
            if let Err(fault) = answer {
                require_retriable(&place, name, &fault)?;
                m.destroy(&handle).await.map_err(|fault| with_step(&place, fault.into()))?;
            }
            m.wait_until_gone(&handle).await.map_err(|miss| with_step(&place, miss))?;
        }
    }
    Ok(format!("{} faults at {requests} requests", (READ_FAULTS.len() + 1) * requests))
}

/// The server acts, and its answer comes after the deadline.
async fn check_late_answer(m: &Machines<'_>, f: &FaultProxy, id: &str, handle: &Handle) -> TestResult {
    let scope = || m.scope_of(Arc::clone(&f.section), LATE_CALL_DEADLINE);
    let ended = |call: &str, began: Instant, fault: Option<Fault>| -> Result<(), CheckError> {
        let took = began.elapsed();
        if took > LATE_CALL_DEADLINE + Duration::from_millis(500) {
            return Err(format!("`{call}` may take {LATE_CALL_DEADLINE:?} and took {took:?}").into());
        }
        match fault {
            Some(fault) => require_retriable(&format!("late answers to `{call}`"), "", &fault),
            None => Err(format!("`{call}` knows the answer before it came").into()),
        }
    };
    f.inject_always(ProxyAction::DelayAnswer(LATE_ANSWER_DELAY));
    let new = m.new_id();
    let mut request = m.request(&new, Arc::clone(&f.section), false);
    request.scope = scope();
    let began = Instant::now();
    ended("create", began, m.driver.create(&request).await.err())?;
    let began = Instant::now();
    ended("find", began, m.driver.find(&scope(), id).await.err())?;
    let began = Instant::now();
    ended("observe", began, m.driver.observe(&scope(), std::slice::from_ref(handle)).await.err())?;
    f.clear();
    let made = m.recover_create(&new, m.section()).await?;
    m.require_exactly_one(&new).await?;
    f.inject_always(ProxyAction::DelayAnswer(LATE_ANSWER_DELAY));
    let began = Instant::now();
    ended("destroy", began, m.driver.destroy(&scope(), &made).await.err())?;
    f.clear();
    m.destroy(&made).await?;
    m.wait_until_gone(&made).await?;
    Ok(format!("every call ends by its deadline of {LATE_CALL_DEADLINE:?}"))
}

/// A server that repeats what it was sent, credentials included. What the driver makes of it is looked through at the end.
async fn check_echo(m: &Machines<'_>, f: &FaultProxy, id: &str, handle: &Handle) -> TestResult {
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.call_timeout());
    f.inject_always(ProxyAction::Echo);
    let new = m.new_id();
    let answers = [
        ("create", m.driver.create(&m.request(&new, Arc::clone(&f.section), false)).await.err()),
        ("find", m.driver.find(&scope(), id).await.err()),
        ("observe", m.driver.observe(&scope(), std::slice::from_ref(handle)).await.err()),
        ("destroy", m.driver.destroy(&scope(), handle).await.err()),
    ];
    f.clear();
    match answers.into_iter().find(|(_, fault)| fault.is_none()) {
        Some((call, _)) => Err(format!("`{call}` takes status 400 for success").into()),
        None => Ok("every call fails".to_owned()),
    }
}

pub(super) fn with_step(place: &str, miss: CheckError) -> CheckError {
    match miss {
        CheckError::Failed(why) => CheckError::Failed(format!("{place}: {why}")),
        CheckError::Skipped(why) => CheckError::Skipped(why),
    }
}
