//! Tests of the guarantees that the engine relies on, on real files.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a skip is reported, and the killed writer reports by its output"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::StreamExt;
use occopus_engine::ports::{CommitOutcome, Compare, Store, StoreError, Transaction, Write};
use occopus_engine::{Position, watch_after};
use occopus_store::SqliteStore;
use proptest::prelude::*;

fn put(key: &str, value: &str) -> Write {
    Write::Put { key: key.to_owned(), value: value.as_bytes().to_vec(), lease: None }
}

fn writes(writes: Vec<Write>) -> Transaction {
    Transaction { compares: Vec::new(), writes }
}

struct Fixture {
    directory: tempfile::TempDir,
    store: SqliteStore,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(directory.path().join("deep/state.db")).expect("a store");
    Fixture { directory, store }
}

impl Fixture {
    fn path(&self) -> PathBuf {
        self.directory.path().join("deep/state.db")
    }
}

async fn keys(store: &SqliteStore, prefix: &str) -> Vec<String> {
    store.range(prefix, None, 100).await.expect("entries").into_iter().map(|entry| entry.key).collect()
}

#[tokio::test]
async fn transactions_are_all_or_nothing() {
    let fixture = fixture();
    let store = &fixture.store;
    assert_eq!(
        store.commit(writes(vec![put("a", "1"), put("b", "1")])).await.expect("ok"),
        CommitOutcome::Committed(1)
    );
    let stale = Transaction {
        compares: vec![Compare::Modified("a".into(), 1), Compare::Modified("b".into(), 0)],
        writes: vec![put("a", "2")],
    };
    assert_eq!(store.commit(stale).await.expect("ok"), CommitOutcome::Conflict);
    let a = store.get("a").await.expect("ok").expect("an entry");
    assert_eq!((a.value.as_slice(), a.created, a.modified), (&b"1"[..], 1, 1));
    let fresh = Transaction { compares: vec![Compare::Modified("a".into(), 1)], writes: vec![put("a", "2")] };
    assert_eq!(store.commit(fresh).await.expect("ok"), CommitOutcome::Committed(2));
    assert_eq!(store.get("a").await.expect("ok").expect("an entry").created, 1);
    assert_eq!(store.revision().await.expect("ok"), 2);
}

#[tokio::test]
async fn prefixes_are_taken_literally() {
    let fixture = fixture();
    let store = &fixture.store;
    let all = ["a/1", "a/2", "a0", "a%b", "a_b", "aa", "á", "a/\u{10ffff}", "a/\u{d7ff}"];
    store.commit(writes(all.iter().map(|key| put(key, "x")).collect())).await.expect("ok");
    assert_eq!(keys(store, "a/").await, ["a/1", "a/2", "a/\u{d7ff}", "a/\u{10ffff}"]);
    assert_eq!(keys(store, "a%").await, ["a%b"]);
    assert_eq!(keys(store, "a/\u{d7ff}").await, ["a/\u{d7ff}"]);
    assert_eq!(keys(store, "").await.len(), all.len());
    let after = store.range("a/", Some("a/1"), 1).await.expect("ok");
    assert_eq!(after[0].key, "a/2");
    store.commit(writes(vec![Write::DeletePrefix { prefix: "a/".into() }])).await.expect("ok");
    assert!(keys(store, "a/").await.is_empty());
    assert_eq!(keys(store, "").await.len(), all.len() - 4);
}

#[tokio::test]
async fn a_lease_takes_its_keys_along() {
    let fixture = fixture();
    let store = &fixture.store;
    let lease = store.grant_lease(Duration::from_millis(1000)).await.expect("a lease");
    let owned = Write::Put { key: "owner".into(), value: b"me".to_vec(), lease: Some(lease) };
    store.commit(writes(vec![owned])).await.expect("ok");
    let granted = Instant::now();
    while granted.elapsed() < Duration::from_millis(1300) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(store.keep_alive(lease).await.expect("ok"));
    }
    assert!(store.get("owner").await.expect("ok").is_some(), "kept alive");
    let kept_alive = Instant::now();
    while store.get("owner").await.expect("ok").is_some() {
        assert!(kept_alive.elapsed() < Duration::from_secs(2), "hidden as soon as it ends");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!store.keep_alive(lease).await.expect("ok"), "an ended lease stays ended");
    let absent =
        Transaction { compares: vec![Compare::Modified("owner".into(), 0)], writes: vec![put("owner", "you")] };
    assert!(matches!(store.commit(absent).await.expect("ok"), CommitOutcome::Committed(_)));

    let lease = store.grant_lease(Duration::from_secs(60)).await.expect("a lease");
    let key = Write::Put { key: "k".into(), value: Vec::new(), lease: Some(lease) };
    store.commit(writes(vec![key])).await.expect("ok");
    store.revoke_lease(lease).await.expect("ok");
    assert!(store.get("k").await.expect("ok").is_none());
}

#[tokio::test]
async fn watchers_see_what_other_handles_write() {
    let fixture = fixture();
    let other = SqliteStore::open(fixture.path()).expect("a second handle");
    other.commit(writes(vec![put("w/old", "1")])).await.expect("ok");
    let mut changes = fixture.store.watch("w/", 1).await.expect("changes");
    other.commit(writes(vec![put("w/a", "1"), put("x", "1")])).await.expect("ok");
    other.commit(writes(vec![Write::Delete { key: "w/a".into() }, put("w/b", "1")])).await.expect("ok");
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(key, _)| key != "w/b") {
        let change = tokio::time::timeout(Duration::from_secs(5), changes.next()).await.expect("in time");
        let change = change.expect("a change").expect("ok");
        seen.push((change.key, change.entry.is_some()));
    }
    assert!(seen.contains(&("w/a".to_owned(), false)) && seen.contains(&("w/b".to_owned(), true)), "{seen:?}");
    assert!(!seen.iter().any(|(key, _)| key == "x" || key == "w/old"), "{seen:?}");
}

#[tokio::test]
async fn a_watcher_resumes_between_the_changes_of_one_transaction() {
    let fixture = fixture();
    let store = &fixture.store;
    store.commit(writes(vec![put("w/a", "1"), put("w/b", "1"), put("w/c", "1"), put("x", "1")])).await.expect("ok");
    let again = vec![Write::DeletePrefix { prefix: "w/".into() }, put("w/b", "2"), put("w/d", "2"), put("x", "2")];
    store.commit(writes(again)).await.expect("ok");
    let read = async |after: Position| {
        let mut changes = Box::pin(watch_after(store, "w/", after).await.expect("changes"));
        let mut seen = Vec::new();
        while let Ok(change) = tokio::time::timeout(Duration::from_millis(200), changes.next()).await {
            seen.push(change.expect("no end").expect("a change"));
        }
        seen
    };
    let all = read(Position::after(0)).await;
    let keys: Vec<_> = all.iter().map(|change| (change.key.as_str(), change.entry.is_some())).collect();
    assert_eq!(keys, [("w/a", false), ("w/b", true), ("w/c", false), ("w/d", true)], "a key that is back is there");
    for (index, change) in all.iter().enumerate() {
        assert_eq!(read(Position::after_change(change)).await, all[index + 1..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_update_is_lost_between_handles() {
    let fixture = fixture();
    let handles = [fixture.store.clone(), SqliteStore::open(fixture.path()).expect("a second handle")];
    let tasks = handles.into_iter().map(|store| {
        tokio::spawn(async move {
            for _ in 0..50 {
                loop {
                    let entry = store.get("n").await.expect("ok");
                    let (count, revision) = entry.map_or((0, 0), |entry| {
                        (
                            String::from_utf8(entry.value).expect("text").parse::<u32>().expect("a number"),
                            entry.modified,
                        )
                    });
                    let next = Transaction {
                        compares: vec![Compare::Modified("n".into(), revision)],
                        writes: vec![put("n", &(count + 1).to_string())],
                    };
                    if let CommitOutcome::Committed(_) = store.commit(next).await.expect("ok") {
                        break;
                    }
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("done");
    }
    assert_eq!(fixture.store.get("n").await.expect("ok").expect("n").value, b"100");
}

fn open_error(path: &Path) -> String {
    match SqliteStore::open(path) {
        Err(StoreError::Unusable { message }) => message,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("opened {}", path.display()),
    }
}

#[tokio::test]
async fn foreign_newer_and_broken_files_are_refused_unharmed() {
    let fixture = fixture();
    let garbage = fixture.directory.path().join("garbage");
    std::fs::write(&garbage, "this is no database, and it is long enough to be read as one".repeat(30))
        .expect("written");
    assert!(open_error(&garbage).contains("not a database"));

    fixture.store.commit(writes(vec![put("a", "1")])).await.expect("ok");
    let connection = rusqlite::Connection::open(fixture.path()).expect("opened");
    connection.pragma_update(None, "user_version", 999).expect("set");
    assert!(open_error(&fixture.path()).contains("newer"));
    let kept: String = connection.query_row("SELECT key FROM entry", [], |row| row.get(0)).expect("still there");
    assert_eq!(kept, "a");

    let foreign = fixture.directory.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).and_then(|c| c.execute_batch("CREATE TABLE t (x)")).expect("made");
    assert!(open_error(&foreign).contains("another program"));
}

#[tokio::test]
async fn a_full_disk_writes_nothing() {
    let fixture = fixture();
    fixture.store.commit(writes(vec![put("a", "1")])).await.expect("ok");
    let Some(disk) = small_disk(&fixture, 256) else { return };
    let store = SqliteStore::open(disk.join("state.db")).expect("a store");
    store.commit(writes(vec![put("a", "1")])).await.expect("ok");
    let error = store.commit(writes(vec![put("a", "2"), put("big", &"x".repeat(1 << 20))])).await.expect_err("full");
    assert!(matches!(&error, StoreError::Unavailable { message } if message.contains("full")), "{error:?}");
    assert_eq!(store.get("a").await.expect("ok").expect("a").value, b"1");
    store.commit(writes(vec![put("b", "2")])).await.expect("small ones still fit");
    drop(store);
    std::process::Command::new("umount").arg("-l").arg(&disk).status().expect("unmounted");
}

/// Mounts a small disk; `None` without the permission.
fn small_disk(fixture: &Fixture, kibibytes: u32) -> Option<PathBuf> {
    let disk = fixture.directory.path().join("disk");
    std::fs::create_dir(&disk).expect("a directory");
    let size = format!("size={kibibytes}k");
    let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&disk).status();
    if mounted.is_ok_and(|status| status.success()) {
        return Some(disk);
    }
    eprintln!("skipped: may not mount");
    None
}

#[tokio::test]
async fn a_journal_without_room_to_grow_is_worked_in_and_writes_go_on() {
    let fixture = fixture();
    // Less than the journal's size at which SQLite moves it into the file by itself.
    let Some(disk) = small_disk(&fixture, 2048) else { return };
    let store = SqliteStore::open(disk.join("state.db")).expect("a store");
    for number in 0..600 {
        // The same few entries again and again: the file stays small, and the journal grows.
        let written = store.commit(writes(vec![put(&format!("k{}", number % 5), &"x".repeat(4000))])).await;
        assert!(matches!(written, Ok(CommitOutcome::Committed(_))), "write {number}: {written:?}");
    }
    drop(store);
    std::process::Command::new("umount").arg("-l").arg(&disk).status().expect("unmounted");
}

/// Opens a connection that holds the write lock.
fn lock_for_writing(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).expect("opened");
    connection.execute_batch("BEGIN IMMEDIATE").expect("begun");
    connection
}

#[tokio::test]
async fn who_writes_for_long_is_waited_for() {
    let fixture = fixture();
    fixture.store.commit(writes(vec![put("a", "1")])).await.expect("ok");
    let blocker = lock_for_writing(&fixture.path());
    let waiting = fixture.store.commit(writes(vec![put("a", "2")]));
    let freed = async {
        // Longer than SQLite's own time-out.
        tokio::time::sleep(Duration::from_secs(12)).await;
        drop(blocker);
    };
    let (written, ()) = tokio::join!(waiting, freed);
    assert!(matches!(written, Ok(CommitOutcome::Committed(2))), "{written:?}");
}

#[tokio::test]
async fn other_programs_files_and_odd_versions_are_refused_in_words_and_left_as_they_are() {
    let fixture = fixture();
    let foreign = fixture.directory.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).and_then(|c| c.execute_batch("CREATE TABLE t (x)")).expect("made");
    let before = std::fs::read(&foreign).expect("read");
    assert!(open_error(&foreign).contains("another program"));
    assert_eq!(std::fs::read(&foreign).expect("read"), before);

    fixture.store.commit(writes(vec![put("a", "1")])).await.expect("ok");
    let connection = rusqlite::Connection::open(fixture.path()).expect("opened");
    for version in [0, -1, i64::from(i32::MIN)] {
        connection.pragma_update(None, "user_version", version).expect("set");
        let message = open_error(&fixture.path());
        assert!(message.contains(&format!("number {version}")) && message.contains("damaged"), "{message}");
    }
    connection.pragma_update(None, "user_version", 1).expect("set");
    assert!(SqliteStore::open(fixture.path()).is_ok());
}

/// Fills a store, so that it has pages to be damaged.
async fn filled(store: &SqliteStore, entries: u32) {
    for page in 0..entries / 100 {
        let all = (0..100).map(|number| put(&format!("n/{page:05}/{number}"), &"x".repeat(200)));
        store.commit(writes(all.collect())).await.expect("ok");
    }
}

#[tokio::test]
async fn after_an_interruption_damage_is_found_told_and_not_written_to() {
    let fixture = fixture();
    let path = fixture.path();
    filled(&fixture.store, 2000).await;
    rusqlite::Connection::open(&path).and_then(|c| c.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")).expect("done");
    let report = occopus_store::check(&path).expect("checked");
    assert_eq!((report.entries, report.problems), (2000, Vec::new()));
    let Fixture { directory, store } = fixture;
    // A clean store is not checked.
    store.quiesce();
    drop(store);
    let users = path.with_file_name("state.db-users");
    assert_eq!(std::fs::read(&users).expect("a file"), b"");
    let mut bytes = std::fs::read(&path).expect("read");
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 30].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&path, &bytes).expect("written");
    assert!(!occopus_store::check(&path).expect("checked").problems.is_empty());
    // As a killed process leaves it.
    std::fs::write(&users, b"written\n").expect("written");
    for _ in 0..2 {
        let store = SqliteStore::open(&path).expect("it can be read");
        let damage = store.damage().expect("it is damaged").to_string();
        assert!(damage.contains("damaged") && damage.contains("occopus store check"), "{damage}");
        assert!(store.get("n/00000/0").await.is_ok(), "what is whole can be read");
        let result = store.commit(writes(vec![put("a", "1")])).await;
        assert!(matches!(&result, Err(StoreError::Unusable { message }) if *message == damage), "{result:?}");
        assert!(store.grant_lease(Duration::from_secs(1)).await.is_err());
        assert!(occopus_store::compact(&path).is_err());
    }
    drop(directory);
}

#[tokio::test]
async fn after_an_interruption_a_row_that_an_index_lacks_is_found() {
    let fixture = fixture();
    let path = fixture.path();
    filled(&fixture.store, 2000).await;
    rusqlite::Connection::open(&path).and_then(|c| c.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")).expect("done");
    let Fixture { directory, store } = fixture;
    store.quiesce();
    drop(store);
    let mut bytes = std::fs::read(&path).expect("read");
    // Another key, in the same order, in the table or in the index.
    let (key, other) = (b"n/00010/50", b"n/00010/5/");
    let at = bytes.windows(key.len()).position(|found| found == key).expect("a key");
    bytes[at..at + key.len()].copy_from_slice(other);
    std::fs::write(&path, &bytes).expect("written");
    std::fs::write(path.with_file_name("state.db-users"), b"written\n").expect("written");
    let damage = SqliteStore::open(&path).expect("it can be read").damage().expect("it is damaged").to_string();
    assert!(damage.contains("missing from index"), "{damage}");
    drop(directory);
}

#[tokio::test]
async fn the_file_shrinks_when_much_is_removed() {
    let fixture = fixture();
    let size = || std::fs::metadata(fixture.path()).expect("a file").len();
    filled(&fixture.store, 40_000).await;
    fixture.store.commit(writes(vec![Write::DeletePrefix { prefix: "n/".into() }, put("k", "1")])).await.expect("ok");
    let checkpoint = || {
        let connection = rusqlite::Connection::open(fixture.path()).expect("opened");
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("done");
    };
    checkpoint();
    let large = size();
    assert!(large > 8 << 20, "{large}");
    let removed = Instant::now();
    while size() >= large - (1 << 20) {
        assert!(removed.elapsed() < Duration::from_secs(20), "{} of {large}", size());
        tokio::time::sleep(Duration::from_millis(200)).await;
        checkpoint();
    }
    drop(occopus_store::compact(&fixture.path()));
    checkpoint();
    assert_eq!(fixture.store.get("k").await.expect("ok").expect("k").value, b"1");
}

/// Process that the next test kills; not a test by itself. Prints each number once its commit has been acknowledged.
#[tokio::test]
async fn writer_to_be_killed() {
    let Ok(path) = std::env::var("OCCOPUS_TEST_STORE") else { return };
    let store = SqliteStore::open(path).expect("a store");
    for number in 0.. {
        store.commit(writes(vec![put(&format!("n/{number:09}"), "x")])).await.expect("ok");
        println!("acknowledged {number}");
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    use std::io::{BufRead, BufReader};
    let fixture = fixture();
    for _ in 0..3 {
        let mut child = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["writer_to_be_killed", "--exact", "--nocapture"])
            .env("OCCOPUS_TEST_STORE", fixture.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut last = None;
        for line in lines.by_ref().map_while(Result::ok) {
            last = line.split("acknowledged ").nth(1).and_then(|number| number.parse::<usize>().ok()).or(last);
            if last.is_some_and(|last| last >= 40) {
                break;
            }
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        let acknowledged = last.expect("some commits") + 1;
        let kept = fixture.store.range("n/", None, usize::MAX).await.expect("ok").len();
        assert!(kept >= acknowledged, "{kept} of {acknowledged}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(String, u8),
    Delete(String),
    DeletePrefix(String),
    CompareAndPut(String, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = "[ab/]{1,3}";
    proptest::collection::vec(
        prop_oneof![
            (key, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
            key.prop_map(Step::Delete),
            key.prop_map(Step::DeletePrefix),
            (key, any::<bool>()).prop_map(|(key, right)| Step::CompareAndPut(key, right)),
        ],
        1..30,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn behaves_like_a_map(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        runtime.block_on(async {
            let fixture = fixture();
            let mut model: BTreeMap<String, (Vec<u8>, u64)> = BTreeMap::new();
            let mut revision = 0;
            for step in steps {
                let mut transaction = Transaction::default();
                let mut holds = true;
                match step {
                    Step::Put(key, value) => {
                        transaction.writes.push(Write::Put { key: key.clone(), value: vec![value], lease: None });
                        model.insert(key, (vec![value], revision + 1));
                    }
                    Step::Delete(key) => {
                        model.remove(&key);
                        transaction.writes.push(Write::Delete { key });
                    }
                    Step::DeletePrefix(prefix) => {
                        model.retain(|key, _| !key.starts_with(&prefix));
                        transaction.writes.push(Write::DeletePrefix { prefix });
                    }
                    Step::CompareAndPut(key, right) => {
                        let actual = model.get(&key).map_or(0, |(_, modified)| *modified);
                        holds = right;
                        let wanted = if right { actual } else { actual + 1 };
                        transaction.compares.push(Compare::Modified(key.clone(), wanted));
                        transaction.writes.push(Write::Put { key: key.clone(), value: vec![7], lease: None });
                        if right {
                            model.insert(key, (vec![7], revision + 1));
                        }
                    }
                }
                let committed = fixture.store.commit(transaction).await.expect("ok");
                assert_eq!(committed, if holds { CommitOutcome::Committed(revision + 1) } else { CommitOutcome::Conflict });
                revision += u64::from(holds);
            }
            let stored = fixture.store.range("", None, usize::MAX).await.expect("ok");
            let stored: Vec<_> = stored.into_iter().map(|entry| (entry.key, (entry.value, entry.modified))).collect();
            assert_eq!(stored, model.into_iter().collect::<Vec<_>>());
        });
    }
}
