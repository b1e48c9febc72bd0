//! The store: a thread that writes, and a connection that reads.

use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use occopus_engine::ports::StoreError;
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::check;
use crate::file_status::FileStatus;
use crate::open::{is_corruption, open, retry_while_busy, store_error};
use crate::users_file::UsersFile;
use crate::writer::{Job, WriteOutcome, WriteTask, Writer};

/// Time that [`SqliteStore::quiesce`] waits for pending writes.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The engine's store in one SQLite file. Cheap to clone; clones share the connection and the writing thread.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<StoreInner>,
}

struct StoreInner {
    path: PathBuf,
    reader: Mutex<Connection>,
    writer: Sender<Job>,
    file_status: Arc<FileStatus>,
    /// Notified after every write of this process.
    write_notifications: watch::Receiver<()>,
}

impl SqliteStore {
    /// Opens the store in this file, and creates it (with its directory) if there is none. Blocks. If the last process
    /// that wrote to it was interrupted, it is checked first, which takes time in proportion to its size; a damaged one
    /// is read as far as possible, and refuses writes: [`SqliteStore::damage`].
    ///
    /// # Errors
    /// Returns [`StoreError::Unusable`] for a file that is not a store, or one of a newer version;
    /// [`StoreError::Unavailable`] if it can't be read or written.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let reader = open(&path)?;
        let users_file = UsersFile::acquire(&path);
        let (was_unclean, damage) = (users_file.was_unclean(), OnceLock::new());
        if was_unclean {
            match check::find_damage(&reader).map_err(|error| store_error(&path, &error))? {
                Some(found) => drop(damage.set(found)),
                None => users_file.mark_checked(),
            }
        }
        let file_status = Arc::new(FileStatus { users_file, damage });
        let (writer, jobs) = channel();
        let (notifier, notifications) = watch::channel(());
        let writer_thread =
            Writer { path: path.clone(), file_status: file_status.clone(), write_notifier: notifier, connection: None };
        std::thread::Builder::new().name("occopus-store".to_owned()).spawn(move || writer_thread.run(&jobs)).map_err(
            |error| StoreError::Unavailable { message: format!("the store's thread can't be started: {error}") },
        )?;
        Ok(Self {
            shared: Arc::new(StoreInner {
                path,
                reader: Mutex::new(reader),
                writer,
                file_status,
                write_notifications: notifications,
            }),
        })
    }

    /// Returns the error of every write, if the store is damaged.
    pub fn damage(&self) -> Option<StoreError> {
        self.shared.file_status.damage().map(|damage| crate::open::damaged(&self.shared.path, damage))
    }

    /// Marks the store as clean after pending writes, so that the next process need not check it. Blocks until then, at
    /// most 5 seconds. Later writes are allowed.
    pub fn quiesce(&self) {
        let (done, finished) = sync_channel(1);
        if self.shared.writer.send(Job::Quiesce(done)).is_ok() {
            // After a time-out the store stays marked, and whoever opens it next checks it.
            let _ = finished.recv_timeout(FLUSH_TIMEOUT);
        }
    }

    /// Runs a read on a blocking thread.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || {
            let read = retry_while_busy(|| work(&shared.reader.lock().unwrap_or_else(PoisonError::into_inner)));
            read.map_err(|error| {
                if is_corruption(&error) {
                    shared.file_status.record_damage(&error.to_string());
                }
                store_error(&shared.path, &error)
            })
        });
        read.await.unwrap_or_else(|error| {
            Err(StoreError::Unavailable { message: format!("internal error: reading from the store failed: {error}") })
        })
    }

    /// Has the writing thread do a write, and waits for its outcome.
    pub(crate) async fn write(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<WriteOutcome> + Send + 'static,
    ) -> Result<WriteOutcome, StoreError> {
        let (reply, received) = oneshot::channel();
        let writer_ended = || StoreError::Unknown { message: "the store's writer has ended".to_owned() };
        self.shared.writer.send(Job::Work(WriteTask { work: Box::new(work), reply })).map_err(|_| writer_ended())?;
        received.await.map_err(|_| writer_ended())?
    }

    /// Returns a receiver that is notified after every write of this process.
    pub(crate) fn write_notifications(&self) -> watch::Receiver<()> {
        self.shared.write_notifications.clone()
    }
}
