//! Opening of the file: permissions, identification, migration to the current version, and SQLite's errors in plain
//! words.

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

/// Time that SQLite itself waits for another process that writes.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for which a call is retried after that: a process that was stopped in the middle of a write keeps all others
/// waiting.
const BUSY_RETRY_LIMIT: Duration = Duration::from_secs(30);
const BUSY_RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Migrations from each version to the next. Append only; the version is the number of steps done.
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

/// Opens a connection to the store in this file, and creates the file, with its directory, if there is none.
pub(crate) fn open(path: &Path) -> Result<Connection, StoreError> {
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(|error| unavailable(path, &format!("its directory can't be created: {error}")))?;
    }
    // SQLite would make the file readable by others; its companion files get the file's mode.
    match OpenOptions::new().create(true).append(true).mode(0o600).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem && path.is_file() => return open_read_only(path),
        Err(error) => return Err(unavailable(path, &format!("it can't be opened for writing: {error}"))),
    }
    let sql = |error: rusqlite::Error| store_error(path, &error);
    let mut connection = Connection::open(path).map_err(sql)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sql)?;
    // First of all, since the file may be another program's: nothing in it is changed before.
    identify(&connection, path)?;
    retry_while_busy(|| prepare(&connection)).map_err(sql)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Retries `work` while other processes keep the file busy, at most for [`BUSY_RETRY_LIMIT`] after the first attempt
/// began. Blocks. A busy error means that nothing was done.
pub(crate) fn retry_while_busy<T>(mut work: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let started = Instant::now();
    loop {
        match work() {
            Err(error) if is_busy(&error) && started.elapsed() < BUSY_RETRY_LIMIT => {
                std::thread::sleep(BUSY_RETRY_INTERVAL)
            }
            outcome => return outcome,
        }
    }
}

/// Returns true if other processes kept the file busy.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed))
}

/// Returns true if the disk was full. SQLite reports one without room for the journal's index like a broken one.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
}

/// Returns true if the content is not what SQLite writes.
pub(crate) fn is_corruption(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Opens a store on a read-only disk. Nobody can write to it, so it is read without locks. The journal is not read this
/// way, so a store that has one is refused.
fn open_read_only(path: &Path) -> Result<Connection, StoreError> {
    let mut journal = path.as_os_str().to_owned();
    journal.push("-wal");
    if std::fs::metadata(journal).is_ok_and(|journal| journal.len() > 0) {
        return Err(unavailable(path, "its disk is read-only, and it has a journal that must be applied first"));
    }
    let url = Url::from_file_path(path).map(|url| format!("{url}?immutable=1"));
    let url = url.map_err(|()| unavailable(path, "its disk is read-only, and its path is not absolute"))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(url, flags).map_err(|error| store_error(path, &error))?;
    match identify(&connection, path)? {
        FileContent::Store(version) if version == MIGRATIONS.len() => Ok(connection),
        _ => Err(unavailable(path, "its disk is read-only, and it is not of this version of Occopus")),
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    // Has an effect on new files only: free pages can be returned to the disk without rewriting the file.
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
    // Another process may have migrated it meanwhile.
    let version = match identify(&transaction, path)? {
        FileContent::Empty => 0,
        FileContent::Store(version) => version,
    };
    for step in MIGRATIONS.iter().skip(version) {
        transaction.execute_batch(step).map_err(sql)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(sql)?;
    transaction
        .pragma_update(None, "user_version", i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX))
        .map_err(sql)?;
    transaction.commit().map_err(sql)
}

/// Content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileContent {
    /// An empty database.
    Empty,
    /// A store of this version, which this program supports.
    Store(usize),
}

/// Identifies the content of a file. Fails if this program can't read it.
pub(crate) fn identify(connection: &Connection, path: &Path) -> Result<FileContent, StoreError> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let read = || -> rusqlite::Result<_> {
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
        Ok((number("application_id")?, number("user_version")?, tables))
    };
    let supported = MIGRATIONS.len();
    match retry_while_busy(read).map_err(|error| store_error(path, &error))? {
        (0, 0, 0) => Ok(FileContent::Empty),
        (application, _, _) if application != i64::from(APPLICATION_ID) => {
            Err(unusable(path, "it is a database of another program. Name another file"))
        }
        (_, version, _) => match usize::try_from(version) {
            Ok(version @ 1..) if version <= supported => Ok(FileContent::Store(version)),
            Ok(version @ 1..) => Err(unusable(
                path,
                &format!(
                    "it was written by a newer version of Occopus (format {version}; this program supports up to {supported}). \
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

/// Returns the error of a damaged store: it is read as far as possible, and no longer written.
pub(crate) fn damaged(path: &Path, damage: &str) -> StoreError {
    let damage = damage.split_whitespace().collect::<Vec<_>>().join(" ");
    unusable(
        path,
        &format!(
            "it is damaged ({damage}), so nothing is written to it. `occopus store check` shows details; restore it from a backup"
        ),
    )
}

/// Returns an error of SQLite in plain words, with what to do.
pub(crate) fn store_error(path: &Path, error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => unusable(path, "it is not a database. Move it away, or name another file"),
        Some(ErrorCode::DatabaseCorrupt) => unusable(path, "it is damaged. Restore it from a backup"),
        Some(ErrorCode::DiskFull) => {
            unavailable(path, "the disk is full. Nothing was written; make room and try again")
        }
        // SQLite reports a disk without room for the journal's index like a broken one.
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
