//! What a driver makes of the answers of others: gateways, portals, other programs, and another server of the same kind.
//!
//! That a machine is gone, that there is none, that it is removed and that there are no machines is believed of the service
//! that made it, and of nobody else.

use std::sync::Arc;

use occopus_engine::ports::{Handle, Observed, Phase};
use serde_json::json;

use super::faults::{at, lacks};
use super::machines::Machines;
use super::{MADE, REMOVED};
use crate::fixture::merged;
use crate::hiccups::{Faults, STRANGERS, believes_no_stranger, is_unknown};
use crate::proxy::Meddling;
use crate::report::{Checked, Miss, News, Suite, words};

/// So many are asked about together; drivers ask for many in another way than for one.
const MANY: usize = 40;

/// With a machine of this id, that is there.
pub(crate) async fn run(
    suite: &mut Suite<impl FnMut(&News<'_>)>,
    m: &Machines<'_>,
    f: &Faults,
    id: &str,
    handle: &Handle,
) {
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.patience());
    suite.after(&[MADE, REMOVED], "strangers-create", async || create(m, f).await).await;
    let find = async || m.driver.find(&scope(), id).await;
    let none = Option::is_none;
    suite.after(&[MADE, "find"], "strangers-find", async || believes_no_stranger(f, m.bed, find, none).await).await;
    suite
        .after(&[MADE], "strangers-observe", async || {
            for handles in questions(handle) {
                let observe = async || m.driver.observe(&scope(), &handles).await;
                let asked = handles.len();
                let about = |miss| at(&format!("asked about {asked}"), miss);
                believes_no_stranger(f, m.bed, observe, |seen| is_wrong(seen)).await.map_err(about)?;
            }
            Ok(format!(
                "{} answers of others at each request and at all, asked about one and about {MANY}",
                STRANGERS.len()
            ))
        })
        .await;
    suite
        .after(&[MADE, "inventory"], "strangers-list", async || {
            if m.owned().await?.is_none() {
                return Err(Miss::Skipped("it can't list its machines".to_owned()));
            }
            let list = async || m.driver.list_owned(&scope(), None).await;
            believes_no_stranger(f, m.bed, list, |page| lacks(page, id)).await
        })
        .await;
    suite.after(&[MADE, REMOVED], "strangers-destroy", async || destroy(m, f).await).await;
    suite.after(&[MADE, REMOVED], "another-server", async || elsewhere(m, f, handle).await).await;
}

fn questions(handle: &Handle) -> [Vec<Handle>; 2] {
    [vec![handle.clone()], vec![handle.clone(); MANY]]
}

/// Of a machine that runs, whoever answers.
fn is_wrong(seen: &[Observed]) -> bool {
    seen.iter().any(|one| !matches!(one.phase, Phase::Running | Phase::Pending | Phase::Unknown))
}

/// Nothing is made by a server that is not the cloud; and when only one of the answers was not the cloud's, there is one
/// machine in the end.
async fn create(m: &Machines<'_>, f: &Faults) -> Checked {
    let request = |id: &str| m.request(id, Arc::clone(&f.section), false);
    for (name, meddling) in STRANGERS {
        m.bed.at(name);
        f.always(meddling);
        let answer = m.driver.create(&request(&m.new_id())).await;
        f.none();
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
        for (name, meddling) in STRANGERS.into_iter().skip(after % 3).step_by(3) {
            let place = format!("{name} at request {} of {requests}", after + 1);
            m.bed.at(&place);
            let id = m.new_id();
            f.once(after, meddling);
            let answer = m.driver.create(&request(&id)).await;
            f.none();
            let known = match answer {
                Ok(made) => made.handle,
                Err(_) => m.settled(&id, m.section()).await.map_err(|miss| at(&place, miss))?,
            };
            let one = m.exactly_one(&id).await.map_err(|miss| at(&place, miss))?;
            if one != known {
                return Err(format!("{place}: there is {one:?}, and the answer was {known:?}").into());
            }
            m.destroy(&one).await?;
        }
    }
    Ok(format!("{} answers of others at all requests, and a third of them at each of {requests}", STRANGERS.len()))
}

/// What says that it is removed must be removed.
async fn destroy(m: &Machines<'_>, f: &Faults) -> Checked {
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.patience());
    let mut handle = m.create(&m.new_id()).await?;
    let before = f.requests();
    m.driver.destroy(&scope(), &handle).await?;
    let requests = f.requests() - before;
    handle = m.create(&m.new_id()).await?;
    for (name, meddling) in STRANGERS {
        for after in (0..requests).map(Some).chain([None]) {
            let place = match after {
                Some(after) => format!("{name} at request {} of {requests}", after + 1),
                None => format!("{name} at all requests"),
            };
            m.bed.at(&place);
            match after {
                Some(after) => f.once(after, meddling),
                None => f.always(meddling),
            }
            let answer = m.driver.destroy(&scope(), &handle).await;
            f.none();
            match (answer, after) {
                (Ok(()), None) => return Err(format!("{place}: it is taken for a removal").into()),
                (Ok(()), Some(_)) => {
                    let believed =
                        |_| Miss::Failed(format!("{place}: it is taken for a removal, and the machine runs on"));
                    m.gone(&handle).await.map_err(believed)?;
                }
                (Err(fault), _) => is_unknown(&place, &fault)?,
            }
            // An earlier request of the call may have removed it.
            if m.phase(&handle).await? != Phase::Running {
                m.destroy(&handle).await?;
                handle = m.create(&m.new_id()).await?;
                m.runs(&handle).await?;
            }
        }
    }
    m.destroy(&handle).await?;
    m.gone(&handle).await?;
    Ok(format!("{} answers of others at {requests} requests, and at all", STRANGERS.len()))
}

/// A healthy server of the same kind, on which there is nothing: an engine behind the name of another, another account.
async fn elsewhere(m: &Machines<'_>, f: &Faults, handle: &Handle) -> Checked {
    let Some(stranger) = &m.bed.fixture.stranger else {
        return Err(Miss::Skipped("the fixture has no `stranger`".to_owned()));
    };
    // If it did not answer, or not like a cloud without machines, nothing would be learnt from it.
    let there = Arc::new(merged(&m.bed.section, &json!({"endpoint": stranger.endpoint})));
    match m.driver.find(&m.scope_of(there, m.bed.patience()), &m.new_id()).await {
        Ok(None) => {}
        Ok(Some(_)) => return Err("the fixture's `stranger` has a machine for an id that nobody has used".into()),
        Err(fault) => return Err(format!("the fixture's `stranger` does not work: {}", words(&fault)).into()),
    }
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.patience());
    for handles in questions(handle) {
        let place = format!("asked about {} at another server of the same kind", handles.len());
        m.bed.at(&place);
        f.always(Meddling::Elsewhere);
        let seen = m.driver.observe(&scope(), &handles).await;
        f.none();
        match seen {
            Ok(seen) if is_wrong(&seen) => {
                return Err(format!("{place}: `observe` says that the machine is {:?}", seen[0].phase).into());
            }
            Ok(_) => {}
            Err(fault) => is_unknown(&place, &fault)?,
        }
    }
    f.always(Meddling::Elsewhere);
    let removed = m.driver.destroy(&scope(), handle).await;
    f.none();
    match removed {
        Ok(()) => {
            Err("another server of the same kind has no such machine, and `destroy` takes that for a removal".into())
        }
        Err(fault) => {
            is_unknown("`destroy` at another server of the same kind", &fault)?;
            Ok("`observe` and `destroy` ask who answers".to_owned())
        }
    }
}
