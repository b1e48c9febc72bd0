//! Transactions of the engine on one connection, inside a transaction of SQLite that the caller began.

use occopus_engine::ports::{CommitOutcome, Compare, LeaseId, Revision, Transaction, Write};
use rusqlite::{Connection, params};

use crate::lease;
use crate::read::{self, RangeEnd};

/// Revisions whose removals are kept for watchers. A watcher that lags behind by more misses some; it finds the entries
/// absent when it reads.
const MAX_KEPT_REMOVALS: u64 = 100_000;

/// Compares and writes; returns [`CommitOutcome::Conflict`] without writing if a comparison fails.
pub(crate) fn apply(connection: &Connection, transaction: &Transaction) -> rusqlite::Result<CommitOutcome> {
    for compare in &transaction.compares {
        let Compare::Modified(key, expected) = compare;
        let actual = read::get(connection, key)?.map_or(0, |entry| entry.modified);
        if actual != *expected {
            return Ok(CommitOutcome::Conflict);
        }
    }
    if transaction.writes.is_empty() {
        return Ok(CommitOutcome::Committed(read::revision(connection)?));
    }
    let revision = next_revision(connection)?;
    for write in &transaction.writes {
        match write {
            Write::Put { key, value, lease } => put(connection, revision, key, value, *lease)?,
            Write::Delete { key } => remove(connection, revision, key)?,
            Write::DeletePrefix { prefix } => remove_all(connection, revision, prefix)?,
        }
    }
    Ok(CommitOutcome::Committed(revision))
}

/// Removes the entries of leases that have ended.
pub(crate) fn purge(connection: &Connection) -> rusqlite::Result<()> {
    let expired = lease::purge(connection)?;
    if !expired.is_empty() {
        let revision = next_revision(connection)?;
        for key in expired {
            remove(connection, revision, &key)?;
        }
    }
    Ok(())
}

fn next_revision(connection: &Connection) -> rusqlite::Result<Revision> {
    connection
        .prepare_cached("UPDATE counter SET revision = revision + 1 RETURNING revision")?
        .query_row([], |row| read::unsigned(row, 0))
}

fn put(
    connection: &Connection,
    revision: Revision,
    key: &str,
    value: &[u8],
    lease: Option<LeaseId>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO entry (key, value, created, modified, lease) VALUES (?1, ?2, ?3, ?3, ?4)
             ON CONFLICT (key) DO UPDATE SET value = ?2, modified = ?3, lease = ?4",
        )?
        .execute(params![key, value, revision.cast_signed(), lease.map(u64::cast_signed)])?;
    Ok(())
}

fn remove(connection: &Connection, revision: Revision, key: &str) -> rusqlite::Result<()> {
    if connection.prepare_cached("DELETE FROM entry WHERE key = ?1")?.execute([key])? > 0 {
        record_removal(connection, revision, key)?;
    }
    Ok(())
}

fn remove_all(connection: &Connection, revision: Revision, prefix: &str) -> rusqlite::Result<()> {
    let end = RangeEnd::of_prefix(prefix);
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO removed (revision, key) SELECT ?3, key FROM entry WHERE key >= ?1 AND key < ?2",
        )?
        .execute(params![prefix, end, revision.cast_signed()])?;
    connection.prepare_cached("DELETE FROM entry WHERE key >= ?1 AND key < ?2")?.execute(params![prefix, end])?;
    prune_removals(connection, revision)
}

fn record_removal(connection: &Connection, revision: Revision, key: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO removed (revision, key) VALUES (?1, ?2)")?
        .execute(params![revision.cast_signed(), key])?;
    prune_removals(connection, revision)
}

/// Forgets the removals of old revisions. Cheap if there are none.
fn prune_removals(connection: &Connection, revision: Revision) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM removed WHERE revision < ?1")?
        .execute([revision.saturating_sub(MAX_KEPT_REMOVALS).cast_signed()])?;
    Ok(())
}
