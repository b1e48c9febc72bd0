//! The thread that writes: takes all that waits, and makes it durable in one step.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use occopus_engine::ports::{Committed, LeaseId, StoreError};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{oneshot, watch};

use crate::check::pragma;
use crate::open::{explain, is_damage, is_full, open, patiently};
use crate::sqlite::Health;
use crate::write;

/// The most jobs that share one durable step; bounds how long the first one waits.
const GROUP: usize = 512;
/// After so long without a job, there is time to give back what the file does not need.
const IDLE: Duration = Duration::from_secs(5);
/// Where there is always something to do, that is done once in so many steps.
const EVERY: u32 = 4096;
/// Free pages that are kept for what comes next, 4 MiB, beside a quarter of the file.
const SPARE: u64 = 1024;
/// With less free on the disk, the journal is moved into the file after each step, before it grows: later there might be no
/// room to do so. By itself, SQLite does it when the journal has 4 MiB.
const SCARCE: u64 = 16 << 20;
/// Pages that are given back in one step. Writers wait for it.
const AT_ONCE: u32 = 512;

/// Something to do inside a transaction of SQLite. It may be begun again.
pub(crate) type Work = Box<dyn Fn(&Connection) -> rusqlite::Result<Done> + Send>;

pub(crate) enum Done {
    Committed(Committed),
    Lease(LeaseId),
    Kept(bool),
}

pub(crate) enum Job {
    Work(Task),
    /// Nothing more is going to be written for now. Told when all that came before is done.
    Rest(SyncSender<()>),
}

pub(crate) struct Task {
    pub(crate) work: Work,
    pub(crate) answer: oneshot::Sender<Result<Done, StoreError>>,
}

/// What the writing thread works with.
pub(crate) struct Writer {
    pub(crate) path: PathBuf,
    pub(crate) health: Arc<Health>,
    pub(crate) told: watch::Sender<()>,
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
                None => match self.wait(jobs) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => {
                        self.give_back();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                },
            };
            let Job::Work(first) = first else {
                self.rest(first);
                continue;
            };
            let mut group = vec![first];
            while group.len() < GROUP
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
            self.serve(group);
            self.told.send_replace(());
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(EVERY) {
                self.give_back();
            }
        }
        self.leave();
    }

    fn leave(&self) {
        if self.health.damage().is_none() {
            self.health.presence.leave_in_order();
        }
    }

    fn wait(&self, jobs: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        // Without a write of ours there is nothing to give back.
        match self.connection {
            Some(_) => jobs.recv_timeout(IDLE),
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn rest(&self, job: Job) {
        self.leave();
        if let Job::Rest(done) = job {
            // Nobody waits any more: fine.
            let _ = done.send(());
        }
    }

    fn serve(&mut self, group: Vec<Task>) {
        if let Some(damage) = self.health.damage() {
            return refuse(group, &crate::open::damaged(&self.path, damage));
        }
        self.health.presence.write();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => match open(&self.path) {
                Ok(opened) => none.insert(opened),
                Err(error) => return refuse(group, &error),
            },
        };
        match step(connection, &group) {
            Ok(outcomes) => {
                answer(&self.path, group, outcomes);
                if is_scarce(&self.path) {
                    // What is in the journal is as durable as what is in the file.
                    let _ = work_in(connection, "PASSIVE");
                }
            }
            // One that there is no room for must not keep the others from being written.
            Err(error) if is_full(&error) && group.len() > 1 => {
                for task in group {
                    match step(connection, std::slice::from_ref(&task)) {
                        Ok(outcomes) => answer(&self.path, vec![task], outcomes),
                        Err(error) => refuse(vec![task], &explain(&self.path, &error)),
                    }
                }
            }
            Err(error) => {
                if is_damage(&error) {
                    self.health.is_damaged(&error.to_string());
                }
                refuse(group, &explain(&self.path, &error));
            }
        }
    }

    /// Gives room back to the disk when much of the file has become free.
    fn give_back(&self) {
        let Some(connection) = &self.connection else { return };
        let given = || -> rusqlite::Result<()> {
            let free = pragma(connection, "freelist_count")?;
            if free <= SPARE || free < pragma(connection, "page_count")? / 4 {
                return Ok(());
            }
            let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({AT_ONCE})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        };
        // It is done another time.
        let _ = given();
    }
}

/// One durable step: what became of each job. An error means that nothing of all that was written.
fn step(connection: &mut Connection, group: &[Task]) -> rusqlite::Result<Vec<rusqlite::Result<Done>>> {
    match patiently(|| attempt(connection, group)) {
        // What is in the journal goes into the file, and the journal is used from its beginning: that may make room.
        Err(error) if is_full(&error) && work_in(connection, "TRUNCATE").is_ok() => {
            patiently(|| attempt(connection, group))
        }
        done => done,
    }
}

/// Moves the journal into the file.
fn work_in(connection: &Connection, how: &str) -> rusqlite::Result<()> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(()))
}

/// Whether the disk is almost full.
fn is_scarce(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < SCARCE)
}

fn attempt(connection: &mut Connection, group: &[Task]) -> rusqlite::Result<Vec<rusqlite::Result<Done>>> {
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
            Err(error) if is_full(&error) || is_damage(&error) => return Err(error),
            Err(_) => savepoint.finish()?,
        }
        outcomes.push(done);
    }
    transaction.commit()?;
    Ok(outcomes)
}

fn answer(path: &Path, group: Vec<Task>, outcomes: Vec<rusqlite::Result<Done>>) {
    for (task, done) in group.into_iter().zip(outcomes) {
        // Nobody waits any more: fine.
        let _ = task.answer.send(done.map_err(|error| explain(path, &error)));
    }
}

fn refuse(group: Vec<Task>, error: &StoreError) {
    for task in group {
        // Nobody waits any more: fine.
        let _ = task.answer.send(Err(copy(error)));
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
