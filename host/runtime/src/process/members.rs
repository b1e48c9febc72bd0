//! Members of an instance: its process group, and those that left the group but have the instance id in their
//! environment.

use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use occopus_engine::ports::{Fault, Reaction};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use super::process_scan::ProcessScan;
use super::procfs::{self, ProcessIdentity};

const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Time after which a process that SIGKILL does not end is taken to hang in the kernel.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// A process that can't be confused with another: the descriptor stays with it when its pid is reused.
struct Member {
    /// Descriptor of the process; none if the kernel has no such descriptors.
    descriptor: Option<OwnedFd>,
    pid: Pid,
    identity: ProcessIdentity,
}

impl Member {
    /// Opens a process that runs and belongs to the instance. The descriptor is opened before the process is examined,
    /// so that both are of one process: had the pid been reused in between, the process behind the descriptor would be
    /// gone.
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

    /// Sends a signal. An error is ignored: the process is gone, as intended, or is not ours to end, which
    /// [`terminate`] reports in time.
    fn signal(&self, signal: Signal) {
        let _ = match &self.descriptor {
            Some(descriptor) => pidfd_send_signal(descriptor, signal),
            None if self.identity.is_running() => kill_process(self.pid, signal),
            None => Ok(()),
        };
    }
}

/// Returns the process that an interrupted start left behind: the oldest with the instance id in its environment. The
/// lock must be held.
pub(super) fn find_started(id: &str) -> Option<ProcessIdentity> {
    let oldest = || {
        let scan = ProcessScan::fresh();
        let members = scan.pids_of_instance(id).iter().filter_map(|pid| procfs::identity(*pid));
        let running = members.filter(ProcessIdentity::is_running);
        running.min_by_key(|identity| (identity.start_time, identity.pid))
    };
    oldest().or_else(|| {
        // The kernel frees the inherited lock a moment before it shows the new environment.
        sleep(Duration::from_millis(50));
        oldest()
    })
}

/// Ends all members: SIGTERM, after `grace` SIGKILL. Blocks until all are gone.
///
/// # Errors
/// Fails if a process has not ended [`KILL_TIMEOUT`] after the grace.
pub(super) fn terminate(
    id: &str,
    leader: Option<&ProcessIdentity>,
    grace: Duration,
    reap: impl Fn(),
) -> Result<(), Fault> {
    let began = Instant::now();
    // Members that were found once stay known, also when the leader that makes its group recognisable has ended.
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
                // A stopped process gets it only once it is continued.
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

/// Returns members that are not known yet.
fn new_members(id: &str, leader: Option<&ProcessIdentity>, known: &[Member]) -> Vec<Member> {
    let scan = ProcessScan::fresh();
    let group = leader.map_or(&[][..], |leader| scan.pids_of_group(leader.pid));
    let mut pids: Vec<u32> =
        scan.pids_of_instance(id).iter().chain(group).copied().chain(leader.map(|one| one.pid)).collect();
    pids.sort_unstable();
    pids.dedup();
    let unknown = |pid: &u32| known.iter().all(|member| member.identity.pid != *pid);
    // The scan may be some milliseconds old: each is examined again.
    let open = |pid| Member::open(pid, |identity| belongs(identity, id, leader));
    pids.into_iter().filter(unknown).filter_map(open).collect()
}

/// Returns whether a process is a member: by the instance id in its environment; or by the group, as long as the leader
/// exists (as a zombie too) and thereby keeps the group's number its own.
fn belongs(identity: &ProcessIdentity, id: &str, leader: Option<&ProcessIdentity>) -> bool {
    let in_group = |leader: &ProcessIdentity| {
        procfs::stat(identity.pid).is_some_and(|stat| stat.group == leader.pid) && leader.stat().is_some()
    };
    procfs::belongs_to_instance(identity.pid, id) || leader.is_some_and(|leader| identity == leader || in_group(leader))
}
