//! A thousand open streams of events while an infrastructure of a thousand nodes builds.

use std::time::{Duration, Instant};

use super::child::{Child, Setup};
use super::client::description;
use super::watchers::{Received, Watchers};
use crate::measure::{amount, line, median_of_numbers, own_memory};

const STREAMS: usize = 1_000;
const ROUNDS: usize = 3;
/// Id of the infrastructure.
const ID: &str = "thousand";

/// Measurements of one build.
struct BuildFigures {
    took: Duration,
    /// Time until the last stream had the last event.
    delivered_after: Duration,
    /// Memory of the service in bytes: before the streams were open, when they were, and after the build.
    memory: [f64; 3],
    events: u64,
    /// Delays of all events at all clients, in microseconds, sorted.
    latencies: Vec<u32>,
}

impl BuildFigures {
    fn latency_percentile(&self, part: f64) -> f64 {
        let place = (self.latencies.len() as f64 * part) as usize;
        self.latencies.get(place.min(self.latencies.len().saturating_sub(1))).map_or(0.0, |&late| f64::from(late) / 1e3)
    }
}

pub(crate) fn run() {
    let slow = Setup { create: Duration::from_secs(1), boot: Duration::from_millis(500), closed: false };
    println!(" 1,000 nodes in 10 layers, create 1 s, ready 0.5 s later");
    rounds(slow);
    println!(" 1,000 nodes that cost nothing: as fast as it goes");
    rounds(Setup::default());
}

fn rounds(setup: Setup) {
    let (mut without, mut one, mut with) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(build(setup, 0));
        one.push(build(setup, 1));
        with.push(build(setup, STREAMS));
    }
    let seconds = |all: &[BuildFigures], of: fn(&BuildFigures) -> Duration| {
        median_of_numbers(all.iter().map(|built| of(built).as_secs_f64()))
    };
    let time = |all: &[BuildFigures], of| Duration::from_secs_f64(seconds(all, of));
    line("build without streams", time(&without, |built| built.took));
    line("build with 1,000 streams", time(&with, |built| built.took));
    let ratios: Vec<_> =
        with.iter().zip(&without).map(|(with, without)| with.took.as_secs_f64() / without.took.as_secs_f64()).collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    println!("  {:<58} {:>12.2}    (least {least:.2})", "ratio", median_of_numbers(ratios.iter().copied()));
    line("until the last stream has the last event", time(&with, |built| built.delivered_after));
    amount("events, at every stream, once and in order", with.first().map_or(0.0, |built| built.events as f64), "");
    for (what, all) in [("at the only stream", &one), ("at 1,000 streams", &with)] {
        for (name, part) in [("median", 0.5), ("p99", 0.99)] {
            let late = median_of_numbers(all.iter().map(|built| built.latency_percentile(part)));
            amount(&format!("from a change to its event {what}: {name}"), late, "ms");
        }
    }
    let memory = |all: &[BuildFigures], after: usize, before: usize| {
        median_of_numbers(all.iter().map(|built| built.memory[after] - built.memory[before]))
    };
    amount("memory of an open stream", memory(&with, 1, 0) / STREAMS as f64 / 1024.0, "KiB");
    let more = memory(&with, 2, 0) - memory(&without, 2, 0);
    amount("memory of an open stream, after the build", more / STREAMS as f64 / 1024.0, "KiB");
}

/// One node exists before, so that streams can be opened.
fn build(setup: Setup, streams: usize) -> BuildFigures {
    let child = Child::start(setup);
    child.build(ID, &description(1, 1));
    child.wait_until_idle();
    let memory = || own_memory(child.id()) as f64;
    let before = memory();
    let after = child.last_event(ID);
    let watchers = Watchers::open(child.addresses.service, ID, after, streams);
    std::thread::sleep(Duration::from_millis(500));
    let open = memory();
    let began = Instant::now();
    let took = child.build(ID, &description(10, 100));
    let last = child.last_event(ID);
    let heard = watchers.until(last);
    let delivered_after = began.elapsed();
    let memory = [before, open, memory()];
    let mut late: Vec<u32> = heard.iter().flat_map(|heard| heard.latencies.iter().copied()).collect();
    late.sort_unstable();
    for Received { latencies: late, disorder } in &heard {
        assert!(disorder.is_none(), "{disorder:?}");
        assert!(late.len() as u64 >= last - after, "{} of {} events", late.len(), last - after);
    }
    BuildFigures { took, delivered_after, memory, events: last - after, latencies: late }
}
