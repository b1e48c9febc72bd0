//! Watches: streams of the changes after a revision. Writes of this process notify them; for those of other processes,
//! the revision in the file is polled.

use std::collections::VecDeque;
use std::time::Duration;

use futures::stream;
use occopus_engine::ports::{Change, Changes, Revision, StoreError};
use rusqlite::{Connection, params};

use crate::read::{RangeEnd, entry, revision, unsigned};
use crate::sqlite::SqliteStore;

/// Time between two polls of the file.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

struct Watcher {
    store: SqliteStore,
    prefix: String,
    seen: Revision,
    ready: VecDeque<Change>,
}

pub(crate) fn changes(store: SqliteStore, prefix: String, after: Revision) -> Changes {
    let watcher = Watcher { store, prefix, seen: after, ready: VecDeque::new() };
    Box::pin(stream::unfold(watcher, |mut watcher| async {
        let next = watcher.next().await;
        Some((next, watcher))
    }))
}

impl Watcher {
    async fn next(&mut self) -> Result<Change, StoreError> {
        let mut written = self.store.write_notifications();
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(change);
            }
            let (prefix, seen) = (self.prefix.clone(), self.seen);
            let (newest, changes) = self.store.read(move |connection| changes_since(connection, &prefix, seen)).await?;
            self.seen = newest;
            self.ready = changes.into();
            if self.ready.is_empty() {
                // An error means that the writer has ended; other processes may go on.
                let _ = tokio::time::timeout(POLL_INTERVAL, written.changed()).await;
            }
        }
    }
}

/// Returns the newest revision, and the changes after `seen` up to it, in the order of the revisions.
pub(crate) fn changes_since(
    connection: &Connection,
    prefix: &str,
    seen: Revision,
) -> rusqlite::Result<(Revision, Vec<Change>)> {
    let transaction = connection.unchecked_transaction()?;
    let newest = revision(&transaction)?;
    if newest == seen {
        return Ok((newest, Vec::new()));
    }
    let end = RangeEnd::of_prefix(prefix);
    let written = |row: &rusqlite::Row<'_>| {
        let entry = entry(row)?;
        Ok(Change { revision: entry.modified, key: entry.key.clone(), entry: Some(entry) })
    };
    // Without the hint, SQLite would scan all keys with the prefix: the whole store, for a watch of everything.
    let mut changes = transaction
        .prepare_cached(
            "SELECT key, value, created, modified FROM entry INDEXED BY entry_by_revision
             WHERE modified > ?1 AND key >= ?2 AND key < ?3",
        )?
        .query_map(params![seen.cast_signed(), prefix, end], written)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let removed = |row: &rusqlite::Row<'_>| Ok(Change { revision: unsigned(row, 0)?, key: row.get(1)?, entry: None });
    let removals = transaction
        .prepare_cached("SELECT revision, key FROM removed WHERE revision > ?1 AND key >= ?2 AND key < ?3")?
        .query_map(params![seen.cast_signed(), prefix, end], removed)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    changes.extend(removals);
    changes.sort_by(|a, b| (a.revision, &a.key).cmp(&(b.revision, &b.key)));
    // A key that one transaction removed and wrote again is there.
    changes.dedup_by(|b, a| (a.revision, &a.key) == (b.revision, &b.key));
    Ok((newest, changes))
}
