//! Scans of all processes of this machine, shared by simultaneous callers.
//!
//! Reading `/proc` takes time with the number of processes. Stops of many instances at once would each read all of it,
//! so they share: a caller gets a scan that began after its call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::procfs;

/// Processes that one scan found.
#[derive(Debug, Default)]
pub(super) struct ProcessScan {
    /// Pids by the instance id in the environment.
    by_instance: HashMap<String, Vec<u32>>,
    /// Pids by the process group.
    by_group: HashMap<u32, Vec<u32>>,
}

/// Last scan, and the time at which it began. The lock is held while a new one is made: callers that wait for it share
/// that one.
static LAST_SCAN: Mutex<Option<(Instant, Arc<ProcessScan>)>> = Mutex::new(None);

impl ProcessScan {
    /// Returns a scan that began after this call.
    pub(super) fn fresh() -> Arc<Self> {
        let called = Instant::now();
        let mut last = LAST_SCAN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((began, scan)) = &*last
            && *began >= called
        {
            return Arc::clone(scan);
        }
        let began = Instant::now();
        let scan = Arc::new(Self::read());
        *last = Some((began, Arc::clone(&scan)));
        scan
    }

    fn read() -> Self {
        let mut scan = Self::default();
        for pid in procfs::pids() {
            if let Some(instance) = procfs::instance_of(pid) {
                scan.by_instance.entry(instance).or_default().push(pid);
            }
            if let Some(stat) = procfs::stat(pid) {
                scan.by_group.entry(stat.group).or_default().push(pid);
            }
        }
        scan
    }

    /// Returns the processes with this instance id in their environment.
    pub(super) fn pids_of_instance(&self, id: &str) -> &[u32] {
        self.by_instance.get(id).map_or(&[], Vec::as_slice)
    }

    /// Returns the processes of this group, its leader among them.
    pub(super) fn pids_of_group(&self, group: u32) -> &[u32] {
        self.by_group.get(&group).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_ask_at_once_share_a_scan() {
        let together = std::sync::Barrier::new(64);
        let ask = || {
            together.wait();
            ProcessScan::fresh()
        };
        let scans: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..64).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|one| one.join().expect("no panic")).collect()
        });
        let mut different: Vec<_> = scans.iter().map(Arc::as_ptr).collect();
        different.sort_unstable();
        different.dedup();
        assert!(different.len() < 64, "{} scans for 64 questions", different.len());
        assert_ne!(Arc::as_ptr(&ProcessScan::fresh()), Arc::as_ptr(&scans[0]), "a later question gets a later scan");
    }
}
