//! What a driver makes of the answers of others: gateways, portals, other programs, and another server of the same kind.
//!
//! That a machine is gone, that there is none, that it is removed and that there are no machines is believed of the service
//! that made it, and of nobody else.

use std::sync::Arc;

use occopus_engine::ports::{Handle, ObservedMachine, Phase};
use serde_json::json;

use super::faults::{is_missing_from, with_step};
use super::machines::Machines;
use super::{CREATE_CHECK, DESTROY_CHECK};
use crate::fault_injection::{FOREIGN_ANSWERS, FaultProxy, check_foreign_answers, require_inconclusive};
use crate::fixture::merge_patched;
use crate::proxy::ProxyAction;
use crate::report::{CheckError, ProgressEvent, Suite, TestResult, describe_fault};

/// So many are asked about together; drivers ask for many in another way than for one.
const MANY_HANDLES: usize = 40;

/// With a machine of this id, that is there.
pub(crate) async fn run(
    suite: &mut Suite<impl FnMut(&ProgressEvent<'_>)>,
    m: &Machines<'_>,
    f: &FaultProxy,
    id: &str,
    handle: &Handle,
) {
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.call_timeout());
    suite.check_after(&[CREATE_CHECK, DESTROY_CHECK], "strangers-create", async || check_create(m, f).await).await;
    let find = async || m.driver.find(&scope(), id).await;
    let none = Option::is_none;
    suite
        .check_after(&[CREATE_CHECK, "find"], "strangers-find", async || {
            check_foreign_answers(f, m.bed, find, none).await
        })
        .await;
    suite
        .check_after(&[CREATE_CHECK], "strangers-observe", async || {
            for handles in handle_batches(handle) {
                let observe = async || m.driver.observe(&scope(), &handles).await;
                let asked = handles.len();
                let about = |miss| with_step(&format!("asked about {asked}"), miss);
                check_foreign_answers(f, m.bed, observe, |seen| is_wrong(seen)).await.map_err(about)?;
            }
            Ok(format!(
                "{} answers of others at each request and at all, asked about one and about {MANY_HANDLES}",
                FOREIGN_ANSWERS.len()
            ))
        })
        .await;
    suite
        .check_after(&[CREATE_CHECK, "inventory"], "strangers-list", async || {
            if m.list_owned().await?.is_none() {
                return Err(CheckError::Skipped("it can't list its machines".to_owned()));
            }
            let list = async || m.driver.list_owned(&scope(), None).await;
            check_foreign_answers(f, m.bed, list, |page| is_missing_from(page, id)).await
        })
        .await;
    suite.check_after(&[CREATE_CHECK, DESTROY_CHECK], "strangers-destroy", async || check_destroy(m, f).await).await;
    suite
        .check_after(&[CREATE_CHECK, DESTROY_CHECK], "another-server", async || check_other_server(m, f, handle).await)
        .await;
}

fn handle_batches(handle: &Handle) -> [Vec<Handle>; 2] {
    [vec![handle.clone()], vec![handle.clone(); MANY_HANDLES]]
}

/// Of a machine that runs, whoever answers.
fn is_wrong(seen: &[ObservedMachine]) -> bool {
    seen.iter().any(|one| !matches!(one.phase, Phase::Running | Phase::Pending | Phase::Unknown))
}

/// Nothing is made by a server that is not the cloud; and when only one of the answers was not the cloud's, there is one
/// machine in the end.
async fn check_create(m: &Machines<'_>, f: &FaultProxy) -> TestResult {
    let request = |id: &str| m.request(id, Arc::clone(&f.section), false);
    for (name, meddling) in FOREIGN_ANSWERS {
        m.bed.set_step(name);
        f.inject_always(meddling);
        let answer = m.driver.create(&request(&m.new_id())).await;
        f.clear();
        if answer.is_ok() {
            return Err(format!("{name} at all requests: it is taken for a machine").into());
        }
    }
    let before = f.requests();
    let made = m.driver.create(&request(&m.new_id())).await?;
    let requests = f.requests() - before;
    m.destroy(&made.handle).await?;
    for after in 0..requests {
        // Machines take their time: each request has some of the answers.
        for (name, meddling) in FOREIGN_ANSWERS.into_iter().skip(after % 3).step_by(3) {
            let place = format!("{name} at request {} of {requests}", after + 1);
            m.bed.set_step(&place);
            let id = m.new_id();
            f.inject_once(after, meddling);
            let answer = m.driver.create(&request(&id)).await;
            f.clear();
            let known = match answer {
                Ok(made) => made.handle,
                Err(_) => m.recover_create(&id, m.section()).await.map_err(|miss| with_step(&place, miss))?,
            };
            let one = m.require_exactly_one(&id).await.map_err(|miss| with_step(&place, miss))?;
            if one != known {
                return Err(format!("{place}: there is {one:?}, and the answer was {known:?}").into());
            }
            m.destroy(&one).await?;
        }
    }
    Ok(format!(
        "{} answers of others at all requests, and a third of them at each of {requests}",
        FOREIGN_ANSWERS.len()
    ))
}

/// What says that it is removed must be removed.
async fn check_destroy(m: &Machines<'_>, f: &FaultProxy) -> TestResult {
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.call_timeout());
    let mut handle = m.create(&m.new_id()).await?;
    let before = f.requests();
    m.driver.destroy(&scope(), &handle).await?;
    let requests = f.requests() - before;
    handle = m.create(&m.new_id()).await?;
    for (name, meddling) in FOREIGN_ANSWERS {
        for after in (0..requests).map(Some).chain([None]) {
            let place = match after {
                Some(after) => format!("{name} at request {} of {requests}", after + 1),
                None => format!("{name} at all requests"),
            };
            m.bed.set_step(&place);
            match after {
                Some(after) => f.inject_once(after, meddling),
                None => f.inject_always(meddling),
            }
            let answer = m.driver.destroy(&scope(), &handle).await;
            f.clear();
            match (answer, after) {
                (Ok(()), None) => return Err(format!("{place}: it is taken for a removal").into()),
                (Ok(()), Some(_)) => {
                    let believed =
                        |_| CheckError::Failed(format!("{place}: it is taken for a removal, and the machine runs on"));
                    m.wait_until_gone(&handle).await.map_err(believed)?;
                }
                (Err(fault), _) => require_inconclusive(&place, &fault)?,
            }
            // An earlier request of the call may have removed it.
            if m.phase(&handle).await? != Phase::Running {
                m.destroy(&handle).await?;
                handle = m.create(&m.new_id()).await?;
                m.wait_until_running(&handle).await?;
            }
        }
    }
    m.destroy(&handle).await?;
    m.wait_until_gone(&handle).await?;
    Ok(format!("{} answers of others at {requests} requests, and at all", FOREIGN_ANSWERS.len()))
}

/// A healthy server of the same kind, on which there is nothing: an engine behind the name of another, another account.
async fn check_other_server(m: &Machines<'_>, f: &FaultProxy, handle: &Handle) -> TestResult {
    let Some(stranger) = &m.bed.fixture.stranger else {
        return Err(CheckError::Skipped("the fixture has no `stranger`".to_owned()));
    };
    // If it did not answer, or not like a cloud without machines, nothing would be learnt from it.
    let there = Arc::new(merge_patched(&m.bed.section, &json!({"endpoint": stranger.endpoint})));
    match m.driver.find(&m.scope_of(there, m.bed.call_timeout()), &m.new_id()).await {
        Ok(None) => {}
        Ok(Some(_)) => return Err("the fixture's `stranger` has a machine for an id that nobody has used".into()),
        Err(fault) => return Err(format!("the fixture's `stranger` does not work: {}", describe_fault(&fault)).into()),
    }
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.call_timeout());
    for handles in handle_batches(handle) {
        let place = format!("asked about {} at another server of the same kind", handles.len());
        m.bed.set_step(&place);
        f.inject_always(ProxyAction::AskStranger);
        let seen = m.driver.observe(&scope(), &handles).await;
        f.clear();
        match seen {
            Ok(seen) if is_wrong(&seen) => {
                return Err(format!("{place}: `observe` says that the machine is {:?}", seen[0].phase).into());
            }
            Ok(_) => {}
            Err(fault) => require_inconclusive(&place, &fault)?,
        }
    }
    f.inject_always(ProxyAction::AskStranger);
    let removed = m.driver.destroy(&scope(), handle).await;
    f.clear();
    match removed {
        Ok(()) => {
            Err("another server of the same kind has no such machine, and `destroy` takes that for a removal".into())
        }
        Err(fault) => {
            require_inconclusive("`destroy` at another server of the same kind", &fault)?;
            Ok("`observe` and `destroy` ask who answers".to_owned())
        }
    }
}
