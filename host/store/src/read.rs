//! Reading of entries. An entry whose lease has ended is not returned, even before a write removes it.

use occopus_engine::ports::{Entry, Revision};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use crate::lease::now;

const LIVE_ENTRY_CONDITION: &str = "(entry.lease IS NULL OR EXISTS (
    SELECT 1 FROM lease WHERE lease.id = entry.lease AND lease.expires > ?1))";

/// Upper end of a range of keys. It is bound in every statement, even if unbounded: SQLite limits the scan of an index
/// only by a condition of the plain form `key < ?`, and scans to the end of the table otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RangeEnd {
    /// All keys before this text.
    Before(String),
    /// All keys.
    Unbounded,
}

impl RangeEnd {
    /// Returns the end of all keys that start with `prefix`.
    pub(crate) fn of_prefix(prefix: &str) -> Self {
        let mut end: Vec<char> = prefix.chars().collect();
        while let Some(last) = end.pop() {
            // The next scalar value; surrogates are not characters.
            let next = match last {
                '\u{d7ff}' => Some('\u{e000}'),
                other => char::from_u32(u32::from(other) + 1),
            };
            if let Some(next) = next {
                end.push(next);
                return Self::Before(end.into_iter().collect());
            }
        }
        Self::Unbounded
    }
}

impl ToSql for RangeEnd {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Before(text) => ValueRef::Text(text.as_bytes()),
            // SQLite orders every BLOB after every text.
            Self::Unbounded => ValueRef::Blob(&[]),
        }))
    }
}

pub(crate) fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry { key: row.get(0)?, value: row.get(1)?, created: unsigned(row, 2)?, modified: unsigned(row, 3)? })
}

/// Reads an unsigned integer. SQLite's integers are signed; ours are never negative.
pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}

pub(crate) fn get(connection: &Connection, key: &str) -> rusqlite::Result<Option<Entry>> {
    connection
        .prepare_cached(&format!(
            "SELECT key, value, created, modified FROM entry WHERE key = ?2 AND {LIVE_ENTRY_CONDITION}"
        ))?
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
    let from = match after {
        // No text lies between `after` and this.
        Some(after) if after >= prefix => format!("{after}\0"),
        _ => prefix.to_owned(),
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached(&format!(
            "SELECT key, value, created, modified FROM entry
             WHERE key >= ?2 AND key < ?3 AND {LIVE_ENTRY_CONDITION} ORDER BY key LIMIT ?4"
        ))?
        .query_map(params![now(), from, RangeEnd::of_prefix(prefix), limit], entry)?
        .collect()
}

pub(crate) fn revision(connection: &Connection) -> rusqlite::Result<Revision> {
    connection.prepare_cached("SELECT revision FROM counter")?.query_row([], |row| unsigned(row, 0))
}
