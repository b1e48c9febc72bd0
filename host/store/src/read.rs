//! Reading entries. An entry whose lease has ended is not there, even before a write removes it.

use occopus_engine::ports::{Entry, Revision};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::lease::now;

const ALIVE: &str = "(entry.lease IS NULL OR EXISTS (
    SELECT 1 FROM lease WHERE lease.id = entry.lease AND lease.expires > ?1))";

pub(crate) fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry { key: row.get(0)?, value: row.get(1)?, created: number(row, 2)?, modified: number(row, 3)? })
}

/// SQLite's integers are signed; ours never go below zero.
pub(crate) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}

pub(crate) fn get(connection: &Connection, key: &str) -> rusqlite::Result<Option<Entry>> {
    connection
        .prepare_cached(&format!("SELECT key, value, created, modified FROM entry WHERE key = ?2 AND {ALIVE}"))?
        .query_row(params![now(), key], entry)
        .optional()
}

pub(crate) fn range(
    connection: &Connection,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<Entry>> {
    // Keys are compared by their bytes, as UTF-8 text is in SQLite by default; `after` may lie before the prefix.
    let from = after.unwrap_or("").max(prefix);
    let strictly = after.is_some_and(|after| after >= prefix);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let end = end_of(prefix);
    connection
        .prepare_cached(&format!(
            "SELECT key, value, created, modified FROM entry
             WHERE key >= ?2 AND (NOT ?3 OR key > ?2) AND (?4 IS NULL OR key < ?4) AND {ALIVE}
             ORDER BY key LIMIT ?5"
        ))?
        .query_map(params![now(), from, strictly, end, limit], entry)?
        .collect()
}

pub(crate) fn revision(connection: &Connection) -> rusqlite::Result<Revision> {
    connection.prepare_cached("SELECT revision FROM counter")?.query_row([], |row| number(row, 0))
}

/// The least text that is greater than all that start with this; none when there is no such.
pub(crate) fn end_of(prefix: &str) -> Option<String> {
    let mut end: Vec<char> = prefix.chars().collect();
    while let Some(last) = end.pop() {
        // The next scalar value; surrogates are no characters.
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            end.push(next);
            return Some(end.into_iter().collect());
        }
    }
    None
}
