//! Healing, within bounds.

use std::time::Duration;

use occopus_engine::ports::{Fault, Phase, Reaction};
use occopus_engine::testing::{Fakes, Script, infrastructure, node};
use occopus_engine::{InfrastructureState, InstanceState, MaintainOptions, Run, What};
use occopus_model::Infrastructure;

fn ten() -> Infrastructure {
    infrastructure((0..10).map(|n| node(&format!("n{n}"), 1, &[])).collect())
}

async fn holds(fakes: &Fakes) -> usize {
    fakes.events().await.unwrap().iter().filter(|event| matches!(event.what, What::Hold { .. })).count()
}

#[tokio::test(start_paused = true)]
async fn a_pass_over_healthy_nodes_changes_nothing() {
    let fakes = Fakes::new();
    fakes.build(&ten()).await.unwrap();
    let (machines, commits) = (fakes.cloud.count("create"), fakes.store.commits());
    let looked = fakes.cloud.count("observe");
    assert_eq!(fakes.maintain().await.unwrap().state, InfrastructureState::Ready);
    assert_eq!(fakes.cloud.count("create"), machines);
    assert_eq!(fakes.cloud.count("observe") - looked, 1, "one call for all");
    assert_eq!(fakes.store.commits() - commits, 1, "the lease, and nothing else");
}

#[tokio::test(start_paused = true)]
async fn a_vanished_a_stopped_and_a_failed_machine_are_replaced() {
    let fakes = Fakes::new();
    fakes.build(&ten()).await.unwrap();
    let before = fakes.engine.status("test", false).await.unwrap();
    fakes.cloud.vanish("n1");
    fakes.cloud.force("n2", Phase::Stopped);
    fakes.cloud.force("n3", Phase::Failed);
    let after = fakes.maintain().await.unwrap();
    assert!(after.is_ready());
    assert_eq!(fakes.cloud.machines().len(), 10);
    for (old, new) in before.nodes.iter().zip(&after.nodes) {
        let replaced = ["n1", "n2", "n3"].contains(&old.name.as_str());
        assert_eq!(old.instances[0].id != new.instances[0].id, replaced, "{}", old.name);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_node_is_replaced_after_its_own_timeout_and_not_before() {
    let fakes = Fakes::new();
    fakes.build(&ten()).await.unwrap();
    fakes.cloud.sick("n4", true);
    let status = fakes.maintain().await.unwrap();
    assert_eq!(status.nodes[4].instances[0].state, InstanceState::Unhealthy);
    assert_eq!(status.state, InfrastructureState::Degraded);
    tokio::time::sleep(Duration::from_secs(59)).await;
    fakes.maintain().await.unwrap();
    assert_eq!(fakes.cloud.count("create"), 10);
    // It recovers, so the time starts again.
    fakes.cloud.sick("n4", false);
    assert!(fakes.maintain().await.unwrap().is_ready());
    fakes.cloud.sick("n4", true);
    fakes.maintain().await.unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    let healing = tokio::spawn({
        let fakes = fakes.clone();
        async move { fakes.maintain().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    fakes.cloud.sick("n4", false);
    assert!(healing.await.unwrap().unwrap().is_ready());
    assert_eq!(fakes.cloud.count("create"), 11);
}

#[tokio::test(start_paused = true)]
async fn when_most_look_dead_at_once_nothing_is_replaced() {
    let fakes = Fakes::new();
    fakes.build(&ten()).await.unwrap();
    for n in 0..5 {
        fakes.cloud.force(&format!("n{n}"), Phase::Stopped);
    }
    let status = fakes.maintain().await.unwrap();
    assert_eq!(status.state, InfrastructureState::Held);
    assert!(status.message.unwrap().contains("5 of 10"));
    fakes.maintain().await.unwrap();
    assert_eq!(holds(&fakes).await, 1);
    assert_eq!((fakes.cloud.count("create"), fakes.cloud.count("destroy")), (10, 0));
    // One recovers: the picture is clear enough.
    fakes.cloud.force("n0", Phase::Running);
    fakes.cloud.vanish("n0");
    fakes.cloud.vanish("n1");
    assert_eq!(fakes.maintain().await.unwrap().state, InfrastructureState::Held);
    assert_eq!(fakes.cloud.count("create"), 10);
}

#[tokio::test(start_paused = true)]
async fn a_hold_ends_when_the_picture_clears() {
    let fakes = Fakes::new();
    fakes.build(&ten()).await.unwrap();
    for _ in 0..4 {
        fakes.cloud.force("n0", Phase::Stopped);
    }
    for n in 1..5 {
        fakes.cloud.force(&format!("n{n}"), Phase::Stopped);
    }
    assert_eq!(fakes.maintain().await.unwrap().state, InfrastructureState::Held);
    // An explicit build is not bounded.
    assert!(fakes.build(&ten()).await.unwrap().is_ready());
    assert_eq!(fakes.cloud.machines().len(), 10);
    assert!(fakes.maintain().await.unwrap().is_ready());
}

#[tokio::test(start_paused = true)]
async fn unreachable_is_not_dead() {
    let fakes = Fakes::new();
    fakes.build(&ten()).await.unwrap();
    for reaction in [Reaction::Retry, Reaction::UnknownOutcome, Reaction::Denied] {
        let fault = Fault::new(reaction, "fake.down", "the cloud does not answer");
        fakes.cloud.script("observe", "", Script::Fault(fault));
        fakes.maintain().await.unwrap();
    }
    for n in 0..10 {
        fakes.cloud.force(&format!("n{n}"), Phase::Unknown);
    }
    fakes.maintain().await.unwrap();
    assert_eq!((fakes.cloud.count("create"), fakes.cloud.count("destroy")), (10, 0));
}

#[tokio::test(start_paused = true)]
async fn cyclic_maintenance_heals_and_stops() {
    let fakes = Fakes::new();
    fakes.build(&ten()).await.unwrap();
    let (run, mut events) = Run::new();
    let stop = run.stop.clone();
    let keeping = tokio::spawn({
        let engine = fakes.engine.clone();
        let options = MaintainOptions { cyclic: Some(Duration::from_secs(10)) };
        async move { engine.maintain("test", options, run).await }
    });
    tokio::time::sleep(Duration::from_secs(100)).await;
    fakes.cloud.vanish("n7");
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(fakes.cloud.machines().len(), 10);
    stop.request();
    assert!(keeping.await.unwrap().unwrap().is_ready());
    let mut replaced = 0;
    while let Some(event) = events.recv().await {
        replaced += usize::from(matches!(event.what, What::NodeReplacing { .. }));
    }
    assert_eq!(replaced, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_suspended_is_left_alone_until_it_is_resumed() {
    let fakes = Fakes::new();
    fakes.build(&infrastructure(vec![node("a", 2, &[])])).await.unwrap();
    fakes.engine.suspend("test").await.unwrap();
    fakes.cloud.vanish("a");
    let calls = fakes.cloud.calls().len();
    let status = fakes.maintain().await.unwrap();
    assert!(status.suspended);
    assert_eq!((fakes.cloud.calls().len(), fakes.cloud.machines().len()), (calls, 0), "nothing is asked or made");
    fakes.engine.resume("test").await.unwrap();
    fakes.engine.resume("test").await.unwrap();
    for _ in 0..3 {
        fakes.build(&infrastructure(vec![node("a", 2, &[])])).await.unwrap();
    }
    assert!(!fakes.engine.status("test", false).await.unwrap().suspended);
    assert_eq!(fakes.cloud.machines().len(), 2);
    assert!(fakes.engine.suspend("nobody").await.is_err());
    fakes.engine.suspend("test").await.unwrap();
    fakes.destroy().await.unwrap();
    assert_eq!(fakes.store.keys(), Vec::<String>::new());
}
