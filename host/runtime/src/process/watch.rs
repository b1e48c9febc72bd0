//! What is done for processes while nobody asks: a host waits for those that end, and keeps their output short. When the host
//! ends before them it leaves a process behind that does the latter, one for each directory of state.

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

use super::directory::{Directory, failed};
use super::procfs::Identity;
use super::{Inner, rotate, spawn};

/// Between two looks at the output. What a process writes in this time comes on top of the longest output.
const LOOK: Duration = Duration::from_secs(2);

/// So many looks pass between two questions whether any process runs.
const LOOKS: u32 = 15;

/// Keeps the output of all processes in this directory of state short, for as long as one of them runs. Returns at once when
/// another process does it already. Blocks.
///
/// # Errors
/// When the directory can't be read.
pub fn keep_outputs_short(state_dir: &Path) -> Result<(), Fault> {
    // Held until the end of this process. Who only asks whether it is held, has it for a moment.
    let Some(_lock) = alone_after_all(state_dir)? else { return Ok(()) };
    for look in 0_u32.. {
        let ids = Directory::all(state_dir)?;
        if ids.is_empty() || (look % LOOKS == 0 && !ids.iter().any(|id| runs(state_dir, id))) {
            break;
        }
        for directory in ids.iter().filter_map(|id| Directory::new(state_dir, id).ok()) {
            rotate(&directory);
        }
        sleep(LOOK);
    }
    Ok(())
}

/// Starts this program with these arguments, which must call [`keep_outputs_short`], unless nothing runs or another process does
/// it already. The new process outlives this one and holds none of its descriptors.
///
/// # Errors
/// When the directory can't be read, or the program can't be started.
pub fn leave_outputs_watched(state_dir: &Path, program: &Path, arguments: &[&Path]) -> Result<(), Fault> {
    let ids = Directory::all(state_dir)?;
    if !ids.iter().any(|id| runs(state_dir, id)) || alone(state_dir)?.is_none() {
        return Ok(());
    }
    spawn::keep_descriptors();
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(drop).map_err(|error| failed("run", program, &error))
}

/// The lock of the one that watches; none when another has it.
fn alone(state_dir: &Path) -> Result<Option<File>, Fault> {
    let path = state_dir.join("outputs.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| failed("open", &path, &error))?;
    Ok(flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok().then_some(file))
}

fn alone_after_all(state_dir: &Path) -> Result<Option<File>, Fault> {
    const ATTEMPTS: u32 = 3;
    for _ in 1..ATTEMPTS {
        if let Some(lock) = alone(state_dir)? {
            return Ok(Some(lock));
        }
        sleep(Duration::from_millis(100));
    }
    alone(state_dir)
}

fn runs(state_dir: &Path, id: &str) -> bool {
    let record = Directory::new(state_dir, id).and_then(|directory| directory.read()).ok().flatten();
    record.and_then(|record| record.started).as_ref().is_some_and(Identity::runs)
}

/// Starts the task, once. It ends with the last handle of these processes, or with the runtime.
pub(super) fn begin(inner: &Arc<Inner>) {
    if !inner.watched.swap(true, Ordering::Relaxed) {
        tokio::spawn(watch(Arc::downgrade(inner)));
    }
}

async fn watch(inner: Weak<Inner>) {
    let Ok(mut ends) = signal(SignalKind::child()) else { return };
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let work = tokio::select! {
            end = ends.recv() => if end.is_some() { Inner::reap_all } else { return },
            _ = looks.tick() => Inner::shorten,
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

    fn shorten(&self) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for id in seen {
            match Directory::new(&self.state_dir, &id) {
                Ok(directory) if directory.exists() => rotate(&directory),
                _ => {
                    self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                }
            }
        }
    }
}
