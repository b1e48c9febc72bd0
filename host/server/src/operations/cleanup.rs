//! Removal of expired records: operations of infrastructures that are gone, and failed builds. They are bounded in number
//! and in age: one day.

use std::time::Duration;

use jiff::Timestamp;
use occopus_api::Operation;
use occopus_engine::ports::{Store, StoreError, Transaction, Write};
use occopus_engine::{Engine, EngineError, InfrastructureId, Pages};

use super::FailedBuild;
use super::ledger::{DONE_PREFIX, FAILED_PREFIX, PENDING_PREFIX, decode_record};

/// Time for which failed builds, and operations of infrastructures that are gone, are kept.
const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// Maximum number of infrastructures that are gone and whose operations are kept.
const MAX_GONE_INFRASTRUCTURES: usize = 1000;
/// Largest number of removals in one transaction.
const MAX_REMOVALS: usize = 500;
/// Maximum number of failed builds.
pub(super) const MAX_FAILED_BUILDS: usize = 100;

/// Removes records that are expired or too many.
///
/// # Errors
/// Fails if the store does not answer, or a record cannot be read; the next call removes the rest.
pub(crate) async fn clean_up(store: &dyn Store, engine: &Engine) -> Result<(), EngineError> {
    clean_up_failed_builds(store).await?;
    clean_up_operations(store, engine).await
}

/// A record that may expire, with the write that removes it.
struct Expirable {
    time: Timestamp,
    write: Write,
}

/// Removes what is older than [`RETENTION`], and the oldest beyond `max_count`.
async fn remove_expired(store: &dyn Store, mut all: Vec<Expirable>, max_count: usize) -> Result<(), StoreError> {
    let now = Timestamp::now();
    all.sort_by_key(|one| std::cmp::Reverse(one.time));
    let is_expired =
        |(at, one): &(usize, Expirable)| *at >= max_count || now.duration_since(one.time).unsigned_abs() >= RETENTION;
    let writes: Vec<_> = all.into_iter().enumerate().filter(is_expired).map(|(_, one)| one.write).collect();
    for writes in writes.chunks(MAX_REMOVALS) {
        store.commit(Transaction { compares: Vec::new(), writes: writes.to_vec() }).await?;
    }
    Ok(())
}

pub(super) async fn clean_up_failed_builds(store: &dyn Store) -> Result<(), StoreError> {
    let (mut pages, mut all) = (Pages::new(store, FAILED_PREFIX), Vec::new());
    while let Some(page) = pages.next_page().await? {
        for entry in page {
            let time = decode_record::<FailedBuild>(&entry)?.time;
            all.push(Expirable { time, write: Write::Delete { key: entry.key } });
        }
    }
    remove_expired(store, all, MAX_FAILED_BUILDS).await
}

/// Removes the operations of infrastructures that are gone. Those of the others are pruned when an operation ends.
async fn clean_up_operations(store: &dyn Store, engine: &Engine) -> Result<(), EngineError> {
    let mut latest = Vec::<(InfrastructureId, Timestamp)>::new();
    let mut pages = Pages::new(store, DONE_PREFIX);
    while let Some(page) = pages.next_page().await? {
        for entry in page {
            let key = entry.key.strip_prefix(DONE_PREFIX).and_then(|rest| rest.split_once('/'));
            let Some(id) = key.and_then(|(id, _)| id.parse().ok()) else { continue };
            let operation: Operation = decode_record(&entry)?;
            // Keys are ordered, so the last operation of an infrastructure decides.
            let time = operation.ended.unwrap_or(operation.requested);
            match latest.last_mut() {
                Some((last, latest)) if *last == id => *latest = time,
                _ => latest.push((id, time)),
            }
        }
    }
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
    use occopus_api::{OperationKind, OperationState};
    use occopus_engine::testing::{Fakes, infrastructure, node};

    use super::*;
    use crate::operations::ledger::put_record;

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
    async fn operations_of_removed_infrastructures_are_bounded_in_number_and_age() {
        let fakes = Fakes::new();
        fakes.build(&infrastructure(vec![node("db", 1, &[])])).await.unwrap();
        let mut writes = vec![ended("test", 1, 100), ended("old", 1, 30), ended("old", 2, 25), ended("late", 1, 30)];
        writes.push(ended("late", 2, 1));
        // About to be built again.
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
            "beside those of an existing and of a pending infrastructure"
        );
        assert!(left.contains(&"late/00002".to_owned()), "the latest are kept");
    }

    #[tokio::test(start_paused = true)]
    async fn failed_builds_expire() {
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
        clean_up(&fakes.store, &fakes.engine).await.unwrap();
        let left = keys(&fakes, FAILED_PREFIX).await;
        assert!(left.len() == MAX_FAILED_BUILDS && !left.contains(&"050".to_owned()), "{left:?}");
    }
}
