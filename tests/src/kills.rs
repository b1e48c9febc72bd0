//! `kill -9` of builds at points that are spread over their duration.

use std::time::Instant;

use crate::Occopus;

/// Number of builds that are killed.
const ROUNDS: u32 = 10;

/// Kills builds, each in a home of its own; finishes every second one, and destroys all. `write` writes the description and
/// returns its path, and `count` returns the number of machines of an infrastructure, of which `expected` are described.
///
/// # Panics
/// Panics if a machine is lost or doubled, or if no build was killed under way.
pub fn kill_builds(write: &dyn Fn(&Occopus) -> &'static str, expected: usize, count: &dyn Fn(&str) -> usize) {
    let id = |round: u32| format!("kill-{}-{round}", std::process::id());
    let occopus = Occopus::new();
    let (file, first) = (write(&occopus), id(0));
    let began = Instant::now();
    occopus.ok(["build", "-i", &first, file]);
    let duration = began.elapsed();
    occopus.ok(["destroy", "-i", &first]);
    let mut killed_under_way = 0;
    for round in 1..=ROUNDS {
        let (occopus, id) = (Occopus::new(), id(round));
        let build = ["build", "-i", &id, write(&occopus)];
        let has_ended = occopus.kill_after(build, duration * round / ROUNDS).is_some();
        let is_recorded = occopus.run(["status", "-i", &id]).code == Some(0);
        killed_under_way += usize::from(is_recorded && !has_ended);
        if round % 2 == 0 {
            occopus.ok(build);
            assert_eq!(count(&id), expected, "round {round}: neither lost nor doubled");
        }
        let destroyed = occopus.run(["destroy", "-i", &id]);
        // Killed before the first record, there is no infrastructure of that name.
        assert!(destroyed.code == Some(0) || !is_recorded, "round {round}: {}", destroyed.stderr);
        assert_eq!(count(&id), 0, "round {round}: nothing is left");
    }
    assert!(killed_under_way > 0, "no build was killed under way");
}
