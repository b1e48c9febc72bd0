//! Processes on this machine, for the `local` driver (Linux only).
//!
//! Each process has a directory with a record that is written before the process is started. A started process is found
//! again by pid and start time or, if the host died before it could record them, by the instance id in the process's
//! environment. So the host may be killed at any moment and neither loses nor doubles a process.

mod address;
mod directory;
mod exit;
mod file_error;
mod members;
mod output;
mod process_scan;
mod procfs;
mod spawn;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use occopus_engine::ports::{Fault, Reaction};

use directory::{ProcessDirectory, ProcessRecord};
pub(crate) use exit::ProcessExit;
pub use watch::{run_output_rotation, spawn_output_rotation};

/// Command to run.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct ProcessCommand {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables that are added to a minimal environment. They are not stored: they may hold secrets.
    pub environment: Vec<(String, String)>,
    /// Working directory.
    pub directory: Option<String>,
    /// Labels that are stored with the process.
    pub labels: Vec<(String, String)>,
}

/// State of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessState {
    /// Running.
    Running,
    /// Ended by itself.
    Exited,
    /// Unknown under this id.
    Gone,
}

/// A process that was started once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Id under which it was started.
    pub instance_id: String,
    /// State of the process.
    pub state: ProcessState,
    /// Process id; 0 if unknown.
    pub pid: u32,
    /// A loopback address of its own.
    pub address: String,
    /// The file its output goes to.
    pub output: String,
    /// Labels as they were given.
    pub labels: Vec<(String, String)>,
}

/// All processes under one directory of state; cheap to clone. Several hosts may use the same directory at once.
#[derive(Debug, Clone)]
pub(crate) struct Processes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state_dir: PathBuf,
    program: PathBuf,
    /// Children that this host started and has not waited for, by instance id.
    children: Mutex<HashMap<String, Vec<Child>>>,
    /// Instances whose output is kept short: all that this host has observed running.
    rotated_outputs: Mutex<BTreeSet<String>>,
    /// Set once the task that waits for exits and rotates outputs is started.
    is_watch_started: AtomicBool,
}

/// Number of processes in one page of [`Processes::list_all`].
const LIST_PAGE_SIZE: usize = 100;

impl Processes {
    /// Creates a handle. Nothing is touched before the first call. Processes get `program` as `OCCOPUS`.
    pub(crate) fn new(state_dir: impl Into<PathBuf>, program: impl Into<PathBuf>) -> Self {
        let (state_dir, program) = (state_dir.into(), program.into());
        let (children, rotated_outputs, is_watch_started) = Default::default();
        Self { inner: Arc::new(Inner { state_dir, program, children, rotated_outputs, is_watch_started }) }
    }

    /// Starts a process, once for each id: if one was started under it before, that one is returned, running or not.
    /// Only a process that ended in the very moment in which the host was killed may be started a second time.
    ///
    /// # Errors
    /// Fails if the id or the command is not valid, the program can't be started, or the directory of state can't be
    /// used.
    pub(crate) async fn start(&self, instance_id: &str, command: ProcessCommand) -> Result<Process, Fault> {
        let id = instance_id.to_owned();
        self.run_blocking(Reaction::UnknownOutcome, move |inner| inner.start(&id, &command)).await
    }

    /// Returns the processes of these ids, in their order.
    ///
    /// # Errors
    /// Fails if an id is not valid, or the directory of state can't be used.
    pub(crate) async fn inspect(&self, instance_ids: &[String]) -> Result<Vec<Process>, Fault> {
        let ids = instance_ids.to_vec();
        self.run_blocking(Reaction::Retry, move |inner| ids.iter().map(|id| inner.inspect(id)).collect()).await
    }

    /// Ends the whole group and forgets it: SIGTERM, after `grace` SIGKILL. Succeeds if there is none.
    ///
    /// # Errors
    /// Fails if the id is not valid, a process does not end, or the directory of state can't be used.
    pub(crate) async fn stop(&self, instance_id: &str, grace: Duration) -> Result<(), Fault> {
        let id = instance_id.to_owned();
        self.run_blocking(Reaction::UnknownOutcome, move |inner| inner.stop(&id, grace)).await
    }

    /// Returns all processes that have not been stopped, by id, a page at a time, and the cursor of the next page.
    ///
    /// # Errors
    /// Fails if the directory of state can't be used.
    pub(crate) async fn list_all(&self, cursor: Option<&str>) -> Result<(Vec<Process>, Option<String>), Fault> {
        let after = cursor.map(str::to_owned);
        self.run_blocking(Reaction::Retry, move |inner| inner.list(after.as_deref())).await
    }

    /// Returns the exits of these processes, in the order of the ids; none for one that runs, and if its exit is
    /// unknown.
    ///
    /// # Errors
    /// Fails if an id is not valid, or the directory of state can't be used.
    pub(crate) async fn exits(&self, instance_ids: &[String]) -> Result<Vec<Option<ProcessExit>>, Fault> {
        let ids = instance_ids.to_vec();
        self.run_blocking(Reaction::Retry, move |inner| ids.iter().map(|id| inner.exit_of(id)).collect()).await
    }

    /// Returns the last lines that a process wrote, at most `lines`; empty if there is no process with this id.
    ///
    /// # Errors
    /// Fails if the id is not valid, or the output can't be read.
    pub(crate) async fn tail(&self, instance_id: &str, lines: u32) -> Result<String, Fault> {
        let id = instance_id.to_owned();
        self.run_blocking(Reaction::Retry, move |inner| {
            let directory = ProcessDirectory::new(&inner.state_dir, &id)?;
            output::tail(&directory, lines as usize)
                .map_err(|error| file_error::file_error("read", &directory.output_file(), &error))
        })
        .await
    }

    /// Runs blocking work (files, locks, `/proc`) to its end, also if the caller is dropped meanwhile.
    async fn run_blocking<T: Send + 'static>(
        &self,
        when_lost: Reaction,
        work: impl FnOnce(&Inner) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        watch::start_watch(&self.inner);
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || work(&inner));
        let lost = |_| Fault::new(when_lost, "process.interrupted", "the host is shutting down");
        done.await.unwrap_or_else(|error| Err(lost(error)))
    }
}

impl Inner {
    fn start(&self, id: &str, command: &ProcessCommand) -> Result<Process, Fault> {
        let directory = ProcessDirectory::new(&self.state_dir, id)?;
        let program = spawn::Program::find(command)?;
        let lock = directory.create_and_lock()?;
        let record = match directory.read()? {
            Some(record) if record.started.is_some() => return Ok(self.process(&directory, &record)),
            Some(record) => match members::find_started(id) {
                // An earlier host was killed between the start and its record.
                Some(started) => {
                    let record = ProcessRecord { started: Some(started), ..record };
                    directory.write(&record)?;
                    return Ok(self.process(&directory, &record));
                }
                None => record,
            },
            None => {
                let address = address::claim(&self.state_dir, id)?;
                let labels = command.labels.clone();
                let record = ProcessRecord {
                    version: ProcessRecord::VERSION,
                    address: address.to_string(),
                    labels,
                    started: None,
                };
                directory.write(&record)?;
                record
            }
        };
        // From here on the record makes every later host search for the process.
        // Locked meanwhile, so that whoever hears of the end of a child finds it here.
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        let child = match spawn::spawn(&program, command, id, &record.address, &self.program, &directory) {
            Ok(child) => child,
            Err(fault) => {
                drop(children);
                directory.remove(&self.state_dir, &record)?;
                return Err(fault);
            }
        };
        let started = procfs::identity(child.id());
        children.entry(id.to_owned()).or_default().push(child);
        drop(children);
        let record = ProcessRecord { started, ..record };
        // The process runs, and the record shows that it may: the next call finds it.
        directory.write(&record).map_err(|fault| Fault { reaction: Reaction::UnknownOutcome, ..fault })?;
        drop(lock);
        Ok(self.process(&directory, &record))
    }

    fn inspect(&self, id: &str) -> Result<Process, Fault> {
        let directory = ProcessDirectory::new(&self.state_dir, id)?;
        self.reap(id);
        let Some(record) = directory.read()? else { return Ok(gone_process(id)) };
        if record.started.is_some() {
            return Ok(self.process(&directory, &record));
        }
        // Another host is starting it at this moment, or was killed while starting it: the lock shows which.
        let Some(_lock) = directory.lock()? else { return Ok(gone_process(id)) };
        let Some(record) = directory.read()? else { return Ok(gone_process(id)) };
        if record.started.is_some() {
            return Ok(self.process(&directory, &record));
        }
        if let Some(started) = members::find_started(id) {
            let record = ProcessRecord { started: Some(started), ..record };
            directory.write(&record)?;
            return Ok(self.process(&directory, &record));
        }
        directory.remove(&self.state_dir, &record)?;
        Ok(gone_process(id))
    }

    fn stop(&self, id: &str, grace: Duration) -> Result<(), Fault> {
        let directory = ProcessDirectory::new(&self.state_dir, id)?;
        let Some(_lock) = directory.lock()? else { return Ok(()) };
        let record = directory.read()?.unwrap_or_default();
        members::terminate(id, record.started.as_ref(), grace, || self.reap(id))?;
        directory.remove(&self.state_dir, &record)
    }

    fn list(&self, after: Option<&str>) -> Result<(Vec<Process>, Option<String>), Fault> {
        let mut ids = ProcessDirectory::list_ids(&self.state_dir)?;
        ids.retain(|id| after.is_none_or(|after| id.as_str() > after));
        ids.sort();
        let more = ids.len() > LIST_PAGE_SIZE;
        ids.truncate(LIST_PAGE_SIZE);
        let cursor = more.then(|| ids.last().cloned()).flatten();
        let mut processes = Vec::with_capacity(ids.len());
        for id in &ids {
            processes.push(self.inspect(id)?);
        }
        processes.retain(|process| process.state != ProcessState::Gone);
        Ok((processes, cursor))
    }

    fn process(&self, directory: &ProcessDirectory, record: &ProcessRecord) -> Process {
        let running = record.started.as_ref().is_some_and(procfs::ProcessIdentity::is_running);
        if running {
            self.rotated_outputs.lock().unwrap_or_else(PoisonError::into_inner).insert(directory.id().to_owned());
            rotate(directory);
        }
        Process {
            instance_id: directory.id().to_owned(),
            state: if running { ProcessState::Running } else { ProcessState::Exited },
            pid: record.started.as_ref().map_or(0, |started| started.pid),
            address: record.address.clone(),
            output: directory.output_file().display().to_string(),
            labels: record.labels.clone(),
        }
    }

    fn exit_of(&self, id: &str) -> Result<Option<ProcessExit>, Fault> {
        let directory = ProcessDirectory::new(&self.state_dir, id)?;
        self.reap(id);
        let record = directory.read()?;
        let started = record.and_then(|record| record.started).filter(|started| !started.is_running());
        Ok(started.and_then(|started| ProcessExit::load(&directory, Some(&started))))
    }

    /// Waits for children of this host that ended, which would stay zombies until the host ends too, and stores their
    /// exits.
    fn reap(&self, id: &str) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = children.get_mut(id) else { return };
        own.retain_mut(|child| match child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) => {
                if let (Some(exit), Ok(directory)) =
                    (ProcessExit::from_status(status), ProcessDirectory::new(&self.state_dir, id))
                {
                    exit.save(&directory);
                }
                false
            }
            Err(_) => false,
        });
        if own.is_empty() {
            children.remove(id);
        }
    }
}

/// Keeps the output of a process short. A failure is only logged: the process must not suffer from it.
fn rotate(directory: &ProcessDirectory) {
    if let Err(error) = output::rotate(directory, output::MAX_OUTPUT_FILE_BYTES) {
        tracing::warn!("cannot rotate the output of {}: {error}", directory.id());
    }
}

fn gone_process(id: &str) -> Process {
    Process {
        instance_id: id.to_owned(),
        state: ProcessState::Gone,
        pid: 0,
        address: String::new(),
        output: String::new(),
        labels: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
