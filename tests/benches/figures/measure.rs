//! Timing and printing.

use std::time::{Duration, Instant};

/// Measures the wall time of one run.
pub(crate) fn time(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// Returns the median of several runs, after one that is not counted.
pub(crate) fn median(runs: usize, mut work: impl FnMut()) -> Duration {
    work();
    median_of((0..runs.max(1)).map(|_| time(&mut work)).collect())
}

/// Returns the median of these times.
pub(crate) fn median_of(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Prints one line of the report.
pub(crate) fn line(what: &str, time: Duration) {
    println!("  {what:<58} {:>12.3} ms", time.as_secs_f64() * 1e3);
}

/// Prints one line of the report without a time.
pub(crate) fn count(what: &str, number: f64) {
    println!("  {what:<58} {number:>12.0}");
}

/// Prints one line of the report, with a unit.
pub(crate) fn amount(what: &str, number: f64, unit: &str) {
    println!("  {what:<58} {number:>12.1} {unit}");
}

/// Returns the median of these numbers.
pub(crate) fn median_of_numbers(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Returns the processor time of this process so far, of all its threads.
pub(crate) fn cpu() -> Duration {
    cpu_of(std::process::id())
}

/// Returns the processor time of a process so far, of all its threads.
pub(crate) fn cpu_of(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("/proc");
    let fields: Vec<_> = stat.rsplit_once(')').expect("a name").1.split_ascii_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number");
    // A tick is a hundredth of a second on all systems in use.
    Duration::from_millis(ticks * 10)
}

/// Resets the highest resident memory.
pub(crate) fn reset_peak_memory() {
    std::fs::write("/proc/self/clear_refs", "5").expect("/proc");
}

/// Returns the highest resident memory, in bytes.
pub(crate) fn peak_memory() -> u64 {
    memory(std::process::id(), "VmHWM:")
}

/// Returns the private resident memory of a process (without that of files), in bytes.
pub(crate) fn own_memory(process: u32) -> u64 {
    memory(process, "RssAnon:")
}

/// Returns the resident memory of a process, in bytes.
pub(crate) fn resident(process: u32) -> u64 {
    memory(process, "VmRSS:")
}

fn memory(process: u32, label: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix(label)).expect("a line");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}

/// Prints a ratio with its target.
pub(crate) fn ratio(what: &str, time: Duration, baseline: Duration, aim: f64) {
    println!("  {what:<58} {:>12.2}    (aim {aim})", time.as_secs_f64() / baseline.as_secs_f64());
}
