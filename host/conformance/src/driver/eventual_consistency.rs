//! Checks of a driver on clouds whose lists lag behind: a new machine is not in them yet, and the service itself
//! reports that it does not exist.
//!
//! The proxy answers for a new machine what the service answered for one that never existed.

use std::sync::Arc;
use std::time::Duration;

use occopus_engine::ports::{Handle, Phase};

use super::machines::Machines;
use super::{CREATE_CHECK, DESTROY_CHECK};
use crate::fault_injection::FaultProxy;
use crate::proxy::ProxyAction;
use crate::report::{CheckError, ProgressEvent, Suite};

/// Runs the checks. `handle` is of a machine that exists.
pub(crate) async fn run(
    suite: &mut Suite<impl FnMut(&ProgressEvent<'_>)>,
    machines: &Machines<'_>,
    proxy: &FaultProxy,
    handle: &Handle,
) {
    suite
        .check_after(&[CREATE_CHECK, DESTROY_CHECK, "find"], "late-lists", async || {
            let lag = machines.testbed.fixture.lists_lag_seconds;
            if lag == 0 {
                return Err(CheckError::Skipped("the fixture has no `lists_lag_seconds`".to_owned()));
            }
            let lag = Duration::from_secs(lag);
            check_observe(machines, proxy, handle, lag).await?;
            check_destroy(machines, proxy, handle, lag).await?;
            check_find(machines, proxy, lag).await?;
            Ok(format!("what is not in the lists for {} s is not gone", lag.as_secs()))
        })
        .await;
}

/// Creates a hidden machine. The answers to `call` about a machine that never existed are recorded before, and replayed
/// for it.
async fn with_hidden_machine<T>(
    machines: &Machines<'_>,
    proxy: &FaultProxy,
    model: &Handle,
    lag: Duration,
    call: impl AsyncFn(&Handle) -> T,
) -> Result<(String, Handle), CheckError> {
    // Two handles show which of their words differ between machines.
    let other = machines.create(&machines.new_id()).await?;
    machines.destroy(&other).await?;
    let nonexistent = nonexistent_handle(model, &other).ok_or("the handles of two machines are the same")?;
    proxy.start_recording();
    let _ = call(&nonexistent).await;
    let id = machines.new_id();
    let made = machines.driver.create(&machines.request(&id, Arc::clone(&proxy.section), false)).await?.handle;
    proxy.hide(&differing_words(&made, &nonexistent), lag);
    Ok((id, made))
}

async fn check_observe(
    machines: &Machines<'_>,
    proxy: &FaultProxy,
    model: &Handle,
    lag: Duration,
) -> Result<(), CheckError> {
    let scope = || machines.scope_behind(proxy);
    let call = async |handle: &Handle| machines.driver.observe(&scope(), std::slice::from_ref(handle)).await;
    let (_, made) = with_hidden_machine(machines, proxy, model, lag, call).await?;
    let seen = call(&made).await;
    proxy.show();
    if seen.is_ok_and(|seen| seen.iter().any(|one| one.phase == Phase::Gone)) {
        return Err("`observe` reports a new machine as gone, because it is not in a list yet".into());
    }
    machines.destroy(&made).await?;
    Ok(())
}

async fn check_destroy(
    machines: &Machines<'_>,
    proxy: &FaultProxy,
    model: &Handle,
    lag: Duration,
) -> Result<(), CheckError> {
    let scope = || machines.scope_behind(proxy);
    let call = async |handle: &Handle| machines.driver.destroy(&scope(), handle).await;
    let (id, made) = with_hidden_machine(machines, proxy, model, lag, call).await?;
    let removed = call(&made).await;
    proxy.show();
    // Requests that were sent may take effect now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let is_there = !machines.list_of_instance(&id).await?.is_empty();
    if removed.is_ok() && is_there {
        machines.destroy(&made).await?;
        return Err(
            "`destroy` reports success for a new machine that still runs, because it is not in a list yet".into()
        );
    }
    if is_there {
        machines.destroy(&made).await?;
    }
    Ok(())
}

/// Checks `find` after the answer to a creation was lost, with lists that lag.
async fn check_find(machines: &Machines<'_>, proxy: &FaultProxy, lag: Duration) -> Result<(), CheckError> {
    let scope = || machines.scope_behind(proxy);
    let (nonexistent, id) = (machines.new_id(), machines.new_id());
    proxy.start_recording();
    let _ = machines.driver.find(&scope(), &nonexistent).await;
    proxy.hide(&[(id.clone(), nonexistent)], lag);
    proxy.inject_always(ProxyAction::LoseAnswer);
    let lost = machines.driver.create(&machines.request(&id, Arc::clone(&proxy.section), false)).await;
    proxy.clear();
    let found = machines.driver.find(&scope(), &id).await;
    proxy.show();
    let is_there = machines.driver.find(&scope(), &id).await?;
    if let Some(made) = &is_there {
        machines.destroy(&made.handle).await?;
    }
    if lost.is_err() && matches!(found, Ok(None)) && is_there.is_some() {
        return Err("`find` does not find a new machine, because it is not in a list yet".into());
    }
    Ok(())
}

/// Returns a handle of a machine that never existed: the words that differ between the two handles are changed once
/// more.
fn nonexistent_handle(one: &Handle, other: &Handle) -> Option<Handle> {
    let (ours, theirs) = (words(&one.data), words(&other.data));
    if ours.len() != theirs.len() || one.data == other.data {
        return None;
    }
    let mut data = one.data.clone();
    for (word, _) in ours.iter().zip(&theirs).filter(|(word, other)| word != other) {
        data = data.replace(word, &altered(word));
    }
    Some(Handle { data, ..one.clone() })
}

/// Returns the words of a handle that differ from another's, each with its counterpart.
fn differing_words(one: &Handle, other: &Handle) -> Vec<(String, String)> {
    let both = words(&one.data).into_iter().zip(words(&other.data));
    both.filter(|(word, other)| word != other).map(|(word, other)| (word.to_owned(), other.to_owned())).collect()
}

fn words(data: &str) -> Vec<&str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    data.split(|letter| !is_part(letter)).filter(|word| !word.is_empty()).collect()
}

/// Returns a word of the same shape: the last digit but three, or the first one, is changed.
fn altered(word: &str) -> String {
    let digits: Vec<usize> = word.match_indices(|letter: char| letter.is_ascii_digit()).map(|(at, _)| at).collect();
    let Some(&at) = digits.iter().rev().nth(3).or(digits.first()) else { return format!("{word}0") };
    let digit = if word.as_bytes().get(at) == Some(&b'9') { "8" } else { "9" };
    format!("{}{digit}{}", word.get(..at).unwrap_or_default(), word.get(at + 1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(data: &str) -> Handle {
        Handle { version: 1, data: data.to_owned() }
    }

    #[test]
    fn nobody_looks_like_somebody() {
        for (one, other, nonexistent) in [
            ("i-0a1b2c3d4", "i-0a1b2c3f5", "i-0a9b2c3d4"),
            (
                r#"{"id":"i-12345","account":"42"}"#,
                r#"{"id":"i-12346","account":"42"}"#,
                r#"{"id":"i-19345","account":"42"}"#,
            ),
            ("cloud/00000001", "cloud/00000002", "cloud/00009001"),
        ] {
            assert_eq!(nonexistent_handle(&handle(one), &handle(other)), Some(handle(nonexistent)), "{one}");
        }
        assert_eq!(nonexistent_handle(&handle("a"), &handle("a")), None);
    }
}
