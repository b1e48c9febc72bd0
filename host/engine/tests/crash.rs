//! Deaths of the process at every transaction, before and after it; the next process finishes or removes.

use std::collections::HashSet;
use std::time::Duration;

use occopus_engine::testing::{Crash, Fakes, infrastructure, node};
use occopus_engine::{EngineError, InstanceState};
use occopus_model::Infrastructure;

fn tiers() -> Infrastructure {
    infrastructure(vec![node("db", 1, &[]), node("web", 2, &["db"]), node("probe", 1, &["web"])])
}

fn fakes() -> Fakes {
    let fakes = Fakes::new();
    let ms = Duration::from_millis;
    fakes.cloud.set_timing(ms(1000), ms(300), ms(200), ms(100));
    fakes
}

/// Waits until the lease of a dead owner has expired.
async fn wait_for_lease_expiry() {
    tokio::time::sleep(Duration::from_secs(16)).await;
}

/// Runs something until it ends or the process dies. Returns true if it died.
async fn run_until_crash<T>(fakes: &Fakes, crash: Crash, work: impl Future<Output = T>) -> bool {
    let dead = fakes.store.crash(crash);
    let died = tokio::select! {
        biased;
        () = dead.cancelled() => true,
        _ = work => false,
    };
    fakes.store.revive();
    died
}

/// Checks that every machine has exactly one record, and every record one machine.
async fn assert_nothing_lost_or_doubled(fakes: &Fakes, when: &str) {
    let machines: Vec<_> = fakes.cloud.machines().into_iter().map(|machine| machine.instance).collect();
    let distinct: HashSet<_> = machines.iter().cloned().collect();
    assert_eq!(distinct.len(), machines.len(), "doubled {when}");
    let recorded: HashSet<_> = match fakes.engine.status("test", false).await {
        Ok(status) => {
            assert!(
                status.nodes.iter().flat_map(|node| &node.instances).all(|it| it.state == InstanceState::Ready),
                "not ready {when}"
            );
            status.nodes.iter().flat_map(|node| &node.instances).map(|instance| instance.id.clone()).collect()
        }
        Err(EngineError::UnknownInfrastructure { .. }) => HashSet::new(),
        Err(error) => panic!("{error} {when}"),
    };
    assert_eq!(distinct, recorded, "lost {when}");
}

fn crash_points(n: u64) -> [Crash; 2] {
    [Crash::Before(n), Crash::After(n)]
}

#[tokio::test(start_paused = true)]
async fn a_build_that_died_is_finished_by_the_next() {
    let mut died = 0;
    for n in 1..200 {
        let mut any = false;
        for crash in crash_points(n) {
            let fakes = fakes();
            if run_until_crash(&fakes, crash, fakes.build(&tiers())).await {
                any = true;
                died += 1;
            }
            wait_for_lease_expiry().await;
            let when = format!("after a crash {crash:?}");
            let status = fakes.build(&tiers()).await.unwrap_or_else(|error| panic!("{error} {when}"));
            assert!(status.is_ready());
            assert_eq!(fakes.cloud.nodes(), ["db", "probe", "web", "web"], "{when}");
            assert_nothing_lost_or_doubled(&fakes, &when).await;
        }
        if !any {
            break;
        }
    }
    assert!(died > 20, "only {died} crashes");
}

#[tokio::test(start_paused = true)]
async fn a_build_that_died_is_removed_by_destroy() {
    let mut died = 0;
    for n in 1..200 {
        let mut any = false;
        for crash in crash_points(n) {
            let fakes = fakes();
            if run_until_crash(&fakes, crash, fakes.build(&tiers())).await {
                any = true;
                died += 1;
            }
            wait_for_lease_expiry().await;
            match fakes.destroy().await {
                Ok(report) => assert!(report.left.is_empty()),
                Err(EngineError::UnknownInfrastructure { .. }) => {}
                Err(error) => panic!("{error} after a crash {crash:?}"),
            }
            assert!(fakes.cloud.machines().is_empty(), "lost after a crash {crash:?}");
            assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
        }
        if !any {
            break;
        }
    }
    assert!(died > 20, "only {died} crashes");
}

#[tokio::test(start_paused = true)]
async fn a_destroy_that_died_is_finished_by_the_next() {
    let mut died = 0;
    for n in 1..200 {
        let mut any = false;
        for crash in crash_points(n) {
            let fakes = fakes();
            fakes.build(&tiers()).await.unwrap();
            if run_until_crash(&fakes, crash, fakes.destroy()).await {
                any = true;
                died += 1;
            }
            wait_for_lease_expiry().await;
            match fakes.destroy().await {
                Ok(report) => assert!(report.left.is_empty()),
                Err(EngineError::UnknownInfrastructure { .. }) => {}
                Err(error) => panic!("{error} after a crash {crash:?}"),
            }
            assert!(fakes.cloud.machines().is_empty(), "lost after a crash {crash:?}");
            assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
        }
        if !any {
            break;
        }
    }
    assert!(died > 10, "only {died} crashes");
}

#[tokio::test(start_paused = true)]
async fn a_build_that_died_at_any_time_is_finished_by_the_next() {
    for after in (0..6000).step_by(50) {
        let (fakes, tiers) = (fakes(), tiers());
        tokio::select! {
            biased;
            () = tokio::time::sleep(Duration::from_millis(after)) => {}
            outcome = fakes.build(&tiers) => drop(outcome),
        }
        wait_for_lease_expiry().await;
        let when = format!("after a crash at {after} ms");
        assert!(fakes.build(&tiers).await.unwrap_or_else(|error| panic!("{error} {when}")).is_ready());
        assert_eq!(fakes.cloud.nodes(), ["db", "probe", "web", "web"], "{when}");
        assert_nothing_lost_or_doubled(&fakes, &when).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_healing_that_died_is_finished_by_the_next() {
    for n in 1..200 {
        let mut any = false;
        for crash in crash_points(n) {
            let fakes = fakes();
            fakes.build(&tiers()).await.unwrap();
            fakes.cloud.remove_machines_of("probe");
            any |= run_until_crash(&fakes, crash, fakes.maintain()).await;
            wait_for_lease_expiry().await;
            let when = format!("after a crash {crash:?}");
            assert!(fakes.maintain().await.unwrap().is_ready(), "{when}");
            assert_eq!(fakes.cloud.nodes(), ["db", "probe", "web", "web"], "{when}");
            assert_nothing_lost_or_doubled(&fakes, &when).await;
        }
        if !any {
            break;
        }
    }
}
