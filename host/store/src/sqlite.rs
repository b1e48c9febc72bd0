//! The store: one thread that writes, one connection that reads.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use occopus_engine::ports::{Changes, Committed, Entry, LeaseId, Revision, Store, StoreError, Transaction};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{oneshot, watch};

use crate::open::{explain, open};
use crate::{lease, read, watch as watching, write};

/// The engine's store in one SQLite file. Cheap to clone.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    reader: Mutex<Connection>,
    writer: Sender<Job>,
    /// Raised after every write of this process.
    written: watch::Receiver<()>,
}

/// Something to do inside a transaction of SQLite.
type Work = Box<dyn FnOnce(&Connection) -> rusqlite::Result<Done> + Send>;

enum Done {
    Committed(Committed),
    Lease(LeaseId),
    Kept(bool),
}

struct Job {
    work: Work,
    answer: oneshot::Sender<Result<Done, StoreError>>,
}

/// The most jobs that share one durable step; bounds how long the first one waits.
const GROUP: usize = 512;

impl SqliteStore {
    /// Opens the store in this file, and makes it (with its directory) when there is none.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] for a file that is no store, or one of a newer version; [`StoreError::Unavailable`] when
    /// it can't be read or written.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let reader = open(&path)?;
        let (writer, jobs) = channel();
        let (tell, written) = watch::channel(());
        let writing = path.clone();
        // The second connection is opened by the first write: a program that only reads does not pay for it.
        std::thread::Builder::new()
            .name("occopus-store".to_owned())
            .spawn(move || run(&writing, &jobs, &tell))
            .map_err(|error| StoreError::Unavailable { message: format!("no thread for the store: {error}") })?;
        Ok(Self { shared: Arc::new(Shared { path, reader: Mutex::new(reader), writer, written }) })
    }

    /// Reads off the asynchronous threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || {
            let connection = shared.reader.lock().unwrap_or_else(PoisonError::into_inner);
            work(&connection).map_err(|error| explain(&shared.path, &error))
        });
        read.await
            .unwrap_or_else(|error| Err(StoreError::Unavailable { message: format!("reading broke off: {error}") }))
    }

    async fn write(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<Done> + Send + 'static,
    ) -> Result<Done, StoreError> {
        let (answer, answered) = oneshot::channel();
        let ended = || StoreError::Unknown { message: "the store's writer has ended".to_owned() };
        self.shared.writer.send(Job { work: Box::new(work), answer }).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// Told after every write of this process.
    pub(crate) fn written(&self) -> watch::Receiver<()> {
        self.shared.written.clone()
    }
}

/// The writing thread: takes all that waits, and makes it durable in one step.
fn run(path: &Path, jobs: &Receiver<Job>, tell: &watch::Sender<()>) {
    let mut connection = None;
    while let Ok(first) = jobs.recv() {
        let group: Vec<_> = std::iter::once(first).chain(jobs.try_iter().take(GROUP - 1)).collect();
        let ready = match &mut connection {
            Some(connection) => Ok(connection),
            none => open(path).map(|opened| none.insert(opened)),
        };
        match ready {
            Ok(connection) => commit(path, connection, group),
            Err(error) => refuse(group, &error),
        }
        tell.send_replace(());
    }
}

fn refuse(group: Vec<Job>, error: &StoreError) {
    for job in group {
        // Nobody waits any more: fine.
        let _ = job.answer.send(Err(copy(error)));
    }
}

fn copy(error: &StoreError) -> StoreError {
    let message = error.to_string();
    match error {
        StoreError::Unavailable { .. } => StoreError::Unavailable { message },
        StoreError::Unusable { .. } => StoreError::Unusable { message },
        StoreError::Unknown { .. } => StoreError::Unknown { message },
    }
}

fn commit(path: &Path, connection: &mut Connection, group: Vec<Job>) {
    let mut answers = Vec::with_capacity(group.len());
    let mut group = group.into_iter();
    let committed = (|| -> rusqlite::Result<()> {
        let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        write::purge(&transaction)?;
        for job in group.by_ref() {
            // A job that fails takes back its own changes, not those of its neighbours.
            let savepoint = transaction.savepoint()?;
            let done = (job.work)(&savepoint);
            match &done {
                Ok(_) => savepoint.commit()?,
                Err(_) => savepoint.finish()?,
            }
            answers.push((job.answer, done));
        }
        transaction.commit()
    })();
    match committed {
        Ok(()) => {
            for (answer, done) in answers {
                let _ = answer.send(done.map_err(|error| explain(path, &error)));
            }
        }
        Err(error) => {
            let error = explain(path, &error);
            refuse(group.collect(), &error);
            for (answer, _) in answers {
                let _ = answer.send(Err(copy(&error)));
            }
        }
    }
}

/// What a job gives back, when it is not of the kind that was asked for. Can't happen; said in words all the same.
fn mixed_up() -> StoreError {
    StoreError::Unknown { message: "the store answered another question".to_owned() }
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
