//! The identity of a process as the holder of a lease: a text by which another process finds out whether the holder still
//! lives.
//!
//! A lease expires, but only after a while. If its holder is a dead process of this machine, the next one need not wait.

use std::fs;

/// Returns the identity of this process: `process 4711 on myhost (31415926/4026531836-5ca1ab1e)`. In brackets are its
/// start time, its process-id namespace and the boot of the machine, since process ids are reused, and differ in a
/// container.
pub fn this_process() -> String {
    describe_process(std::process::id()).unwrap_or_else(|| format!("process {}", std::process::id()))
}

/// Returns whether this text names a process of this machine that is certainly dead. False in doubt.
pub fn is_dead(holder: &str) -> bool {
    let Some(pid) = holder.strip_prefix("process ").and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok()) else {
        return false;
    };
    // The process id means the same only on the same host, in the same namespace and boot.
    let Some((scope, _)) = split_identity(holder) else { return false };
    let Some(ours) = describe_process(std::process::id()) else { return false };
    if split_identity(&ours).map(|(scope, _)| scope) != Some(scope) {
        return false;
    }
    describe_process(pid).is_none_or(|now| now != holder)
}

/// Splits an identity into what distinguishes its process table (host; namespace and boot) and the start time.
fn split_identity(holder: &str) -> Option<((&str, &str), &str)> {
    let (head, suffix) = holder.strip_suffix(')')?.rsplit_once(" (")?;
    let (started, namespace) = suffix.split_once('/')?;
    let (_, host) = head.split_once(" on ")?;
    Some(((host, namespace), started))
}

/// Returns the identity of a process; none if it does not exist or is a zombie, or if there is no `/proc`.
fn describe_process(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets that may hold anything; the start time is the 22nd field.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    let started = fields.nth(18)?;
    let host = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    let namespace = namespace.to_str()?.trim_start_matches("pid:[").trim_end_matches(']').to_owned();
    let boot = boot.get(..8)?;
    Some(format!("process {pid} on {} ({started}/{namespace}-{boot})", host.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives() {
        assert!(!is_dead(&this_process()));
    }

    #[test]
    fn a_process_that_ended_is_dead() {
        let mut child = std::process::Command::new("true").spawn().expect("starts");
        let holder = describe_process(child.id()).unwrap_or_else(|| {
            // It has ended already: any start time will do.
            this_process().replacen(&std::process::id().to_string(), &child.id().to_string(), 1)
        });
        child.wait().expect("ends");
        assert!(is_dead(&holder), "{holder}");
    }

    #[test]
    fn a_number_that_is_used_again_is_not_the_same_process() {
        let ours = this_process();
        let ((_, _), started) = split_identity(&ours).expect("an identity");
        assert!(is_dead(&ours.replacen(&format!("({started}/"), "(1/", 1)));
    }

    #[test]
    fn nothing_is_concluded_about_other_machines_and_other_texts() {
        let elsewhere = this_process().replacen(" on ", " on not-", 1);
        assert!(!is_dead(&elsewhere.replacen(&std::process::id().to_string(), "4194304999", 1)));
        assert!(!is_dead(&elsewhere));
        assert!(!is_dead("process 4194303"));
        assert!(!is_dead("somebody"));
    }
}
