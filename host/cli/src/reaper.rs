//! Reaping of zombies that no other code waits for.
//!
//! The first process of a container is the parent of every process whose own parent has ended, such as the children of
//! `local` nodes. It has to wait for them, or they stay as zombies and use up the numbers of processes.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};

/// Pause between two scans. Only a zombie of two scans is reaped: the code that started a child waits for it long before
/// that.
const SCAN_INTERVAL: Duration = Duration::from_secs(5);

/// Starts to reap zombies until the program ends, if it is the first process (pid 1).
pub(crate) fn spawn_if_init() {
    let own = std::process::id();
    if own != 1 {
        return;
    }
    tokio::spawn(async move {
        let mut before = BTreeSet::new();
        loop {
            tokio::time::sleep(SCAN_INTERVAL).await;
            let now = zombies(own);
            for pid in now.intersection(&before) {
                reap(*pid);
            }
            before = now;
        }
    });
}

/// Returns the zombies among the children of a process.
fn zombies(parent: u32) -> BTreeSet<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let zombie = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The second field is a name in parentheses, which may hold spaces and parentheses itself.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let (state, its_parent) = (fields.next()?, fields.next()?.parse::<u32>().ok()?);
        (state == "Z" && its_parent == parent).then_some(pid)
    };
    entries.filter_map(zombie).collect()
}

fn reap(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // Other code may have waited for it in the meantime.
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_is_found_and_reaped() {
        let mut child = std::process::Command::new("true").spawn().expect("starts");
        let pid = i32::try_from(child.id()).expect("a number");
        let own = std::process::id();
        while !zombies(own).contains(&pid) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!zombies(1).contains(&pid) || own == 1);
        reap(pid);
        assert!(!zombies(own).contains(&pid));
        reap(pid);
        assert!(child.wait().is_err(), "it has been waited for");
    }
}
