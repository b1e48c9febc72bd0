//! All processes of an instance: its group, and whoever left the group and still carries the mark.

use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use occopus_engine::ports::{Fault, Reaction};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use super::process_scan::ProcessScan;
use super::procfs::{self, ProcessIdentity};

const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// A process that SIGKILL does not end within this time hangs in the kernel.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// A process that can't be confused with another: the descriptor stays with it when its pid is used again.
struct Member {
    /// None where the kernel has no such descriptors.
    descriptor: Option<OwnedFd>,
    pid: Pid,
    identity: ProcessIdentity,
}

impl Member {
    /// Opens first and looks then, so that what was seen belongs to what was opened: had the pid changed hands in between,
    /// there would be nobody behind the descriptor.
    fn open(pid: u32, belongs: impl Fn(&ProcessIdentity) -> bool) -> Option<Self> {
        let number = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let descriptor = match pidfd_open(number, PidfdFlags::empty()) {
            Ok(descriptor) => Some(descriptor),
            Err(Errno::SRCH) => return None,
            Err(_) => None,
        };
        let identity = procfs::identity(pid)?;
        (identity.is_running() && belongs(&identity)).then_some(Self { descriptor, pid: number, identity })
    }

    /// An error means that it is gone, which is what is wanted, or that it is not ours to end, which shows in time.
    fn signal(&self, signal: Signal) {
        let _ = match &self.descriptor {
            Some(descriptor) => pidfd_send_signal(descriptor, signal),
            None if self.identity.is_running() => kill_process(self.pid, signal),
            None => Ok(()),
        };
    }
}

/// The process that an interrupted start left behind: the oldest with the mark. To be called with the lock held.
pub(super) fn find_started(id: &str) -> Option<ProcessIdentity> {
    let oldest = || {
        let scan = ProcessScan::fresh();
        let marked = scan.pids_of_instance(id).iter().filter_map(|pid| procfs::identity(*pid));
        let running = marked.filter(ProcessIdentity::is_running);
        running.min_by_key(|identity| (identity.start_time, identity.pid))
    };
    oldest().or_else(|| {
        // The kernel frees the inherited lock a moment before it shows the new environment.
        sleep(Duration::from_millis(50));
        oldest()
    })
}

/// Ends all of them: SIGTERM, after the grace SIGKILL. Returns when all are gone.
pub(super) fn terminate(
    id: &str,
    leader: Option<&ProcessIdentity>,
    grace: Duration,
    reap: impl Fn(),
) -> Result<(), Fault> {
    let began = Instant::now();
    // Those seen once stay known, also when the leader that makes its group recognisable has ended.
    let mut known: Vec<Member> = Vec::new();
    loop {
        reap();
        known.retain(|member| member.identity.is_running());
        let killing = began.elapsed() >= grace;
        if known.is_empty() || killing {
            // They may have started others in the meantime.
            let new = new_members(id, leader, &known);
            if known.is_empty() && new.is_empty() {
                return Ok(());
            }
            for member in &new {
                member.signal(Signal::TERM);
                // One that is stopped gets it only when it goes on.
                member.signal(Signal::CONT);
            }
            known.extend(new);
        }
        if killing {
            for member in &known {
                member.signal(Signal::KILL);
            }
        }
        if began.elapsed() >= grace.saturating_add(KILL_TIMEOUT) {
            let pids: Vec<String> = known.iter().map(|member| member.identity.pid.to_string()).collect();
            let message = format!("these processes do not end after SIGKILL: {}", pids.join(", "));
            return Err(Fault::new(Reaction::Retry, "process.does-not-end", message));
        }
        sleep(POLL_INTERVAL);
    }
}

/// Members that are not known yet.
fn new_members(id: &str, leader: Option<&ProcessIdentity>, known: &[Member]) -> Vec<Member> {
    let scan = ProcessScan::fresh();
    let group = leader.map_or(&[][..], |leader| scan.pids_of_group(leader.pid));
    let mut pids: Vec<u32> =
        scan.pids_of_instance(id).iter().chain(group).copied().chain(leader.map(|one| one.pid)).collect();
    pids.sort_unstable();
    pids.dedup();
    let unknown = |pid: &u32| known.iter().all(|member| member.identity.pid != *pid);
    // The scan may be some milliseconds old: each is looked at again.
    let open = |pid| Member::open(pid, |identity| belongs(identity, id, leader));
    pids.into_iter().filter(unknown).filter_map(open).collect()
}

/// By the mark; or by the group, as long as the leader exists (as a zombie too) and thereby keeps the group's number its
/// own.
fn belongs(identity: &ProcessIdentity, id: &str, leader: Option<&ProcessIdentity>) -> bool {
    let in_group = |leader: &ProcessIdentity| {
        procfs::stat(identity.pid).is_some_and(|stat| stat.group == leader.pid) && leader.stat().is_some()
    };
    procfs::belongs_to_instance(identity.pid, id) || leader.is_some_and(|leader| identity == leader || in_group(leader))
}
