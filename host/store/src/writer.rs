//! The thread that writes: takes all that waits, and makes it durable in one step.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use occopus_engine::ports::{CommitOutcome, LeaseId, StoreError};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{oneshot, watch};

use crate::check::pragma;
use crate::open::{is_corruption, is_full, open, retry_while_busy, store_error};
use crate::sqlite::FileStatus;
use crate::write;

/// The most jobs that share one durable step; bounds how long the first one waits.
const MAX_GROUP_TASKS: usize = 512;
/// After so long without a job, there is time to give back what the file does not need.
const VACUUM_IDLE_DELAY: Duration = Duration::from_secs(5);
/// Where there is always something to do, that is done once in so many steps.
const VACUUM_EVERY_STEPS: u32 = 4096;
/// Free pages that are kept for what comes next, 4 MiB, beside a quarter of the file.
const MIN_KEPT_FREE_PAGES: u64 = 1024;
/// With less free on the disk, the journal is moved into the file after each step, before it grows: later there might be no
/// room to do so. By itself, SQLite does it when the journal has 4 MiB.
const LOW_DISK_BYTES: u64 = 16 << 20;
/// Pages that are given back in one step. Writers wait for it.
const VACUUM_BATCH_PAGES: u32 = 512;

/// Something to do inside a transaction of SQLite. It may be begun again.
pub(crate) type Work = Box<dyn Fn(&Connection) -> rusqlite::Result<WriteOutcome> + Send>;

pub(crate) enum WriteOutcome {
    Committed(CommitOutcome),
    Lease(LeaseId),
    KeepAlive(bool),
}

pub(crate) enum Job {
    Work(WriteTask),
    /// Nothing more is going to be written for now. Told when all that came before is done.
    Quiesce(SyncSender<()>),
}

pub(crate) struct WriteTask {
    pub(crate) work: Work,
    pub(crate) reply: oneshot::Sender<Result<WriteOutcome, StoreError>>,
}

/// What the writing thread works with.
pub(crate) struct Writer {
    pub(crate) path: PathBuf,
    pub(crate) file_status: Arc<FileStatus>,
    pub(crate) write_notifier: watch::Sender<()>,
    /// Opened by the first write: a program that only reads does not pay for it.
    pub(crate) connection: Option<Connection>,
}

impl Writer {
    /// Until nobody can send a job any more.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let mut steps = 0_u32;
        let mut later = None;
        loop {
            let first = match later.take() {
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
                    rest => {
                        later = Some(rest);
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
        // Without a write of ours there is nothing to give back.
        match self.connection {
            Some(_) => jobs.recv_timeout(VACUUM_IDLE_DELAY),
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn quiesce(&self, job: Job) {
        self.mark_clean();
        if let Job::Quiesce(done) = job {
            // Nobody waits any more: fine.
            let _ = done.send(());
        }
    }

    fn commit_group(&mut self, group: Vec<WriteTask>) {
        if let Some(damage) = self.file_status.damage() {
            return fail_all(group, &crate::open::damaged(&self.path, damage));
        }
        self.file_status.users_file.mark_dirty();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => match open(&self.path) {
                Ok(opened) => none.insert(opened),
                Err(error) => return fail_all(group, &error),
            },
        };
        match commit_or_make_room(connection, &group) {
            Ok(outcomes) => {
                send_replies(&self.path, group, outcomes);
                if is_disk_almost_full(&self.path) {
                    // What is in the journal is as durable as what is in the file.
                    let _ = checkpoint(connection, "PASSIVE");
                }
            }
            // One that there is no room for must not keep the others from being written.
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

    /// Gives room back to the disk when much of the file has become free.
    fn vacuum(&self) {
        let Some(connection) = &self.connection else { return };
        let given = || -> rusqlite::Result<()> {
            let free = pragma(connection, "freelist_count")?;
            if free <= MIN_KEPT_FREE_PAGES || free < pragma(connection, "page_count")? / 4 {
                return Ok(());
            }
            let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_BATCH_PAGES})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        };
        // It is done another time.
        let _ = given();
    }
}

/// One durable step: what became of each job. An error means that nothing of all that was written.
fn commit_or_make_room(
    connection: &mut Connection,
    group: &[WriteTask],
) -> rusqlite::Result<Vec<rusqlite::Result<WriteOutcome>>> {
    match retry_while_busy(|| commit(connection, group)) {
        // What is in the journal goes into the file, and the journal is used from its beginning: that may make room.
        Err(error) if is_full(&error) && checkpoint(connection, "TRUNCATE").is_ok() => {
            retry_while_busy(|| commit(connection, group))
        }
        done => done,
    }
}

/// Moves the journal into the file.
fn checkpoint(connection: &Connection, how: &str) -> rusqlite::Result<()> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(()))
}

/// Whether the disk is almost full.
fn is_disk_almost_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < LOW_DISK_BYTES)
}

fn commit(connection: &mut Connection, group: &[WriteTask]) -> rusqlite::Result<Vec<rusqlite::Result<WriteOutcome>>> {
    let mut outcomes = Vec::with_capacity(group.len());
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    write::purge(&transaction)?;
    for task in group {
        // A job that fails takes back its own changes, not those of its neighbours.
        let savepoint = transaction.savepoint()?;
        let done = (task.work)(&savepoint);
        match done {
            Ok(_) => savepoint.commit()?,
            // These are not about the job.
            Err(error) if is_full(&error) || is_corruption(&error) => return Err(error),
            Err(_) => savepoint.finish()?,
        }
        outcomes.push(done);
    }
    transaction.commit()?;
    Ok(outcomes)
}

fn send_replies(path: &Path, group: Vec<WriteTask>, outcomes: Vec<rusqlite::Result<WriteOutcome>>) {
    for (task, done) in group.into_iter().zip(outcomes) {
        // Nobody waits any more: fine.
        let _ = task.reply.send(done.map_err(|error| store_error(path, &error)));
    }
}

fn fail_all(group: Vec<WriteTask>, error: &StoreError) {
    for task in group {
        // Nobody waits any more: fine.
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
