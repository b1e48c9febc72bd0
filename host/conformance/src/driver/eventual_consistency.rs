//! Clouds whose lists lag behind: what was just made is not in them yet, and the service itself says that it is not there.
//!
//! The proxy says of a new machine what the service said of one that never was.

use std::sync::Arc;
use std::time::Duration;

use occopus_engine::ports::{Handle, Phase};

use super::machines::Machines;
use super::{CREATE_CHECK, DESTROY_CHECK};
use crate::fault_injection::FaultProxy;
use crate::proxy::ProxyAction;
use crate::report::{CheckError, ProgressEvent, Suite};

/// With a machine that is there.
pub(crate) async fn run(
    suite: &mut Suite<impl FnMut(&ProgressEvent<'_>)>,
    m: &Machines<'_>,
    f: &FaultProxy,
    handle: &Handle,
) {
    suite
        .check_after(&[CREATE_CHECK, DESTROY_CHECK, "find"], "late-lists", async || {
            let lag = m.bed.fixture.lists_lag_seconds;
            if lag == 0 {
                return Err(CheckError::Skipped("the fixture says of no `lists_lag_seconds`".to_owned()));
            }
            let lag = Duration::from_secs(lag);
            check_observe(m, f, handle, lag).await?;
            check_destroy(m, f, handle, lag).await?;
            check_find(m, f, lag).await?;
            Ok(format!("what is not in the lists for {} s is not gone", lag.as_secs()))
        })
        .await;
}

/// Makes a machine that is hidden, while `ask` was asked before about one that never was.
async fn with_hidden_machine<T>(
    m: &Machines<'_>,
    f: &FaultProxy,
    model: &Handle,
    lag: Duration,
    ask: impl AsyncFn(&Handle) -> T,
) -> Result<(String, Handle), CheckError> {
    // Two handles show which of their words change from machine to machine.
    let other = m.create(&m.new_id()).await?;
    m.destroy(&other).await?;
    let nobody = nonexistent_handle(model, &other).ok_or("the handles of two machines are the same")?;
    f.start_recording();
    let _ = ask(&nobody).await;
    let id = m.new_id();
    let made = m.driver.create(&m.request(&id, Arc::clone(&f.section), false)).await?.handle;
    f.hide(&differing_words(&made, &nobody), lag);
    Ok((id, made))
}

async fn check_observe(m: &Machines<'_>, f: &FaultProxy, model: &Handle, lag: Duration) -> Result<(), CheckError> {
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.call_timeout());
    let ask = async |handle: &Handle| m.driver.observe(&scope(), std::slice::from_ref(handle)).await;
    let (_, made) = with_hidden_machine(m, f, model, lag, ask).await?;
    let seen = ask(&made).await;
    f.show();
    if seen.is_ok_and(|seen| seen.iter().any(|one| one.phase == Phase::Gone)) {
        return Err("`observe` says that a machine is gone which was just made, because it is not in a list yet".into());
    }
    m.destroy(&made).await?;
    Ok(())
}

async fn check_destroy(m: &Machines<'_>, f: &FaultProxy, model: &Handle, lag: Duration) -> Result<(), CheckError> {
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.call_timeout());
    let ask = async |handle: &Handle| m.driver.destroy(&scope(), handle).await;
    let (id, made) = with_hidden_machine(m, f, model, lag, ask).await?;
    let removed = ask(&made).await;
    f.show();
    // What was sent for it may take effect now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let is_there = !m.list_of_instance(&id).await?.is_empty();
    if removed.is_ok() && is_there {
        m.destroy(&made).await?;
        return Err("`destroy` is content with a machine that was just made, because it is not in a list yet".into());
    }
    if is_there {
        m.destroy(&made).await?;
    }
    Ok(())
}

/// The answer to the creation is lost, and the lists are late.
async fn check_find(m: &Machines<'_>, f: &FaultProxy, lag: Duration) -> Result<(), CheckError> {
    let scope = || m.scope_of(Arc::clone(&f.section), m.bed.call_timeout());
    let (nobody, id) = (m.new_id(), m.new_id());
    f.start_recording();
    let _ = m.driver.find(&scope(), &nobody).await;
    f.hide(&[(id.clone(), nobody)], lag);
    f.inject_always(ProxyAction::LoseAnswer);
    let lost = m.driver.create(&m.request(&id, Arc::clone(&f.section), false)).await;
    f.clear();
    let found = m.driver.find(&scope(), &id).await;
    f.show();
    let is_there = m.driver.find(&scope(), &id).await?;
    if let Some(made) = &is_there {
        m.destroy(&made.handle).await?;
    }
    if lost.is_err() && matches!(found, Ok(None)) && is_there.is_some() {
        return Err("`find` says that nothing was made, because it is not in a list yet".into());
    }
    Ok(())
}

/// A handle like that of a machine, of a machine that never was: what changes from one to the other is changed once more.
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

/// Words of a handle with those of another that stand in their place.
fn differing_words(one: &Handle, other: &Handle) -> Vec<(String, String)> {
    let both = words(&one.data).into_iter().zip(words(&other.data));
    both.filter(|(word, other)| word != other).map(|(word, other)| (word.to_owned(), other.to_owned())).collect()
}

fn words(data: &str) -> Vec<&str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    data.split(|letter| !is_part(letter)).filter(|word| !word.is_empty()).collect()
}

/// Of the same shape: the last digit but three, or the first one, is another one.
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
        for (one, other, nobody) in [
            ("i-0a1b2c3d4", "i-0a1b2c3f5", "i-0a9b2c3d4"),
            (
                r#"{"id":"i-12345","account":"42"}"#,
                r#"{"id":"i-12346","account":"42"}"#,
                r#"{"id":"i-19345","account":"42"}"#,
            ),
            ("cloud/00000001", "cloud/00000002", "cloud/00009001"),
        ] {
            assert_eq!(nonexistent_handle(&handle(one), &handle(other)), Some(handle(nobody)), "{one}");
        }
        assert_eq!(nonexistent_handle(&handle("a"), &handle("a")), None);
    }
}
