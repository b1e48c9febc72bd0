//! The store: one thread that writes, one connection that reads.

use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use occopus_engine::ports::{Changes, Committed, Entry, LeaseId, Revision, Store, StoreError, Transaction};
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::open::{explain, is_damage, open, patiently};
use crate::presence::Presence;
use crate::writer::{Done, Job, Task, Writer};
use crate::{check, lease, read, watch as watching, write};

/// How long to wait at the end for what is still being written.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The engine's store in one SQLite file. Cheap to clone.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    reader: Mutex<Connection>,
    writer: Sender<Job>,
    health: Arc<Health>,
    /// Raised after every write of this process.
    written: watch::Receiver<()>,
}

/// In which state the file is.
pub(crate) struct Health {
    pub(crate) presence: Presence,
    /// Found once: then nothing is written any more.
    damage: OnceLock<String>,
}

impl Health {
    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }

    pub(crate) fn is_damaged(&self, damage: &str) {
        self.damage.get_or_init(|| damage.to_owned());
    }
}

impl SqliteStore {
    /// Opens the store in this file, and makes it (with its directory) when there is none. When the last process that wrote to
    /// it was interrupted, it is checked first, which takes time in proportion to its size; one that is damaged can be read as
    /// far as that goes, and takes no writes: [`SqliteStore::damage`].
    ///
    /// # Errors
    /// [`StoreError::Unusable`] for a file that is no store, or one of a newer version; [`StoreError::Unavailable`] when
    /// it can't be read or written.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let reader = open(&path)?;
        let presence = Presence::enter(&path);
        let (was_unclean, damage) = (presence.was_unclean(), OnceLock::new());
        if was_unclean {
            match check::find(&reader).map_err(|error| explain(&path, &error))? {
                Some(found) => drop(damage.set(found)),
                None => presence.was_checked(),
            }
        }
        let health = Arc::new(Health { presence, damage });
        let (writer, jobs) = channel();
        let (told, written) = watch::channel(());
        let writing = Writer { path: path.clone(), health: health.clone(), told, connection: None };
        std::thread::Builder::new()
            .name("occopus-store".to_owned())
            .spawn(move || writing.run(&jobs))
            .map_err(|error| StoreError::Unavailable { message: format!("no thread for the store: {error}") })?;
        Ok(Self { shared: Arc::new(Shared { path, reader: Mutex::new(reader), writer, health, written }) })
    }

    /// Why nothing is written to the store any more, if it is damaged.
    pub fn damage(&self) -> Option<StoreError> {
        self.shared.health.damage().map(|damage| crate::open::damaged(&self.shared.path, damage))
    }

    /// Says that this process has written all it had to write: the next one need not check the store. Waits a moment for what
    /// is being written. It can be written to afterwards, too.
    pub fn rest(&self) {
        let (done, told) = sync_channel(1);
        if self.shared.writer.send(Job::Rest(done)).is_ok() {
            // What takes longer is checked by whoever opens it next.
            let _ = told.recv_timeout(LAST_WORDS);
        }
    }

    /// Reads off the asynchronous threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || {
            let read = patiently(|| work(&shared.reader.lock().unwrap_or_else(PoisonError::into_inner)));
            read.map_err(|error| {
                if is_damage(&error) {
                    shared.health.is_damaged(&error.to_string());
                }
                explain(&shared.path, &error)
            })
        });
        read.await
            .unwrap_or_else(|error| Err(StoreError::Unavailable { message: format!("reading broke off: {error}") }))
    }

    async fn write(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<Done> + Send + 'static,
    ) -> Result<Done, StoreError> {
        let (answer, answered) = oneshot::channel();
        let ended = || StoreError::Unknown { message: "the store's writer has ended".to_owned() };
        self.shared.writer.send(Job::Work(Task { work: Box::new(work), answer })).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// Told after every write of this process.
    pub(crate) fn written(&self) -> watch::Receiver<()> {
        self.shared.written.clone()
    }
}

/// What a job gives back, when it is not of the kind that was asked for. Can't happen; said in words all the same.
fn mixed_up() -> StoreError {
    StoreError::Unknown { message: "internal error: mismatched reply from the store".to_owned() }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = key.to_owned();
        self.read(move |connection| read::get(connection, &key)).await
    }

    async fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.read(move |connection| read::range(connection, &prefix, after.as_deref(), limit)).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Committed, StoreError> {
        match self.write(move |connection| write::apply(connection, &transaction).map(Done::Committed)).await? {
            Done::Committed(committed) => Ok(committed),
            _ => Err(mixed_up()),
        }
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        match self.write(move |connection| lease::grant(connection, ttl).map(Done::Lease)).await? {
            Done::Lease(lease) => Ok(lease),
            _ => Err(mixed_up()),
        }
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, StoreError> {
        match self.write(move |connection| lease::keep_alive(connection, lease).map(Done::Kept)).await? {
            Done::Kept(kept) => Ok(kept),
            _ => Err(mixed_up()),
        }
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        let revoke = move |connection: &Connection| {
            lease::revoke(connection, lease)?;
            write::purge(connection)?;
            Ok(Done::Kept(false))
        };
        self.write(revoke).await.map(drop)
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Changes, StoreError> {
        Ok(watching::changes(self.clone(), prefix.to_owned(), after))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.read(read::revision).await
    }
}
