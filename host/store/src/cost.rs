//! Tests of the cost of each access, counted in steps of SQLite's virtual machine: it may not grow with unrelated
//! entries. They find a range without an end, or a statement without an index.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use occopus_engine::ports::{Transaction, Write};
use rusqlite::Connection;

use crate::{lease, read, watch, write};

/// Unrelated entries, before and after those that are accessed, and as many that were removed.
const FEW_ENTRIES: u64 = 20;
const MANY_ENTRIES: u64 = 4000;

fn put(key: String) -> Write {
    Write::Put { key, value: b"{}".to_vec(), lease: None }
}

/// Creates a store with a small infrastructure amid `others` entries, and as many that were removed.
fn store(others: u64) -> (tempfile::TempDir, Connection, u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let connection = crate::open::open(&directory.path().join("state.db")).expect("a store");
    let apply = |writes: Vec<Write>| {
        let transaction = Transaction { compares: Vec::new(), writes };
        write::apply(&connection, &transaction).expect("written");
    };
    connection.execute_batch("BEGIN").expect("begun");
    for number in 0..others {
        let keys = ["a", "m/owned/event", "z"].map(|start| format!("{start}/{number:020}"));
        apply(keys.clone().map(put).into());
        apply(vec![put(format!("b/{number}"))]);
        apply(vec![Write::Delete { key: format!("b/{number}") }]);
    }
    for number in 0..5 {
        apply(vec![put(format!("m/owned/instance/{number}"))]);
        let lease = lease::grant(&connection, Duration::from_secs(600)).expect("a lease");
        apply(vec![Write::Put { key: format!("m/owned/owner{number}"), value: Vec::new(), lease: Some(lease) }]);
    }
    connection.execute_batch("COMMIT").expect("committed");
    let revision = read::revision(&connection).expect("a revision");
    (directory, connection, revision)
}

fn count_steps(connection: &mut Connection, work: impl FnOnce(&Connection)) -> u64 {
    let count = Arc::new(AtomicU64::new(0));
    let counting = count.clone();
    let each = move || {
        counting.fetch_add(1, Ordering::Relaxed);
        false
    };
    connection.progress_handler(1, Some(each)).expect("counted");
    work(connection);
    connection.progress_handler(1, None::<fn() -> bool>).expect("not counted");
    count.load(Ordering::Relaxed)
}

#[test]
fn nothing_costs_more_with_what_it_is_not_about() {
    type Access = fn(&Connection, u64);
    let accesses: [(&str, Access); 10] = [
        ("get", |store, _| drop(read::get(store, "m/owned/instance/1"))),
        ("range", |store, _| assert_eq!(read::range(store, "m/owned/instance/", None, 1000).expect("read").len(), 5)),
        ("range of nothing", |store, _| {
            assert!(read::range(store, "m/owned/request/", None, 1000).expect("read").is_empty())
        }),
        ("range after a key", |store, _| {
            let after = Some("m/owned/instance/2");
            assert_eq!(read::range(store, "m/owned/instance/", after, 1000).expect("read").len(), 2);
        }),
        ("first of all", |store, _| assert_eq!(read::range(store, "", None, 1).expect("read").len(), 1)),
        ("changes of all", |store, newest| {
            assert_eq!(watch::changes_since(store, "", newest - 2).expect("read").1.len(), 2)
        }),
        ("changes of some", |store, newest| {
            assert!(watch::changes_since(store, "service/", newest - 2).expect("read").1.is_empty())
        }),
        ("purge", |store, _| write::purge(store).expect("purged")),
        ("put", |store, _| {
            let transaction = Transaction { compares: Vec::new(), writes: vec![put("m/owned/head".into())] };
            write::apply(store, &transaction).expect("written");
        }),
        ("delete", |store, _| {
            let prefix = "m/owned/instance/".to_owned();
            let writes = vec![Write::Delete { key: "m/owned/head".into() }, Write::DeletePrefix { prefix }];
            write::apply(store, &Transaction { compares: Vec::new(), writes }).expect("written");
        }),
    ];
    let ((_here, mut small, early), (_there, mut large, late)) = (store(FEW_ENTRIES), store(MANY_ENTRIES));
    for (what, access) in accesses {
        // The first call prepares the statements, which is counted, too.
        let (few, many) = (
            count_steps(&mut small, |store| access(store, early)),
            count_steps(&mut large, |store| access(store, late)),
        );
        assert!(many <= few + few / 10, "{what} takes {few} steps with few others, and {many} with many");
    }
}
