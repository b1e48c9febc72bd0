//! Clearing away what nobody reads any more: operations of infrastructures that are gone, builds that have failed, and requests
//! that can't be repeated. How much there may be is bounded by its number, and how long by a day.

use std::time::Duration;

use jiff::Timestamp;
use occopus_engine::ports::{Entry, Store, StoreError, Transaction, Write};
use occopus_engine::{Engine, EngineError};

use super::ledger::{DONE_PREFIX, FAILED_PREFIX, PAGE_SIZE, PENDING_PREFIX};
use super::{FailedBuild, Operation};
use crate::codec::decode_record;
use crate::idempotency;

/// For so long it can be looked up what became of an infrastructure that is gone.
const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// The most infrastructures that are gone of which something is known.
const MAX_GONE_INFRASTRUCTURES: usize = 1000;
/// The most builds that have failed.
pub(super) const MAX_FAILED_BUILDS: usize = 100;

/// Clears away what is old or too much.
///
/// # Errors
/// When the store does not answer; what is left is cleared away the next time.
pub(crate) async fn clean_up(store: &dyn Store, engine: &Engine) -> Result<(), EngineError> {
    clean_up_requests(store).await?;
    clean_up_failed_builds(store).await?;
    clean_up_operations(store, engine).await
}

/// Something that was cleared for, by its age.
struct Expirable {
    time: Timestamp,
    write: Write,
}

/// Removes what is older than a day, and the oldest of what is more than so many.
async fn remove_expired(store: &dyn Store, mut all: Vec<Expirable>, most: usize) -> Result<(), StoreError> {
    let now = Timestamp::now();
    all.sort_by_key(|one| std::cmp::Reverse(one.time));
    let is_over =
        |(at, one): &(usize, Expirable)| *at >= most || now.duration_since(one.time).unsigned_abs() >= RETENTION;
    let writes: Vec<_> = all.into_iter().enumerate().filter(is_over).map(|(_, one)| one.write).collect();
    for writes in writes.chunks(PAGE_SIZE) {
        store.commit(Transaction { compares: Vec::new(), writes: writes.to_vec() }).await?;
    }
    Ok(())
}

/// Each entry under a prefix, a page at a time.
async fn for_each_entry(
    store: &dyn Store,
    prefix: &str,
    mut look: impl FnMut(&Entry) -> Result<(), StoreError> + Send,
) -> Result<(), StoreError> {
    let mut after = None::<String>;
    loop {
        let page = store.range(prefix, after.as_deref(), PAGE_SIZE).await?;
        page.iter().try_for_each(&mut look)?;
        match page.last() {
            Some(last) if page.len() == PAGE_SIZE => after = Some(last.key.clone()),
            _ => return Ok(()),
        }
    }
}

async fn clean_up_requests(store: &dyn Store) -> Result<(), StoreError> {
    let mut past = Vec::new();
    let look = |entry: &Entry| {
        if idempotency::is_expired(entry) {
            past.push(Write::Delete { key: entry.key.clone() });
        }
        Ok(())
    };
    for_each_entry(store, idempotency::KEY_PREFIX, look).await?;
    for writes in past.chunks(PAGE_SIZE) {
        store.commit(Transaction { compares: Vec::new(), writes: writes.to_vec() }).await?;
    }
    Ok(())
}

pub(super) async fn clean_up_failed_builds(store: &dyn Store) -> Result<(), StoreError> {
    let mut all = Vec::new();
    let look = |entry: &Entry| {
        let time = decode_record::<FailedBuild>(entry)?.time;
        all.push(Expirable { time, write: Write::Delete { key: entry.key.clone() } });
        Ok(())
    };
    for_each_entry(store, FAILED_PREFIX, look).await?;
    remove_expired(store, all, MAX_FAILED_BUILDS).await
}

/// Of infrastructures that are gone; the others have few.
async fn clean_up_operations(store: &dyn Store, engine: &Engine) -> Result<(), EngineError> {
    let mut latest = Vec::<(String, Timestamp)>::new();
    let look = |entry: &Entry| {
        let Some((id, _)) = entry.key.strip_prefix(DONE_PREFIX).and_then(|rest| rest.split_once('/')) else {
            return Ok(());
        };
        let operation: Operation = decode_record(entry)?;
        // Later ones of an infrastructure come later.
        let time = operation.ended.unwrap_or(operation.requested);
        match latest.last_mut() {
            Some((last, latest)) if last == id => *latest = time,
            _ => latest.push((id.to_owned(), time)),
        }
        Ok(())
    };
    for_each_entry(store, DONE_PREFIX, look).await?;
    let mut gone = Vec::new();
    for (id, time) in latest {
        if !engine.exists(&id).await? && store.get(&format!("{PENDING_PREFIX}{id}")).await?.is_none() {
            gone.push(Expirable { time, write: Write::DeletePrefix { prefix: format!("{DONE_PREFIX}{id}/") } });
        }
    }
    Ok(remove_expired(store, gone, MAX_GONE_INFRASTRUCTURES).await?)
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use occopus_engine::testing::{Fakes, infrastructure, node};

    use super::*;
    use crate::codec::put_record;
    use crate::operations::{OperationKind, OperationState};

    fn ago(hours: i64) -> Timestamp {
        Timestamp::now().checked_sub(hours.hours()).unwrap()
    }

    fn ended(id: &str, number: usize, hours: i64) -> Write {
        let operation = Operation {
            id: format!("{number:05}"),
            infraid: id.to_owned(),
            kind: OperationKind::Destroy,
            state: OperationState::Done,
            by: "somebody".into(),
            requested: ago(hours),
            ended: Some(ago(hours)),
            message: None,
            error: None,
        };
        put_record(format!("{DONE_PREFIX}{id}/{number:05}"), &operation).unwrap()
    }

    async fn write(fakes: &Fakes, writes: Vec<Write>) {
        fakes.store.commit(Transaction { compares: Vec::new(), writes }).await.unwrap();
    }

    async fn keys(fakes: &Fakes, prefix: &str) -> Vec<String> {
        fakes.store.keys().into_iter().filter_map(|key| Some(key.strip_prefix(prefix)?.to_owned())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn of_what_is_gone_little_is_kept_and_not_for_long() {
        let fakes = Fakes::new();
        fakes.build(&infrastructure(vec![node("db", 1, &[])])).await.unwrap();
        let mut writes = vec![ended("test", 1, 100), ended("old", 1, 30), ended("old", 2, 25), ended("late", 1, 30)];
        writes.push(ended("late", 2, 1));
        // It is to be built again.
        writes.extend([
            ended("again", 1, 30),
            Write::Put { key: format!("{PENDING_PREFIX}again"), value: Vec::new(), lease: None },
        ]);
        write(&fakes, writes).await;
        clean_up(&fakes.store, &fakes.engine).await.unwrap();
        assert_eq!(keys(&fakes, DONE_PREFIX).await, ["again/00001", "late/00001", "late/00002", "test/00001"]);

        write(&fakes, (0..MAX_GONE_INFRASTRUCTURES + 20).map(|at| ended(&format!("many-{at:05}"), 1, 2)).collect())
            .await;
        clean_up(&fakes.store, &fakes.engine).await.unwrap();
        let left = keys(&fakes, DONE_PREFIX).await;
        assert_eq!(
            left.len(),
            MAX_GONE_INFRASTRUCTURES + 3,
            "beside one that is there and one that is to be, of which one has one each"
        );
        assert!(left.contains(&"late/00002".to_owned()), "the latest are kept");
    }

    #[tokio::test(start_paused = true)]
    async fn builds_that_failed_and_requests_are_cleared_away() {
        let fakes = Fakes::new();
        let failed = |hours| FailedBuild {
            name: "n".into(),
            text: "t".into(),
            events: Vec::new(),
            remains: false,
            time: ago(hours),
        };
        let at = |at: usize, hours| put_record(format!("{FAILED_PREFIX}{at:03}"), &failed(hours)).unwrap();
        write(&fakes, (0..MAX_FAILED_BUILDS + 9).map(|number| at(number, if number == 50 { 25 } else { 1 })).collect())
            .await;
        let request = |hours| {
            let record = serde_json::json!({"digest": "d", "infraid": "i", "operation": "o", "time": ago(hours)});
            put_record(format!("{}{hours}", idempotency::KEY_PREFIX), &record).unwrap()
        };
        write(&fakes, vec![request(1), request(25)]).await;
        clean_up(&fakes.store, &fakes.engine).await.unwrap();
        let left = keys(&fakes, FAILED_PREFIX).await;
        assert!(left.len() == MAX_FAILED_BUILDS && !left.contains(&"050".to_owned()), "{left:?}");
        assert_eq!(keys(&fakes, idempotency::KEY_PREFIX).await, ["1"]);
    }
}
