//! Facts about processes from `/proc`.

use std::fs;

use serde::{Deserialize, Serialize};

/// Environment variable with the instance id, in all processes of an instance.
pub(super) const INSTANCE_ID_VARIABLE: &str = "OCCOPUS_INSTANCE_ID";

/// Identity of a process, which distinguishes it from any other that has or had its pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessIdentity {
    pub(super) pid: u32,
    /// Start time in clock ticks since the boot.
    pub(super) start_time: u64,
    pub(super) boot_id: String,
}

/// Part of `/proc/PID/stat` that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) zombie: bool,
    pub(super) group: u32,
    pub(super) start_time: u64,
    /// Status as `wait` gives it; meaningful in a zombie only.
    pub(super) exit_code: i32,
}

impl ProcessIdentity {
    /// Returns whether the process still runs. A zombie does not: it has ended.
    pub(super) fn is_running(&self) -> bool {
        self.stat().is_some_and(|stat| !stat.zombie)
    }

    /// Returns its stat, unless the pid is another process's by now.
    pub(super) fn stat(&self) -> Option<Stat> {
        let found = stat(self.pid)?;
        (found.start_time == self.start_time && boot_id() == self.boot_id).then_some(found)
    }
}

/// Returns the identity of a process that exists now.
pub(super) fn identity(pid: u32) -> Option<ProcessIdentity> {
    Some(ProcessIdentity { pid, start_time: stat(pid)?.start_time, boot_id: boot_id() })
}

/// Returns the stat of a process; none if there is no such process.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Parses a stat. The second field is the program's name in parentheses, and may itself hold spaces and parentheses.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // `rest` begins with field 3.
    let field = |number: usize| fields.get(number - 3);
    Some(Stat {
        zombie: matches!(*field(3)?, "Z" | "X" | "x"),
        group: field(5)?.parse().ok()?,
        start_time: field(22)?.parse().ok()?,
        exit_code: field(52).and_then(|text| text.parse().ok()).unwrap_or_default(),
    })
}

/// Returns whether the process has this instance id in the environment with which it was started.
pub(super) fn belongs_to_instance(pid: u32, id: &str) -> bool {
    instance_of(pid).is_some_and(|instance| instance == id)
}

/// Returns the instance id in the environment with which the process was started.
pub(super) fn instance_of(pid: u32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = |entry: &[u8]| {
        let id = entry.strip_prefix(INSTANCE_ID_VARIABLE.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(id.to_vec()).ok()
    };
    environment.split(|byte| *byte == 0).find_map(value)
}

/// Returns all pids but our own.
pub(super) fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    entries.filter_map(pid).filter(|pid| *pid != std::process::id()).collect()
}

/// Returns the id of this boot, which makes start times of an earlier one meaningless.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_whatever_the_name_is() {
        let rest = "7 6 6 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1";
        let expected = |zombie| Some(Stat { zombie, group: 6, start_time: 987_654, exit_code: 0 });
        assert_eq!(parse(&format!("5 (sleep) S {rest}")), expected(false));
        assert_eq!(parse(&format!("5 (a) Z (b c) Z {rest}")), expected(true));
        assert_eq!(parse("5 (sleep) S 1 2"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn this_process_is_found() {
        let me = identity(std::process::id()).unwrap();
        assert!(me.is_running());
        assert!(!ProcessIdentity { start_time: me.start_time + 1, ..me.clone() }.is_running());
        assert!(!ProcessIdentity { boot_id: "another".into(), ..me }.is_running());
    }
}
