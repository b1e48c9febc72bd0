//! Background work for processes: a host waits for those that end, and keeps their output short. If the host ends
//! before them, it leaves a process behind that does the latter, one for each directory of state.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::thread::sleep;
use std::time::Duration;

use occopus_engine::ports::Fault;
use rustix::fs::{FlockOperation, flock};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::directory::ProcessDirectory;
use super::file_error::file_error;
use super::procfs::ProcessIdentity;
use super::{Inner, rotate, spawn};

/// Time between two rotations. What a process writes in this time comes on top of the longest output.
const ROTATION_INTERVAL: Duration = Duration::from_secs(2);

/// Number of rotations between two checks whether any process runs.
const ROTATIONS_PER_LIVENESS_CHECK: u32 = 15;

/// Keeps the output of all processes in this directory of state short, for as long as one of them runs. Returns at once
/// if another process does so already. Blocks.
///
/// # Errors
/// Fails if the directory can't be read.
pub fn run_output_rotation(state_dir: &Path) -> Result<(), Fault> {
    // Held until the end of this process. A process that only checks whether it is held, has it for a moment.
    let Some(_lock) = lock_outputs_with_retry(state_dir)? else { return Ok(()) };
    for round in 0_u32.. {
        let ids = ProcessDirectory::list_ids(state_dir)?;
        if ids.is_empty()
            || (round % ROTATIONS_PER_LIVENESS_CHECK == 0 && !ids.iter().any(|id| is_instance_running(state_dir, id)))
        {
            break;
        }
        for directory in ids.iter().filter_map(|id| ProcessDirectory::new(state_dir, id).ok()) {
            rotate(&directory);
        }
        sleep(ROTATION_INTERVAL);
    }
    Ok(())
}

/// Starts this program with these arguments, which must call [`run_output_rotation`], unless nothing runs or another
/// process does so already. The new process outlives this one and holds none of its descriptors.
///
/// # Errors
/// Fails if the directory can't be read, or the program can't be started.
pub fn spawn_output_rotation(state_dir: &Path, program: &Path, arguments: &[&Path]) -> Result<(), Fault> {
    let ids = ProcessDirectory::list_ids(state_dir)?;
    if !ids.iter().any(|id| is_instance_running(state_dir, id)) || try_lock_outputs(state_dir)?.is_none() {
        return Ok(());
    }
    spawn::set_descriptors_cloexec();
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(drop).map_err(|error| file_error("run", program, &error))
}

/// Takes the lock of the rotation; none if another process has it.
fn try_lock_outputs(state_dir: &Path) -> Result<Option<File>, Fault> {
    let path = state_dir.join("outputs.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| file_error("open", &path, &error))?;
    Ok(flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok().then_some(file))
}

fn lock_outputs_with_retry(state_dir: &Path) -> Result<Option<File>, Fault> {
    const LOCK_ATTEMPTS: u32 = 3;
    for _ in 1..LOCK_ATTEMPTS {
        if let Some(lock) = try_lock_outputs(state_dir)? {
            return Ok(Some(lock));
        }
        sleep(Duration::from_millis(100));
    }
    try_lock_outputs(state_dir)
}

fn is_instance_running(state_dir: &Path, id: &str) -> bool {
    let record = ProcessDirectory::new(state_dir, id).and_then(|directory| directory.read()).ok().flatten();
    record.and_then(|record| record.started).as_ref().is_some_and(ProcessIdentity::is_running)
}

/// Starts the background task, once. It ends with the last handle of these processes, or with the runtime.
pub(super) fn start_watch(inner: &Arc<Inner>) {
    if !inner.is_watch_started.swap(true, Ordering::Relaxed) {
        tokio::spawn(watch_processes(Arc::downgrade(inner)));
    }
}

async fn watch_processes(inner: Weak<Inner>) {
    let Ok(mut child_signals) = signal(SignalKind::child()) else { return };
    let mut rotations = interval(ROTATION_INTERVAL);
    rotations.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let work = tokio::select! {
            received = child_signals.recv() => if received.is_some() { Inner::reap_all } else { return },
            // The first tick comes at once: for children that ended before their signal was listened to.
            _ = rotations.tick() => Inner::reap_all_and_rotate_outputs,
        };
        let Some(inner) = inner.upgrade() else { return };
        if tokio::task::spawn_blocking(move || work(&inner)).await.is_err() {
            return;
        }
    }
}

impl Inner {
    fn reap_all(&self) {
        let ids: Vec<String> = self.children.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        for id in ids {
            self.reap(&id);
        }
    }

    fn reap_all_and_rotate_outputs(&self) {
        self.reap_all();
        self.rotate_outputs();
    }

    fn rotate_outputs(&self) {
        let ids = self.rotated_outputs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for id in ids {
            match ProcessDirectory::new(&self.state_dir, &id) {
                Ok(directory) if directory.exists() => rotate(&directory),
                _ => {
                    self.rotated_outputs.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                }
            }
        }
    }
}
