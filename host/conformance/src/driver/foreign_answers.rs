//! Checks of a driver on answers that are not the cloud's: of gateways, portals, other programs, and of another server
//! of the same kind.
//!
//! Only the service that created a machine may report that it is gone, that it does not exist, that it is removed, or
//! that there are no machines.

use std::sync::Arc;

use occopus_engine::ports::{Handle, ObservedMachine, Phase};
use serde_json::json;

use super::faults::{is_missing_from, with_step};
use super::machines::Machines;
use super::{CREATE_CHECK, DESTROY_CHECK};
use crate::fault_injection::{FOREIGN_ANSWERS, FaultProxy, Injection, check_foreign_answers, require_inconclusive};
use crate::fixture::merge_patched;
use crate::proxy::ProxyAction;
use crate::report::{CheckError, ProgressEvent, Suite, TestResult, describe_fault};

/// Number of handles that are observed together; drivers send other requests for many than for one.
const MANY_HANDLES: usize = 40;

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
        .check_after(&[CREATE_CHECK, DESTROY_CHECK], "strangers-create", async || check_create(machines, proxy).await)
        .await;
    let find = async || machines.driver.find(&scope(), id).await;
    let none = Option::is_none;
    suite
        .check_after(&[CREATE_CHECK, "find"], "strangers-find", async || {
            check_foreign_answers(proxy, machines.testbed, find, none).await
        })
        .await;
    suite
        .check_after(&[CREATE_CHECK], "strangers-observe", async || {
            for handles in handle_batches(handle) {
                let observe = async || machines.driver.observe(&scope(), &handles).await;
                let count = handles.len();
                let about = |error| with_step(&format!("{count} handles"), error);
                check_foreign_answers(proxy, machines.testbed, observe, |seen| is_wrong(seen)).await.map_err(about)?;
            }
            Ok(format!(
                "{} answers of others at each request and at all, for one handle and for {MANY_HANDLES}",
                FOREIGN_ANSWERS.len()
            ))
        })
        .await;
    suite
        .check_after(&[CREATE_CHECK, "inventory"], "strangers-list", async || {
            if machines.list_owned().await?.is_none() {
                return Err(CheckError::Skipped("it can't list its machines".to_owned()));
            }
            let list = async || machines.driver.list_owned(&scope(), None).await;
            check_foreign_answers(proxy, machines.testbed, list, |page| is_missing_from(page, id)).await
        })
        .await;
    suite
        .check_after(&[CREATE_CHECK, DESTROY_CHECK], "strangers-destroy", async || check_destroy(machines, proxy).await)
        .await;
    suite
        .check_after(&[CREATE_CHECK, DESTROY_CHECK], "another-server", async || {
            check_other_server(machines, proxy, handle).await
        })
        .await;
}

fn handle_batches(handle: &Handle) -> [Vec<Handle>; 2] {
    [vec![handle.clone()], vec![handle.clone(); MANY_HANDLES]]
}

/// Returns true if the observation is wrong for a machine that runs, whoever answers.
fn is_wrong(seen: &[ObservedMachine]) -> bool {
    seen.iter().any(|one| !matches!(one.phase, Phase::Running | Phase::Pending | Phase::Unknown))
}

/// Checks that no answer of another server is taken for a creation; and that there is one machine in the end if only
/// one of the answers was not the cloud's.
async fn check_create(machines: &Machines<'_>, proxy: &FaultProxy) -> TestResult {
    let request = |id: &str| machines.request(id, Arc::clone(&proxy.section), false);
    for (name, action) in FOREIGN_ANSWERS {
        machines.testbed.set_step(name);
        proxy.inject_always(action);
        let answer = machines.driver.create(&request(&machines.new_id())).await;
        proxy.clear();
        if answer.is_ok() {
            return Err(format!("{name} at all requests: it is accepted as a creation").into());
        }
    }
    let before = proxy.requests();
    let made = machines.driver.create(&request(&machines.new_id())).await?;
    let requests = proxy.requests() - before;
    machines.destroy(&made.handle).await?;
    for after in 0..requests {
        // Creating machines takes time, so each request gets only some of the answers.
        for foreign in FOREIGN_ANSWERS.into_iter().skip(after % 3).step_by(3) {
            let injection = Injection::at(foreign, after, requests);
            let (id, step) = (machines.new_id(), injection.to_string());
            let create = async || machines.driver.create(&request(&id)).await;
            let handle = match proxy.call_with(machines.testbed, injection, create).await {
                Ok(made) => made.handle,
                Err(_) => {
                    machines.recover_create(&id, machines.section()).await.map_err(|error| with_step(&step, error))?
                }
            };
            machines.require_only(&id, &handle).await.map_err(|error| with_step(&step, error))?;
            machines.destroy(&handle).await?;
        }
    }
    Ok(format!(
        "{} answers of others at all requests, and a third of them at each of {requests}",
        FOREIGN_ANSWERS.len()
    ))
}

/// Checks that a machine is gone once its removal is reported.
async fn check_destroy(machines: &Machines<'_>, proxy: &FaultProxy) -> TestResult {
    let scope = || machines.scope_behind(proxy);
    let mut handle = machines.create(&machines.new_id()).await?;
    let before = proxy.requests();
    machines.driver.destroy(&scope(), &handle).await?;
    let requests = proxy.requests() - before;
    handle = machines.create(&machines.new_id()).await?;
    for injection in Injection::at_each_and_all(FOREIGN_ANSWERS, requests) {
        let destroy = async || machines.driver.destroy(&scope(), &handle).await;
        match (proxy.call_with(machines.testbed, injection, destroy).await, injection.at) {
            (Ok(()), None) => return Err(format!("{injection}: it is accepted as a removal").into()),
            (Ok(()), Some(_)) => {
                let still_running = |_| {
                    CheckError::Failed(format!("{injection}: it is accepted as a removal, and the machine still runs"))
                };
                machines.wait_until_gone(&handle).await.map_err(still_running)?;
            }
            (Err(fault), _) => require_inconclusive(&injection.to_string(), &fault)?,
        }
        // An earlier request of the call may have removed it.
        if machines.phase(&handle).await? != Phase::Running {
            machines.destroy(&handle).await?;
            handle = machines.create(&machines.new_id()).await?;
            machines.wait_until_running(&handle).await?;
        }
    }
    machines.destroy(&handle).await?;
    machines.wait_until_gone(&handle).await?;
    Ok(format!("{} answers of others at {requests} requests, and at all", FOREIGN_ANSWERS.len()))
}

/// Checks the calls on a healthy server of the same kind without machines: an engine behind the name of another,
/// another account.
async fn check_other_server(machines: &Machines<'_>, proxy: &FaultProxy, handle: &Handle) -> TestResult {
    let Some(stranger) = &machines.testbed.fixture.stranger else {
        return Err(CheckError::Skipped("the fixture has no `stranger`".to_owned()));
    };
    // If it did not answer like a cloud without machines, the check would prove nothing.
    let stranger_section = Arc::new(merge_patched(&machines.testbed.section, &json!({"endpoint": stranger.endpoint})));
    match machines
        .driver
        .find(&machines.scope_of(stranger_section, machines.testbed.call_timeout()), &machines.new_id())
        .await
    {
        Ok(None) => {}
        Ok(Some(_)) => return Err("the fixture's `stranger` has a machine for an id that nobody has used".into()),
        Err(fault) => return Err(format!("the fixture's `stranger` does not work: {}", describe_fault(&fault)).into()),
    }
    let scope = || machines.scope_behind(proxy);
    for handles in handle_batches(handle) {
        let step = format!("{} handles at another server of the same kind", handles.len());
        machines.testbed.set_step(&step);
        proxy.inject_always(ProxyAction::AskStranger);
        let seen = machines.driver.observe(&scope(), &handles).await;
        proxy.clear();
        match seen {
            Ok(seen) if is_wrong(&seen) => {
                return Err(format!("{step}: `observe` reports the machine as {:?}", seen[0].phase).into());
            }
            Ok(_) => {}
            Err(fault) => require_inconclusive(&step, &fault)?,
        }
    }
    proxy.inject_always(ProxyAction::AskStranger);
    let removed = machines.driver.destroy(&scope(), handle).await;
    proxy.clear();
    match removed {
        Ok(()) => {
            Err("another server of the same kind has no such machine, and `destroy` accepts that as a removal".into())
        }
        Err(fault) => {
            require_inconclusive("`destroy` at another server of the same kind", &fault)?;
            Ok("`observe` and `destroy` verify which server answers".to_owned())
        }
    }
}
