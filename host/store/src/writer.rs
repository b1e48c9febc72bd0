//! The thread that writes: takes all waiting tasks, and commits them in one durable transaction.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use occopus_engine::ports::{CommitOutcome, LeaseId, StoreError};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{oneshot, watch};

use crate::check::pragma;
use crate::file_status::FileStatus;
use crate::open::{is_corruption, is_full, open, retry_while_busy, store_error};
use crate::write;

/// Maximum tasks of one transaction; bounds how long the first one waits.
const MAX_GROUP_TASKS: usize = 512;
/// Time without a job after which free pages are returned to the disk.
const VACUUM_IDLE_DELAY: Duration = Duration::from_secs(5);
/// Number of transactions after which that is done in a store that is never idle.
const VACUUM_EVERY_STEPS: u32 = 4096;
/// Free pages (4 MiB) that are always kept for later writes. More are returned only if they are a quarter of the file.
const MIN_KEPT_FREE_PAGES: u64 = 1024;
/// Free bytes of the disk below which the journal is moved into the file after each transaction, before it grows: later
/// there might be no room to do so. By itself, SQLite does it when the journal has 4 MiB.
const LOW_DISK_BYTES: u64 = 16 << 20;
/// Pages that are returned to the disk at once. Writers wait for it.
const VACUUM_BATCH_PAGES: u32 = 512;

/// Work inside a transaction of SQLite. It may be run again after a rollback.
pub(crate) type Work = Box<dyn Fn(&Connection) -> rusqlite::Result<WriteOutcome> + Send>;

pub(crate) enum WriteOutcome {
    Committed(CommitOutcome),
    Lease(LeaseId),
    KeepAlive(bool),
}

pub(crate) enum Job {
    Work(WriteTask),
    /// Marks the store as clean, since nothing more is written for now. The reply is sent when all earlier jobs are
    /// done.
    Quiesce(SyncSender<()>),
}

pub(crate) struct WriteTask {
    pub(crate) work: Work,
    pub(crate) reply: oneshot::Sender<Result<WriteOutcome, StoreError>>,
}

/// State of the writing thread.
pub(crate) struct Writer {
    pub(crate) path: PathBuf,
    pub(crate) file_status: Arc<FileStatus>,
    pub(crate) write_notifier: watch::Sender<()>,
    /// Opened by the first write, so that a program that only reads does not pay for it.
    pub(crate) connection: Option<Connection>,
}

impl Writer {
    /// Runs jobs until all senders are dropped. Blocks.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let mut steps = 0_u32;
        let mut pending = None;
        loop {
            let first = match pending.take() {
                Some(job) => job,
                None => match self.next_job(jobs) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => {
                        self.vacuum();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                },
            };
            let Job::Work(first) = first else {
                self.quiesce(first);
                continue;
            };
            let mut group = vec![first];
            while group.len() < MAX_GROUP_TASKS
                && let Ok(next) = jobs.try_recv()
            {
                match next {
                    Job::Work(task) => group.push(task),
                    job => {
                        pending = Some(job);
                        break;
                    }
                }
            }
            self.commit_group(group);
            self.write_notifier.send_replace(());
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(VACUUM_EVERY_STEPS) {
                self.vacuum();
            }
        }
        self.mark_clean();
    }

    fn mark_clean(&self) {
        if self.file_status.damage().is_none() {
            self.file_status.users_file.mark_clean();
        }
    }

    fn next_job(&self, jobs: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        // Without a write of this process there is nothing to return.
        match self.connection {
            Some(_) => jobs.recv_timeout(VACUUM_IDLE_DELAY),
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn quiesce(&self, job: Job) {
        self.mark_clean();
        if let Job::Quiesce(reply) = job {
            // Fails only if nobody waits any more.
            let _ = reply.send(());
        }
    }

    fn commit_group(&mut self, group: Vec<WriteTask>) {
        if let Some(damage) = self.file_status.damage() {
            return fail_all(group, &crate::open::damaged(&self.path, damage));
        }
        self.file_status.users_file.mark_dirty();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            slot => match open(&self.path) {
                Ok(opened) => slot.insert(opened),
                Err(error) => return fail_all(group, &error),
            },
        };
        match commit_or_make_room(connection, &group) {
            Ok(outcomes) => {
                send_replies(&self.path, group, outcomes);
                if is_disk_almost_full(&self.path) {
                    // Failing is harmless: the journal is as durable as the file.
                    let _ = checkpoint(connection, "PASSIVE");
                }
            }
            // A task that there is no room for must not fail the others.
            Err(error) if is_full(&error) && group.len() > 1 => {
                for task in group {
                    match commit_or_make_room(connection, std::slice::from_ref(&task)) {
                        Ok(outcomes) => send_replies(&self.path, vec![task], outcomes),
                        Err(error) => fail_all(vec![task], &store_error(&self.path, &error)),
                    }
                }
            }
            Err(error) => {
                if is_corruption(&error) {
                    self.file_status.record_damage(&error.to_string());
                }
                fail_all(group, &store_error(&self.path, &error));
            }
        }
    }

    /// Returns free pages to the disk if much of the file has become free.
    fn vacuum(&self) {
        let Some(connection) = &self.connection else { return };
        let vacuum = || -> rusqlite::Result<()> {
            let free = pragma(connection, "freelist_count")?;
            if free <= MIN_KEPT_FREE_PAGES || free < pragma(connection, "page_count")? / 4 {
                return Ok(());
            }
            let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_BATCH_PAGES})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        };
        // An error is ignored: it is done another time.
        let _ = vacuum();
    }
}

/// Commits a group in one durable transaction, and returns the outcome of each task. An error means that nothing was
/// written. Retries while other processes keep the file busy, and once after making room on a full disk.
fn commit_or_make_room(
    connection: &mut Connection,
    group: &[WriteTask],
) -> rusqlite::Result<Vec<rusqlite::Result<WriteOutcome>>> {
    match retry_while_busy(|| commit(connection, group)) {
        // The journal is moved into the file and truncated, which may make room.
        Err(error) if is_full(&error) && checkpoint(connection, "TRUNCATE").is_ok() => {
            retry_while_busy(|| commit(connection, group))
        }
        outcome => outcome,
    }
}

/// Moves the journal into the file.
fn checkpoint(connection: &Connection, how: &str) -> rusqlite::Result<()> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(()))
}

/// Returns true if the disk is almost full.
fn is_disk_almost_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < LOW_DISK_BYTES)
}

fn commit(connection: &mut Connection, group: &[WriteTask]) -> rusqlite::Result<Vec<rusqlite::Result<WriteOutcome>>> {
    let mut outcomes = Vec::with_capacity(group.len());
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    write::purge(&transaction)?;
    for task in group {
        // A task that fails rolls back its own changes, not those of the others.
        let savepoint = transaction.savepoint()?;
        let outcome = (task.work)(&savepoint);
        match outcome {
            Ok(_) => savepoint.commit()?,
            // These errors concern the whole group.
            Err(error) if is_full(&error) || is_corruption(&error) => return Err(error),
            Err(_) => savepoint.finish()?,
        }
        outcomes.push(outcome);
    }
    transaction.commit()?;
    Ok(outcomes)
}

fn send_replies(path: &Path, group: Vec<WriteTask>, outcomes: Vec<rusqlite::Result<WriteOutcome>>) {
    for (task, outcome) in group.into_iter().zip(outcomes) {
        // Fails only if nobody waits any more.
        let _ = task.reply.send(outcome.map_err(|error| store_error(path, &error)));
    }
}

fn fail_all(group: Vec<WriteTask>, error: &StoreError) {
    for task in group {
        // Fails only if nobody waits any more.
        let _ = task.reply.send(Err(clone_error(error)));
    }
}

fn clone_error(error: &StoreError) -> StoreError {
    let message = error.to_string();
    match error {
        StoreError::Unavailable { .. } => StoreError::Unavailable { message },
        StoreError::Unusable { .. } => StoreError::Unusable { message },
        StoreError::Unknown { .. } => StoreError::Unknown { message },
    }
}
