//! Checks for damage, as far as SQLite itself can find it. A changed value that leaves the structure intact is not
//! detected.

use std::path::Path;

use occopus_engine::ports::StoreError;
use rusqlite::{Connection, OpenFlags};

use crate::open::{identify, store_error, unavailable};

/// Maximum problems that are reported of one file.
const MAX_REPORTED_PROBLEMS: usize = 20;

/// Result of the check of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// Number of entries that can be read.
    pub entries: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Bytes of it that are free, and are used for later writes.
    pub free_bytes: u64,
    /// Problems in SQLite's words; empty if there are none.
    pub problems: Vec<String>,
}

/// Checks the whole store in this file. Blocks; takes time in proportion to its size, and changes nothing.
///
/// # Errors
/// Returns [`StoreError::Unusable`] for a file that is not a store, or one of a newer version;
/// [`StoreError::Unavailable`] if there is no file, or it can't be read.
pub fn check(path: &Path) -> Result<CheckReport, StoreError> {
    let connection = open_for_check(path)?;
    let sql = |error: rusqlite::Error| store_error(path, &error);
    let problems = run_check(&connection, "integrity_check").map_err(sql)?;
    let count = connection.query_row("SELECT count(*) FROM entry", [], |row| row.get::<_, i64>(0));
    let entries = match count {
        Ok(count) => count.unsigned_abs(),
        Err(_) if !problems.is_empty() => 0,
        Err(error) => return Err(sql(error)),
    };
    let figure = |name| pragma(&connection, name).map_err(sql);
    let (pages, size, free) = (figure("page_count")?, figure("page_size")?, figure("freelist_count")?);
    Ok(CheckReport { entries, bytes: pages * size, free_bytes: free * size, problems })
}

/// Rewrites the store without its free pages, so that the file shrinks, and shrinks by itself from then on. Blocks
/// until nobody writes. Needs as much room again meanwhile.
///
/// # Errors
/// Fails like [`check`]. Returns [`StoreError::Unusable`] if the store is damaged, and [`StoreError::Unavailable`] if
/// the disk is full or other processes keep it busy.
pub fn compact(path: &Path) -> Result<(), StoreError> {
    drop(open_for_check(path)?);
    let connection = crate::open::open(path)?;
    // Damaged content would be copied as it is.
    if let Some(damage) = find_damage(&connection).map_err(|error| store_error(path, &error))? {
        return Err(crate::open::damaged(path, &damage));
    }
    connection
        .execute_batch("PRAGMA auto_vacuum = incremental; VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
        .map_err(|error| store_error(path, &error))
}

/// Returns the first problem of a store, if it has any; cheaper than [`check`]. In a large one, indices are not
/// compared with tables.
pub(crate) fn find_damage(connection: &Connection) -> rusqlite::Result<Option<String>> {
    /// Maximum pages (100 MiB) of a full check, which takes about a second.
    const FULL_CHECK_MAX_PAGES: u64 = 25_600;
    let check =
        if pragma(connection, "page_count")? <= FULL_CHECK_MAX_PAGES { "integrity_check" } else { "quick_check" };
    Ok(run_check(connection, check)?.into_iter().next())
}

fn open_for_check(path: &Path) -> Result<Connection, StoreError> {
    if !path.is_file() {
        return Err(unavailable(path, "there is no such file"));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| store_error(path, &error))?;
    connection.busy_timeout(crate::open::BUSY_TIMEOUT).map_err(|error| store_error(path, &error))?;
    identify(&connection, path)?;
    Ok(connection)
}

/// Runs one of SQLite's checks and returns the problems. One that fails on corrupt content has found a problem, too.
fn run_check(connection: &Connection, check: &str) -> rusqlite::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut collect = || -> rusqlite::Result<()> {
        let mut statement = connection.prepare(&format!("PRAGMA {check}({MAX_REPORTED_PROBLEMS})"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            found.push(row.get::<_, String>(0)?);
        }
        Ok(())
    };
    match collect() {
        Err(error) if crate::open::is_corruption(&error) => found.push(error.to_string()),
        outcome => outcome?,
    }
    found.retain(|line| line != "ok");
    Ok(found)
}

pub(crate) fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}
