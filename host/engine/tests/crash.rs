//! Deaths of the process at every transaction, before and after it; the next process finishes or removes.

use std::collections::HashSet;
use std::time::Duration;

use occopus_engine::testing::{Fakes, die_at_every_transaction, infrastructure, node};
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

async fn built() -> Fakes {
    let fakes = fakes();
    fakes.build(&tiers()).await.unwrap();
    fakes
}

/// Checks that every machine has exactly one record, and every record one machine.
async fn assert_nothing_lost_or_doubled(fakes: &Fakes, when: &str) {
    let machines: Vec<_> = fakes.cloud.machines().into_iter().map(|machine| machine.instance).collect();
    let distinct: HashSet<_> = machines.iter().cloned().collect();
    assert_eq!(distinct.len(), machines.len(), "doubled {when}");
    let recorded: HashSet<_> = match fakes.engine.status(&fakes.id, false).await {
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

/// Finishes the build, and checks its result.
async fn finish_build(fakes: &Fakes, when: &str) {
    let status = fakes.build(&tiers()).await.unwrap_or_else(|error| panic!("{error} {when}"));
    assert!(status.is_ready(), "{when}");
    assert_eq!(fakes.cloud.nodes(), ["db", "probe", "web", "web"], "{when}");
    assert_nothing_lost_or_doubled(fakes, when).await;
}

/// Destroys what is left, and checks that nothing is.
async fn finish_destroy(fakes: &Fakes, when: &str) {
    match fakes.destroy().await {
        Ok(report) => assert!(report.left.is_empty(), "{when}"),
        Err(EngineError::UnknownInfrastructure { .. }) => {}
        Err(error) => panic!("{error} {when}"),
    }
    assert!(fakes.cloud.machines().is_empty(), "lost {when}");
    assert_eq!(fakes.store.live_keys(), Vec::<String>::new(), "{when}");
}

#[tokio::test(start_paused = true)]
async fn a_build_that_died_is_finished_by_the_next() {
    let died =
        die_at_every_transaction(async || fakes(), async |fakes| drop(fakes.build(&tiers()).await), finish_build);
    assert!(died.await > 20);
}

#[tokio::test(start_paused = true)]
async fn a_build_that_died_is_removed_by_destroy() {
    let died =
        die_at_every_transaction(async || fakes(), async |fakes| drop(fakes.build(&tiers()).await), finish_destroy);
    assert!(died.await > 20);
}

#[tokio::test(start_paused = true)]
async fn a_destroy_that_died_is_finished_by_the_next() {
    let died = die_at_every_transaction(built, async |fakes| drop(fakes.destroy().await), finish_destroy);
    assert!(died.await > 10);
}

#[tokio::test(start_paused = true)]
async fn a_build_that_died_at_any_time_is_finished_by_the_next() {
    for after in (0..6000).step_by(50) {
        let fakes = fakes();
        let _ = tokio::time::timeout(Duration::from_millis(after), fakes.build(&tiers())).await;
        fakes.wait_for_lease_expiry().await;
        finish_build(&fakes, &format!("after a crash at {after} ms")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_healing_that_died_is_finished_by_the_next() {
    let prepare = async || {
        let fakes = built().await;
        fakes.cloud.remove_machines_of("probe");
        fakes
    };
    let died = die_at_every_transaction(
        prepare,
        async |fakes| drop(fakes.maintain().await),
        async |fakes, when| {
            assert!(fakes.maintain().await.unwrap().is_ready(), "{when}");
            assert_eq!(fakes.cloud.nodes(), ["db", "probe", "web", "web"], "{when}");
            assert_nothing_lost_or_doubled(fakes, when).await;
        },
    );
    assert!(died.await > 5);
}
