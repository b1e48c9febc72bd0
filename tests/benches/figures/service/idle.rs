//! Costs of a service with little to do, and its reaction times.

use std::time::{Duration, Instant};

use super::child::{Child, Setup};
use super::client::description;
use super::watchers::Watchers;
use crate::measure::{amount, cpu_of, line, median_of, own_memory, resident};

const MEBI: f64 = (1 << 20) as f64;

pub(crate) fn run() {
    let child = Child::start(Setup::default());
    memory(&child, "memory, with nothing to do");
    amount("share of a core, with nothing to do", share(&child, Duration::from_secs(10)), "%");
    reaction(&child);
    for n in 0..100 {
        child.build(&format!("infra-{n}"), &description(2, 5));
    }
    std::thread::sleep(Duration::from_secs(12));
    amount(
        "100 infrastructures of 10 nodes, looked at every 10 s",
        share(&child, Duration::from_secs(30)),
        "% of a core",
    );
    memory(&child, "memory then");
}

fn memory(child: &Child, what: &str) {
    amount(what, resident(child.id()) as f64 / MEBI, "MiB");
    amount("  without compiled plugins and the program, which are files", own_memory(child.id()) as f64 / MEBI, "MiB");
}

/// Returns the processor time in percent of a core.
fn share(child: &Child, time: Duration) -> f64 {
    let before = cpu_of(child.id());
    std::thread::sleep(time);
    (cpu_of(child.id()) - before).as_secs_f64() / time.as_secs_f64() * 100.0
}

/// Measures the time from the response to a request for another number of instances.
fn reaction(child: &Child) {
    child.build("scaled", &description(1, 1));
    let (mut begun, mut done) = (Vec::new(), Vec::new());
    for round in 0..21 {
        // At varying moments between two passes.
        std::thread::sleep(Duration::from_millis(300 + round * 137 % 400));
        let last = child.last_event("scaled");
        let first = Watchers::open(child.addresses.service, "scaled", last, 1);
        let count = 2 + round % 2;
        child.ask("POST", &format!("/infrastructures/scaled/scaleto/n0-0/{count}"), "");
        let answered = Instant::now();
        first.until(last + 1);
        begun.push(answered.elapsed());
        while !is_scaled(child, count) {
            std::thread::sleep(Duration::from_millis(1));
        }
        done.push(answered.elapsed());
    }
    for (what, mut times) in
        [("scaleto answered, until its event arrives", begun), ("until there are so many nodes", done)]
    {
        times.sort();
        line(&format!("{what}: median"), median_of(times.clone()));
        line(&format!("{what}: longest of {}", times.len()), times.last().copied().unwrap_or_default());
    }
}

fn is_scaled(child: &Child, count: u64) -> bool {
    let nodes = child.ask("GET", "/infrastructures/scaled", "").json();
    let instances =
        nodes["n0-0"]["instances"].as_object().map(|all| all.values().filter(|it| it["state"] == "ready").count());
    instances == usize::try_from(count).ok()
}
