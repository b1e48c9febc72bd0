//! Opening the file: who may read it, whose it is, and of which version.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use occopus_engine::ports::StoreError;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use url::Url;

/// Marks a SQLite file as ours: "occo".
const APPLICATION_ID: i32 = 0x6f63_636f;

/// How long SQLite waits by itself for another process that writes.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long it is tried again after that: a process that was stopped in the middle of a write keeps all others waiting.
const BUSY_RETRY_LIMIT: Duration = Duration::from_secs(30);
const BUSY_RETRY_INTERVAL: Duration = Duration::from_millis(20);

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
    let sql = |error: rusqlite::Error| store_error(path, &error);
    let mut connection = Connection::open(path).map_err(sql)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sql)?;
    // Before anything is changed in it: it may be another program's.
    identify(&connection, path)?;
    retry_while_busy(|| prepare(&connection)).map_err(sql)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Tries again for a while what other processes keep from being done. Nothing was done when it says so.
pub(crate) fn retry_while_busy<T>(mut work: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let begun = Instant::now();
    loop {
        match work() {
            Err(error) if is_busy(&error) && begun.elapsed() < BUSY_RETRY_LIMIT => {
                std::thread::sleep(BUSY_RETRY_INTERVAL)
            }
            done => return done,
        }
    }
}

/// Whether other processes were in the way.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed))
}

/// Whether there was no room on the disk. One without room for the journal's index is told like a broken one.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
}

/// Whether what was read is not what SQLite writes.
pub(crate) fn is_corruption(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
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
    let connection = Connection::open_with_flags(url, flags).map_err(|error| store_error(path, &error))?;
    match identify(&connection, path)? {
        FileContent::Store(done) if done == MIGRATIONS.len() => Ok(connection),
        _ => Err(unavailable(path, "its disk is read-only, and it is not of this version of Occopus")),
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    // Has an effect on new files only: pages that have become free can be given back without writing the file anew.
    connection.pragma_update(None, "auto_vacuum", "incremental")?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    if identify(connection, path)? == FileContent::Store(MIGRATIONS.len()) {
        return Ok(());
    }
    let sql = |error: rusqlite::Error| store_error(path, &error);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    // Another process may have done it.
    let done = match identify(&transaction, path)? {
        FileContent::Empty => 0,
        FileContent::Store(done) => done,
    };
    for step in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(step).map_err(sql)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(sql)?;
    transaction
        .pragma_update(None, "user_version", i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX))
        .map_err(sql)?;
    transaction.commit().map_err(sql)
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileContent {
    /// An empty database.
    Empty,
    /// A store of this version, which this program can read.
    Store(usize),
}

/// Says what a file is, and refuses all that this program can't read, in words.
pub(crate) fn identify(connection: &Connection, path: &Path) -> Result<FileContent, StoreError> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let read = || -> rusqlite::Result<_> {
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
        Ok((number("application_id")?, number("user_version")?, tables))
    };
    let known = MIGRATIONS.len();
    match retry_while_busy(read).map_err(|error| store_error(path, &error))? {
        (0, 0, 0) => Ok(FileContent::Empty),
        (application, _, _) if application != i64::from(APPLICATION_ID) => {
            Err(unusable(path, "it is a database of another program. Name another file"))
        }
        (_, version, _) => match usize::try_from(version) {
            Ok(done @ 1..) if done <= known => Ok(FileContent::Store(done)),
            Ok(done @ 1..) => Err(unusable(
                path,
                &format!(
                    "it was written by a newer version of Occopus (format {done}; this program knows up to {known}). \
                     Use that version, or name another file"
                ),
            )),
            _ => Err(unusable(
                path,
                &format!(
                    "its format has the number {version}, which no version of Occopus writes: it is damaged. \
                     Restore it from a backup, or name another file"
                ),
            )),
        },
    }
}

pub(crate) fn unavailable(path: &Path, why: &str) -> StoreError {
    StoreError::Unavailable { message: format!("the store {} can't be used: {why}", path.display()) }
}

fn unusable(path: &Path, why: &str) -> StoreError {
    StoreError::Unusable { message: format!("the store {} can't be used: {why}", path.display()) }
}

/// It can be read as far as it is readable, and nothing is written to it any more.
pub(crate) fn damaged(path: &Path, damage: &str) -> StoreError {
    let damage = damage.split_whitespace().collect::<Vec<_>>().join(" ");
    unusable(
        path,
        &format!(
            "it is damaged ({damage}), so nothing is written to it. `occopus store check` tells more; restore it from a backup"
        ),
    )
}

/// SQLite's errors in words of what to do.
pub(crate) fn store_error(path: &Path, error: &rusqlite::Error) -> StoreError {
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
        _ if is_busy(error) => {
            unavailable(path, "other processes kept it busy for too long. Nothing was written; try again")
        }
        _ => unavailable(path, &error.to_string()),
    }
}
