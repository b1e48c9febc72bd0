//! Deployments as processes on this machine, and observations of these processes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use crate::Occopus;
use crate::wait::eventually;

/// Returns a number of seconds to sleep that no other test uses, to recognise a process by.
pub fn unique_sleep_seconds(test: u32) -> String {
    format!("{}.{test}", 100_000 + std::process::id())
}

/// Writes the definition of the type `sleeper`: a shell script as a process.
pub fn write_sleeper(occopus: &Occopus, script: &str, health_check: &str) {
    occopus.write(
        "nodes/node_definitions.yaml",
        format!(
            "'node_def:sleeper':\n\
             - resource:\n    type: local\n  \
               contextualisation:\n    type: basic\n    attributes:\n      command: [sh, -c, '{script}']\n  \
               health_check:\n    {health_check}\n"
        ),
    );
}

/// Returns the number of processes that have this argument.
///
/// # Panics
/// Panics if there is no `/proc`.
pub fn processes_with(argument: &str) -> usize {
    let commands = processes().filter_map(|path| std::fs::read(path.join("cmdline")).ok());
    commands.filter(|command| command.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())).count()
}

/// Returns the ids of the processes that have this argument, by instance.
///
/// # Panics
/// Panics if there is no `/proc`.
pub fn instances_with(argument: &str) -> BTreeMap<String, Vec<u32>> {
    let mut instances = BTreeMap::<_, Vec<_>>::new();
    for path in processes() {
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        let instance = variables.find_map(|variable| variable.strip_prefix(b"OCCOPUS_INSTANCE_ID="));
        let pid = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        if let (Some(instance), Some(pid)) = (instance, pid)
            && command.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
        {
            instances.entry(String::from_utf8_lossy(instance).into_owned()).or_default().push(pid);
        }
    }
    instances
}

/// Kills the process of an instance, from outside, and waits until it is gone.
///
/// # Panics
/// Panics if there is none.
pub fn kill_instance(instance: &str) {
    let wanted = format!("OCCOPUS_INSTANCE_ID={instance}");
    let is_it = |path: &PathBuf| {
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    let path = processes().find(is_it).unwrap_or_else(|| panic!("no process of instance {instance}"));
    let pid = path.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a number");
    signal(pid, "KILL");
    eventually("the process is gone", || !is_it(&path));
}

/// Sends a signal.
///
/// # Panics
/// Panics if there is no such process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().expect("kill runs");
    assert!(status.success(), "kill -{name} {pid}");
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok()))
}
