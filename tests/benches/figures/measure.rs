//! Timing and printing.

use std::time::{Duration, Instant};

/// Wall time of one run.
pub(crate) fn time(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// Median of several runs, after one that is not counted.
pub(crate) fn median(runs: usize, mut work: impl FnMut()) -> Duration {
    work();
    middle((0..runs.max(1)).map(|_| time(&mut work)).collect())
}

/// Median of these.
pub(crate) fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// One line of the report.
pub(crate) fn line(what: &str, time: Duration) {
    println!("  {what:<58} {:>12.3} ms", time.as_secs_f64() * 1e3);
}

/// One line of the report, that is no time.
pub(crate) fn count(what: &str, number: f64) {
    println!("  {what:<58} {number:>12.0}");
}

/// A ratio with the aim.
pub(crate) fn ratio(what: &str, time: Duration, baseline: Duration, aim: f64) {
    println!("  {what:<58} {:>12.2}    (aim {aim})", time.as_secs_f64() / baseline.as_secs_f64());
}
