//! Signals (Ctrl-C, SIGTERM, the end of the terminal) while an infrastructure is changed.

use std::fs;

use occopus_engine::StopSignal;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::print::note;

/// Handles signals until the program ends: the first Ctrl-C (or SIGTERM, or end of the terminal) requests an orderly stop
/// and prints `first`, the second stops at once, the third exits the program.
pub(crate) fn listen(stop: StopSignal, first: &'static str) {
    // Without handlers the signal kills the program, which loses nothing either: everything is on record.
    let interrupt = signal(SignalKind::interrupt()).ok();
    let terminate = signal(SignalKind::terminate()).ok();
    // Under `nohup` SIGHUP is ignored, and stays so.
    let hangup = if ignores_hangup() { None } else { signal(SignalKind::hangup()).ok() };
    tokio::spawn(async move {
        let (mut interrupt, mut terminate, mut hangup) = (interrupt, terminate, hangup);
        loop {
            tokio::select! {
                () = wait_for(&mut interrupt) => {}
                () = wait_for(&mut terminate) => {}
                () = wait_for(&mut hangup) => {}
            }
            match stop.request_count() {
                0 => note(first),
                1 => note("stopping at once"),
                _ => std::process::exit(130),
            }
            stop.request();
        }
    });
}

async fn wait_for(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Returns whether SIGHUP is ignored. It is signal 1: the lowest bit of the mask.
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
