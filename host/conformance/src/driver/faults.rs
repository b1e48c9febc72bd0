//! Checks of a driver when the network or the cloud fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use occopus_engine::ports::{Fault, Handle, LabelledPage, ObservedMachine, Phase, Reaction};

use super::machines::Machines;
use super::{CREATE_CHECK, DESTROY_CHECK};
use crate::fault_injection::{
    FAULT_AFTER_EFFECT, FaultProxy, Injection, READ_FAULTS, THROTTLING_FAULT, check_read_faults, require_retriable,
};
use crate::proxy::ProxyAction;
use crate::report::{CheckError, ProgressEvent, Suite, TestResult, describe_fault};

/// Delay of an answer that comes too late, and the deadline of the call that waits for it.
const LATE_ANSWER_DELAY: Duration = Duration::from_secs(4);
const LATE_CALL_DEADLINE: Duration = Duration::from_secs(1);

/// Runs the checks. `id` and `handle` are of a machine that exists.
pub(crate) async fn run(
    suite: &mut Suite<impl FnMut(&ProgressEvent<'_>)>,
    machines: &Machines<'_>,
    proxy: &FaultProxy,
    id: &str,
    handle: &Handle,
) {
    let scope = || machines.scope_behind(proxy);
    suite
        .check_after(&[CREATE_CHECK, DESTROY_CHECK], "faults-create", async || check_create(machines, proxy).await)
        .await;
    let find = async || machines.driver.find(&scope(), id).await;
    suite
        .check_after(&[CREATE_CHECK, "find"], "faults-find", async || {
            check_read_faults(proxy, machines.testbed, find, Option::is_none).await
        })
        .await;
    let observe = async || machines.driver.observe(&scope(), std::slice::from_ref(handle)).await;
    let gone = |seen: &Vec<ObservedMachine>| seen.iter().any(|one| one.phase == Phase::Gone);
    suite
        .check_after(&[CREATE_CHECK], "faults-observe", async || {
            check_read_faults(proxy, machines.testbed, observe, gone).await
        })
        .await;
    suite
        .check_after(&[CREATE_CHECK, "inventory"], "faults-list", async || {
            let list = async || machines.driver.list_owned(&scope(), None).await;
            if machines.list_owned().await?.is_none() {
                return Err(CheckError::Skipped("it can't list its machines".to_owned()));
            }
            check_read_faults(proxy, machines.testbed, list, |page| is_missing_from(page, id)).await
        })
        .await;
    suite
        .check_after(&[CREATE_CHECK, DESTROY_CHECK], "faults-destroy", async || check_destroy(machines, proxy).await)
        .await;
    suite
        .check_after(&[CREATE_CHECK, DESTROY_CHECK, "find"], "late-answers", async || {
            check_late_answer(machines, proxy, id, handle).await
        })
        .await;
    suite.check_after(&[CREATE_CHECK], "echo", async || check_echo(machines, proxy, id, handle).await).await;
}

/// Returns true if an inventory wrongly lacks the machine of this id. On a cloud with other machines it may be on a
/// later page.
pub(super) fn is_missing_from(page: &LabelledPage, id: &str) -> bool {
    page.cursor.is_none() && !page.machines.iter().any(|one| one.instance_id == id)
}

/// Checks that there is one machine in the end, and that it is known, whatever fault hits any request of `create`.
async fn check_create(machines: &Machines<'_>, proxy: &FaultProxy) -> TestResult {
    let before = proxy.requests();
    let id = machines.new_id();
    let made = machines.driver.create(&machines.request(&id, Arc::clone(&proxy.section), false)).await?;
    let requests = proxy.requests() - before;
    machines.destroy(&made.handle).await?;
    for injection in Injection::at_each(READ_FAULTS.into_iter().chain([FAULT_AFTER_EFFECT]), requests) {
        let (id, step) = (machines.new_id(), injection.to_string());
        let request = machines.request(&id, Arc::clone(&proxy.section), false);
        let answer =
            proxy.call_with(machines.testbed, injection, async || machines.driver.create(&request).await).await;
        let handle = match answer {
            Ok(made) => made.handle,
            Err(fault) => {
                check_reaction(machines, &id, injection, &fault).await?;
                machines.recover_create(&id, machines.section()).await?
            }
        };
        machines.require_only(&id, &handle).await.map_err(|error| with_step(&step, error))?;
        machines.destroy(&handle).await?;
    }
    Ok(format!("{} faults at {requests} requests", (READ_FAULTS.len() + 1) * requests))
}

/// Checks the reaction of a failed creation. `retry` means that nothing happened, and the engine relies on it. It is
/// right as long as nothing was created, and wrong from then on: a creation of several requests that is refused after
/// its first effect has an unknown outcome.
async fn check_reaction(machines: &Machines<'_>, id: &str, step: Injection, fault: &Fault) -> Result<(), CheckError> {
    let why = || describe_fault(fault);
    let is_throttled = step.name == THROTTLING_FAULT.0;
    if !matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) {
        return Err(format!("{step} must be `retry` or `unknown-outcome`: {}", why()).into());
    }
    if fault.reaction == Reaction::Retry && !machines.list_of_instance(id).await?.is_empty() {
        return Err(format!("{step}: the machine is there, so this must be `unknown-outcome`: {}", why()).into());
    }
    // No effect precedes the first request.
    if is_throttled && step.at == Some(0) && fault.reaction != Reaction::Retry {
        return Err(format!("{step}: nothing was made, so this must be `retry`: {}", why()).into());
    }
    if is_throttled && fault.retry_after.is_none_or(|after| after < THROTTLING_FAULT.1) {
        return Err(format!("{step} must have the delay of `Retry-After`: {}", why()).into());
    }
    Ok(())
}

async fn check_destroy(machines: &Machines<'_>, proxy: &FaultProxy) -> TestResult {
    let scope = || machines.scope_behind(proxy);
    let handle = machines.create(&machines.new_id()).await?;
    let before = proxy.requests();
    machines.driver.destroy(&scope(), &handle).await?;
    let requests = proxy.requests() - before;
    for injection in Injection::at_each(READ_FAULTS.into_iter().chain([FAULT_AFTER_EFFECT]), requests) {
        let step = injection.to_string();
        let handle = machines.create(&machines.new_id()).await?;
        let destroy = async || machines.driver.destroy(&scope(), &handle).await;
        if let Err(fault) = proxy.call_with(machines.testbed, injection, destroy).await {
            require_retriable(&step, injection.name, &fault)?;
            machines.destroy(&handle).await.map_err(|fault| with_step(&step, fault.into()))?;
        }
        machines.wait_until_gone(&handle).await.map_err(|error| with_step(&step, error))?;
    }
    Ok(format!("{} faults at {requests} requests", (READ_FAULTS.len() + 1) * requests))
}

/// Checks calls whose server acts, but answers after the deadline.
async fn check_late_answer(machines: &Machines<'_>, proxy: &FaultProxy, id: &str, handle: &Handle) -> TestResult {
    let scope = || machines.scope_of(Arc::clone(&proxy.section), LATE_CALL_DEADLINE);
    let require_deadline = |call: &str, began: Instant, fault: Option<Fault>| -> Result<(), CheckError> {
        let took = began.elapsed();
        if took > LATE_CALL_DEADLINE + Duration::from_millis(500) {
            return Err(format!("`{call}` may take {LATE_CALL_DEADLINE:?} and took {took:?}").into());
        }
        match fault {
            Some(fault) => require_retriable(&format!("late answers to `{call}`"), "", &fault),
            None => Err(format!("`{call}` succeeded before the answer came").into()),
        }
    };
    proxy.inject_always(ProxyAction::DelayAnswer(LATE_ANSWER_DELAY));
    let new = machines.new_id();
    let mut request = machines.request(&new, Arc::clone(&proxy.section), false);
    request.scope = scope();
    let began = Instant::now();
    require_deadline("create", began, machines.driver.create(&request).await.err())?;
    let began = Instant::now();
    require_deadline("find", began, machines.driver.find(&scope(), id).await.err())?;
    let began = Instant::now();
    require_deadline("observe", began, machines.driver.observe(&scope(), std::slice::from_ref(handle)).await.err())?;
    proxy.clear();
    let made = machines.recover_create(&new, machines.section()).await?;
    machines.require_exactly_one(&new).await?;
    proxy.inject_always(ProxyAction::DelayAnswer(LATE_ANSWER_DELAY));
    let began = Instant::now();
    require_deadline("destroy", began, machines.driver.destroy(&scope(), &made).await.err())?;
    proxy.clear();
    machines.destroy(&made).await?;
    machines.wait_until_gone(&made).await?;
    Ok(format!("every call ends by its deadline of {LATE_CALL_DEADLINE:?}"))
}

/// Checks the calls on a server that repeats what it was sent, credentials included. The check for leaks at the end
/// searches the driver's messages for them.
async fn check_echo(machines: &Machines<'_>, proxy: &FaultProxy, id: &str, handle: &Handle) -> TestResult {
    let scope = || machines.scope_behind(proxy);
    proxy.inject_always(ProxyAction::Echo);
    let new = machines.new_id();
    let answers = [
        ("create", machines.driver.create(&machines.request(&new, Arc::clone(&proxy.section), false)).await.err()),
        ("find", machines.driver.find(&scope(), id).await.err()),
        ("observe", machines.driver.observe(&scope(), std::slice::from_ref(handle)).await.err()),
        ("destroy", machines.driver.destroy(&scope(), handle).await.err()),
    ];
    proxy.clear();
    match answers.into_iter().find(|(_, fault)| fault.is_none()) {
        Some((call, _)) => Err(format!("`{call}` takes status 400 for success").into()),
        None => Ok("every call fails".to_owned()),
    }
}

pub(super) fn with_step(step: &str, error: CheckError) -> CheckError {
    match error {
        CheckError::Failed(why) => CheckError::Failed(format!("{step}: {why}")),
        CheckError::Skipped(why) => CheckError::Skipped(why),
    }
}
