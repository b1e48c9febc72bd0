//! Opening the file: who may read it, whose it is, and of which version.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use occopus_engine::ports::StoreError;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use url::Url;

/// Marks a SQLite file as ours: "occo".
const APPLICATION_ID: i32 = 0x6f63_636f;

/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(10);

/// What brings a store from one version to the next. Append only; the version is the number of steps done.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE entry (
        key TEXT PRIMARY KEY,
        value BLOB NOT NULL,
        created INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        lease INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX entry_by_revision ON entry (modified);
    CREATE INDEX entry_by_lease ON entry (lease) WHERE lease IS NOT NULL;
    -- What was removed, for watchers; pruned to the newest ones.
    CREATE TABLE removed (revision INTEGER NOT NULL, key TEXT NOT NULL, PRIMARY KEY (revision, key)) STRICT, WITHOUT ROWID;
    -- Times in milliseconds since 1970.
    CREATE TABLE lease (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        ttl INTEGER NOT NULL,
        renewed INTEGER NOT NULL,
        expires INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE counter (revision INTEGER NOT NULL) STRICT;
    INSERT INTO counter VALUES (0);
"];

/// A connection to the store in this file; makes it when there is none.
pub(crate) fn open(path: &Path) -> Result<Connection, StoreError> {
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(|error| unavailable(path, &format!("its directory can't be made: {error}")))?;
    }
    // SQLite would make the file readable by others, and its companions take over the file's mode.
    match OpenOptions::new().create(true).append(true).mode(0o600).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem && path.is_file() => return open_read_only(path),
        Err(error) => return Err(unavailable(path, &format!("it can't be opened for writing: {error}"))),
    }
    let mut connection = Connection::open(path).map_err(|error| explain(path, &error))?;
    prepare(&mut connection).map_err(|error| explain(path, &error))?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Nobody can write to it, so it may be read without locks. What a process that died had not yet moved from the journal into
/// the file can't be seen this way.
fn open_read_only(path: &Path) -> Result<Connection, StoreError> {
    let mut journal = path.as_os_str().to_owned();
    journal.push("-wal");
    if std::fs::metadata(journal).is_ok_and(|journal| journal.len() > 0) {
        return Err(unavailable(path, "its disk is read-only, and it has a journal that must be worked in first"));
    }
    let url = Url::from_file_path(path).map(|url| format!("{url}?immutable=1"));
    let url = url.map_err(|()| unavailable(path, "its disk is read-only, and its path is not absolute"))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(url, flags).map_err(|error| explain(path, &error))?;
    let found = version(&connection).map_err(|error| explain(path, &error))?;
    if found == (APPLICATION_ID, MIGRATIONS.len()) {
        Ok(connection)
    } else {
        Err(unavailable(path, "its disk is read-only, and it is not of this version of Occopus"))
    }
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let sql = |error: rusqlite::Error| explain(path, &error);
    if version(connection).map_err(sql)? == (APPLICATION_ID, MIGRATIONS.len()) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    let (application, done) = version(&transaction).map_err(sql)?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sql)?;
    if application != APPLICATION_ID && (tables > 0 || done > 0) {
        return Err(unusable(path, "it is a database of another program. Name another file"));
    }
    let Some(missing) = MIGRATIONS.get(done..) else {
        return Err(unusable(
            path,
            &format!(
                "it was written by a newer version of Occopus (format {done}; this program knows up to {}). \
                 Use that version, or name another file",
                MIGRATIONS.len()
            ),
        ));
    };
    for step in missing {
        transaction.execute_batch(step).map_err(sql)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(sql)?;
    transaction
        .pragma_update(None, "user_version", i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX))
        .map_err(sql)?;
    transaction.commit().map_err(sql)
}

fn version(connection: &Connection) -> rusqlite::Result<(i32, usize)> {
    let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let done: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok((application, done as usize))
}

fn unavailable(path: &Path, why: &str) -> StoreError {
    StoreError::Unavailable { message: format!("the store {} can't be used: {why}", path.display()) }
}

fn unusable(path: &Path, why: &str) -> StoreError {
    StoreError::Unusable { message: format!("the store {} can't be used: {why}", path.display()) }
}

/// SQLite's errors in words of what to do.
pub(crate) fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => unusable(path, "it is not a database. Move it away, or name another file"),
        Some(ErrorCode::DatabaseCorrupt) => unusable(path, "it is damaged. Restore it from a backup"),
        Some(ErrorCode::DiskFull) => {
            unavailable(path, "the disk is full. Nothing was written; make room and try again")
        }
        // A disk without room for the journal's index is told like a broken one.
        Some(ErrorCode::SystemIoFailure) => {
            let message = format!("reading or writing failed ({error}). Is the disk full, or broken?");
            unavailable(path, &message)
        }
        Some(ErrorCode::ReadOnly) => unavailable(path, "it is read-only. Nothing was written"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            unavailable(path, "other processes kept it busy for too long. Nothing was written; try again")
        }
        _ => unavailable(path, &error.to_string()),
    }
}
