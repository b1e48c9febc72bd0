//! Ctrl-C and its kin, while an infrastructure is worked on.

use std::fs;

use occopus_engine::StopSignal;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::print::note;

/// Listens until the program ends: the first Ctrl-C (or SIGTERM, or the terminal closing) stops in good order, the second
/// at once, the third ends the program.
pub(crate) fn listen(stop: StopSignal, first: &'static str) {
    // Without signals, the default is to die, which loses nothing either: all is recorded.
    let interrupt = signal(SignalKind::interrupt()).ok();
    let terminate = signal(SignalKind::terminate()).ok();
    // Under `nohup` the end of the terminal is to be ignored, and stays so.
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

/// SIGHUP is signal 1: the lowest bit of the mask.
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
