//! Healing, within bounds.

use std::time::Duration;

use occopus_engine::ports::{Fault, Phase, Reaction};
use occopus_engine::testing::{Fakes, Script, infrastructure, node};
use occopus_engine::{EngineError, InfrastructureState, InstanceState, MaintainOptions, Run, Scale, What};
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
        let options = MaintainOptions { cyclic: Some(Duration::from_secs(10)), ..MaintainOptions::default() };
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

#[tokio::test(start_paused = true)]
async fn the_bounds_are_those_of_the_infrastructure() {
    for (percent, held) in [(80.0, false), (30.0, true)] {
        let fakes = Fakes::new();
        let mut graph = ten();
        graph.maintenance.hold_above_percent = Some(percent);
        graph.maintenance.replace_at_once_percent = Some(100.0);
        fakes.build(&graph).await.unwrap();
        for n in 0..5 {
            fakes.cloud.force(&format!("n{n}"), Phase::Stopped);
        }
        fakes.cloud.timing(Duration::from_secs(1), Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let begun = tokio::time::Instant::now();
        let status = fakes.maintain().await.unwrap();
        assert_eq!(status.state == InfrastructureState::Held, held, "{percent}");
        assert_eq!(status.state == InfrastructureState::Ready, !held, "{percent}");
        assert!(begun.elapsed() < Duration::from_secs(4), "all at once, once they were seen twice");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_replacement_keeps_nobody_else_from_being_healed() {
    let fakes = Fakes::new();
    // Of twenty, four may be replaced at a time.
    fakes.build(&infrastructure(vec![node("a", 10, &[]), node("b", 10, &[])])).await.unwrap();
    let (stop, keeping) = fakes.keep();
    tokio::time::sleep(Duration::from_secs(25)).await;
    fakes.cloud.timing(Duration::from_secs(600), Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let lose = |node: &str| {
        let machines = fakes.cloud.machines();
        let lost = machines.iter().find(|machine| machine.node == node).unwrap();
        fakes.cloud.lose(&lost.instance);
    };
    lose("a");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fakes.cloud.machines().len(), 19, "it takes ten minutes");
    fakes.cloud.timing(Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::ZERO);
    lose("b");
    lose("a");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(fakes.cloud.machines().len(), 19, "only the first one is missing");
    let status = fakes.engine.status("test", false).await.unwrap();
    assert_eq!(status.state, InfrastructureState::Failing, "two of a node died soon after another");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(fakes.cloud.machines().len(), 20);
    stop.request();
    assert!(keeping.await.unwrap().unwrap().is_ready());
    assert_eq!(fakes.cloud.machines().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn checks_are_spread_over_the_time_between_passes_and_clouds_are_asked_by_the_page() {
    let fakes = Fakes::new();
    fakes.build(&infrastructure(vec![node("a", 200, &[])])).await.unwrap();
    let begun = tokio::time::Instant::now();
    let (asked, checked) = (fakes.cloud.count("observe"), fakes.cloud.checked().len());
    let (stop, keeping) = fakes.keep();
    tokio::time::sleep(Duration::from_secs(101)).await;
    stop.request();
    keeping.await.unwrap().unwrap();
    assert!(fakes.cloud.count("observe") - asked <= 11, "a call for each pass");
    let mut seconds = [0; 101];
    for (_, when) in &fakes.cloud.checked()[checked..] {
        seconds[when.duration_since(begun).as_secs() as usize] += 1;
    }
    assert_eq!(seconds[0], 200, "the first pass is at once");
    assert!(seconds[11..100].iter().all(|number| (5..60).contains(number)), "{seconds:?}");
    let total: i32 = seconds[11..101].iter().sum();
    assert!((1700..=1900).contains(&total), "{total}");
}

#[tokio::test(start_paused = true)]
async fn time_that_the_machine_has_slept_makes_nothing_dead() {
    let fakes = Fakes::new();
    fakes.build(&ten()).await.unwrap();
    let (stop, keeping) = fakes.keep();
    tokio::time::sleep(Duration::from_secs(5)).await;
    fakes.cloud.sick("n4", true);
    tokio::time::sleep(Duration::from_secs(30)).await;
    for jump in [3_600_000, -7_200_000] {
        fakes.clock.jump(jump);
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(fakes.cloud.count("create"), 10, "it fails for less than a minute");
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fakes.cloud.count("create"), 11);
    stop.request();
    stop.request();
    assert!(keeping.await.unwrap().is_err(), "stopped at once");
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_taken_up_again_unless_another_has_it() {
    let fakes = Fakes::new();
    fakes.build(&ten()).await.unwrap();
    let (stop, keeping) = fakes.keep();
    tokio::time::sleep(Duration::from_secs(25)).await;
    fakes.store.end_leases();
    tokio::time::sleep(Duration::from_secs(20)).await;
    fakes.cloud.vanish("n1");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(fakes.cloud.machines().len(), 10);
    stop.request();
    assert!(keeping.await.unwrap().is_ok());
    let (_stop, keeping) = fakes.keep();
    tokio::time::sleep(Duration::from_secs(25)).await;
    fakes.store.end_leases();
    let (_other, others) = fakes.keep();
    let error = keeping.await.unwrap().unwrap_err();
    assert!(matches!(error, EngineError::Owned { .. }), "{error}");
    assert!(!others.is_finished());
}

#[tokio::test(start_paused = true)]
async fn who_maintains_lets_go_when_asked() {
    let fakes = Fakes::new();
    fakes.build(&ten()).await.unwrap();
    assert!(!fakes.engine.detach("test").await.unwrap(), "nobody does");
    let (_stop, keeping) = fakes.keep();
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(fakes.engine.detach("test").await.unwrap());
    assert!(keeping.await.unwrap().unwrap().is_ready());
    // That was not meant for the next one.
    let (stop, keeping) = fakes.keep();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!keeping.is_finished());
    stop.request();
    keeping.await.unwrap().unwrap();
    assert!(matches!(fakes.engine.detach("nobody").await, Err(EngineError::UnknownInfrastructure { .. })));
}

#[tokio::test(start_paused = true)]
async fn suspending_and_resuming_are_events_told_once() {
    let fakes = Fakes::new();
    fakes.build(&ten()).await.unwrap();
    let (stop, keeping) = fakes.keep();
    tokio::time::sleep(Duration::from_secs(15)).await;
    fakes.engine.suspend("test").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    fakes.engine.resume("test").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    stop.request();
    keeping.await.unwrap().unwrap();
    let told: Vec<_> = fakes.events().await.unwrap().into_iter().map(|event| event.what).collect();
    let told: Vec<_> = told.iter().filter(|what| matches!(what, What::Suspended | What::Resumed)).collect();
    assert_eq!(told, [&What::Suspended, &What::Resumed]);
}

#[tokio::test(start_paused = true)]
async fn a_nudge_lets_a_request_be_taken_in_at_once() {
    let fakes = Fakes::new();
    let mut graph = ten();
    graph.nodes[0].scaling.max = 5;
    fakes.build(&graph).await.unwrap();
    let (run, _events) = Run::new();
    let (stop, nudge) = (run.stop.clone(), run.nudge.clone());
    let engine = fakes.engine.clone();
    let options = MaintainOptions { cyclic: Some(Duration::from_secs(3600)), ..MaintainOptions::default() };
    let keeping = tokio::spawn(async move { engine.maintain("test", options, run).await });
    // In the first pause, in the middle of a look that is spread over an hour, and again soon after.
    for wanted in [2, 3, 4] {
        tokio::time::sleep(Duration::from_secs(if wanted == 3 { 4000 } else { 5 })).await;
        fakes.engine.scale("test", "n0", Scale::To(wanted)).await.unwrap();
        nudge.now();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let status = fakes.engine.status("test", false).await.unwrap();
        assert_eq!(status.nodes[0].instances.len(), wanted as usize);
        assert!(status.is_ready());
    }
    stop.request();
    keeping.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn nudges_without_end_do_not_keep_the_dead_from_being_found() {
    let fakes = Fakes::new();
    fakes.build(&ten()).await.unwrap();
    let (run, _events) = Run::new();
    let (stop, nudge) = (run.stop.clone(), run.nudge.clone());
    let engine = fakes.engine.clone();
    let options = MaintainOptions { cyclic: Some(Duration::from_secs(10)), ..MaintainOptions::default() };
    let keeping = tokio::spawn(async move { engine.maintain("test", options, run).await });
    tokio::time::sleep(Duration::from_secs(15)).await;
    fakes.cloud.vanish("n1");
    for _ in 0..60 {
        nudge.now();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(fakes.cloud.machines().len(), 10, "it is replaced");
    stop.request();
    keeping.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_refuses_to_tell_makes_nothing_dead_and_is_said() {
    let fakes = Fakes::new();
    fakes.build(&ten()).await.unwrap();
    fakes.cloud.script(
        "observe",
        "",
        Script::Fault(Fault::new(Reaction::GiveUp, "cloud.odd", "what a strange request")),
    );
    let status = fakes.maintain().await.unwrap();
    assert_eq!(status.state, InfrastructureState::Unreachable);
    let message = status.message.expect("it is said");
    assert_eq!(message, "10 of 10 instances could not be observed: what a strange request");
    assert!(status.nodes.iter().all(|node| node.instances[0].unobserved.is_some()));
    let status = fakes.maintain().await.unwrap();
    assert_eq!((status.message, status.state, fakes.cloud.count("create")), (None, InfrastructureState::Ready, 10));
    assert!(status.nodes.iter().all(|node| node.instances[0].unobserved.is_none()));
}
