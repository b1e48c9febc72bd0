//! Healing, within limits.

use std::time::Duration;

use occopus_engine::ports::{Fault, Phase, Reaction};
use occopus_engine::testing::{Fakes, Script, id, infrastructure, node};
use occopus_engine::{EngineError, EventKind, InfrastructureState, InstanceState, MaintainOptions, RunHandle, Scale};
use occopus_model::Infrastructure;

fn ten() -> Infrastructure {
    infrastructure((0..10).map(|n| node(&format!("n{n}"), 1, &[])).collect())
}

async fn built(graph: &Infrastructure) -> Fakes {
    let fakes = Fakes::new();
    fakes.build(graph).await.unwrap();
    fakes
}

async fn count_hold_events(fakes: &Fakes) -> usize {
    fakes.events().await.unwrap().iter().filter(|event| matches!(event.kind, EventKind::Hold { .. })).count()
}

#[tokio::test(start_paused = true)]
async fn a_pass_over_healthy_nodes_changes_nothing() {
    let fakes = built(&ten()).await;
    let (machines, commits) = (fakes.cloud.count("create"), fakes.store.commits());
    let observed = fakes.cloud.count("observe");
    assert_eq!(fakes.maintain().await.unwrap().state, InfrastructureState::Ready);
    assert_eq!(fakes.cloud.count("create"), machines);
    assert_eq!(fakes.cloud.count("observe") - observed, 1, "one call for all");
    assert_eq!(fakes.store.commits() - commits, 1, "the lease, and nothing else");
}

#[tokio::test(start_paused = true)]
async fn a_vanished_a_stopped_and_a_failed_machine_are_replaced() {
    let fakes = built(&ten()).await;
    let before = fakes.engine.status(&fakes.id, false).await.unwrap();
    fakes.cloud.remove_machines_of("n1");
    fakes.cloud.set_phase("n2", Phase::Stopped);
    fakes.cloud.set_phase("n3", Phase::Failed);
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
    let fakes = built(&ten()).await;
    fakes.cloud.set_sick("n4", true);
    let status = fakes.maintain().await.unwrap();
    assert_eq!(status.nodes[4].instances[0].state, InstanceState::Unhealthy);
    assert_eq!(status.state, InfrastructureState::Degraded);
    tokio::time::sleep(Duration::from_secs(59)).await;
    fakes.maintain().await.unwrap();
    assert_eq!(fakes.cloud.count("create"), 10);
    // It recovers, so the time starts again.
    fakes.cloud.set_sick("n4", false);
    assert!(fakes.maintain().await.unwrap().is_ready());
    fakes.cloud.set_sick("n4", true);
    fakes.maintain().await.unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    let healing = tokio::spawn({
        let fakes = fakes.clone();
        async move { fakes.maintain().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    fakes.cloud.set_sick("n4", false);
    assert!(healing.await.unwrap().unwrap().is_ready());
    assert_eq!(fakes.cloud.count("create"), 11);
}

#[tokio::test(start_paused = true)]
async fn when_most_look_dead_at_once_nothing_is_replaced() {
    let fakes = built(&ten()).await;
    for n in 0..5 {
        fakes.cloud.set_phase(&format!("n{n}"), Phase::Stopped);
    }
    let status = fakes.maintain().await.unwrap();
    assert_eq!(status.state, InfrastructureState::Held);
    assert!(status.message.unwrap().contains("5 of 10"));
    fakes.maintain().await.unwrap();
    assert_eq!(count_hold_events(&fakes).await, 1);
    assert_eq!((fakes.cloud.count("create"), fakes.cloud.count("destroy")), (10, 0));
    // One recovers, two vanish: the hold goes on.
    fakes.cloud.set_phase("n0", Phase::Running);
    fakes.cloud.remove_machines_of("n0");
    fakes.cloud.remove_machines_of("n1");
    assert_eq!(fakes.maintain().await.unwrap().state, InfrastructureState::Held);
    assert_eq!(fakes.cloud.count("create"), 10);
}

#[tokio::test(start_paused = true)]
async fn an_explicit_build_ends_a_hold() {
    let fakes = built(&ten()).await;
    for n in 0..5 {
        fakes.cloud.set_phase(&format!("n{n}"), Phase::Stopped);
    }
    assert_eq!(fakes.maintain().await.unwrap().state, InfrastructureState::Held);
    // An explicit build is not limited.
    assert!(fakes.build(&ten()).await.unwrap().is_ready());
    assert_eq!(fakes.cloud.machines().len(), 10);
    assert!(fakes.maintain().await.unwrap().is_ready());
}

#[tokio::test(start_paused = true)]
async fn unreachable_is_not_dead() {
    let fakes = built(&ten()).await;
    for reaction in [Reaction::Retry, Reaction::UnknownOutcome, Reaction::Denied] {
        let fault = Fault::new(reaction, "fake.down", "the cloud does not answer");
        fakes.cloud.script("observe", "", Script::Fault(fault));
        fakes.maintain().await.unwrap();
    }
    for n in 0..10 {
        fakes.cloud.set_phase(&format!("n{n}"), Phase::Unknown);
    }
    fakes.maintain().await.unwrap();
    assert_eq!((fakes.cloud.count("create"), fakes.cloud.count("destroy")), (10, 0));
}

#[tokio::test(start_paused = true)]
async fn cyclic_maintenance_heals_and_stops() {
    let fakes = built(&ten()).await;
    let (run, mut events) = RunHandle::new();
    let stop = run.stop.clone();
    let maintaining = fakes.spawn_maintain_every(Duration::from_secs(10), run);
    tokio::time::sleep(Duration::from_secs(100)).await;
    fakes.cloud.remove_machines_of("n7");
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(fakes.cloud.machines().len(), 10);
    stop.request();
    assert!(maintaining.await.unwrap().unwrap().is_ready());
    let mut replaced = 0;
    while let Some(event) = events.recv().await {
        replaced += usize::from(matches!(event.kind, EventKind::NodeReplacing { .. }));
    }
    assert_eq!(replaced, 1);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_infrastructure_is_left_alone_until_it_is_resumed() {
    let fakes = built(&infrastructure(vec![node("a", 2, &[])])).await;
    fakes.engine.suspend(&fakes.id).await.unwrap();
    fakes.cloud.remove_machines_of("a");
    let calls = fakes.cloud.calls().len();
    let status = fakes.maintain().await.unwrap();
    assert!(status.suspended);
    assert_eq!((fakes.cloud.calls().len(), fakes.cloud.machines().len()), (calls, 0), "no call is made");
    fakes.engine.resume(&fakes.id).await.unwrap();
    fakes.engine.resume(&fakes.id).await.unwrap();
    for _ in 0..3 {
        fakes.build(&infrastructure(vec![node("a", 2, &[])])).await.unwrap();
    }
    assert!(!fakes.engine.status(&fakes.id, false).await.unwrap().suspended);
    assert_eq!(fakes.cloud.machines().len(), 2);
    assert!(fakes.engine.suspend(&id("nobody")).await.is_err());
    fakes.engine.suspend(&fakes.id).await.unwrap();
    fakes.destroy().await.unwrap();
    assert_eq!(fakes.store.keys(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_limits_are_those_of_the_infrastructure() {
    for (percent, held) in [(80.0, false), (30.0, true)] {
        let fakes = Fakes::new();
        let mut graph = ten();
        graph.maintenance.hold_above_percent = Some(percent);
        graph.maintenance.replace_at_once_percent = Some(100.0);
        fakes.build(&graph).await.unwrap();
        for n in 0..5 {
            fakes.cloud.set_phase(&format!("n{n}"), Phase::Stopped);
        }
        fakes.cloud.set_timing(Duration::from_secs(1), Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let begun = tokio::time::Instant::now();
        let status = fakes.maintain().await.unwrap();
        assert_eq!(status.state == InfrastructureState::Held, held, "{percent}");
        assert_eq!(status.state == InfrastructureState::Ready, !held, "{percent}");
        assert!(begun.elapsed() < Duration::from_secs(4), "all at once, after the second observation");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_replacement_does_not_delay_others() {
    let fakes = Fakes::new();
    // Of twenty, four may be replaced at a time.
    fakes.build(&infrastructure(vec![node("a", 10, &[]), node("b", 10, &[])])).await.unwrap();
    let (stop, maintaining) = fakes.spawn_maintain();
    tokio::time::sleep(Duration::from_secs(25)).await;
    fakes.cloud.set_timing(Duration::from_secs(600), Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let lose = |node: &str| {
        let machines = fakes.cloud.machines();
        let lost = machines.iter().find(|machine| machine.node == node).unwrap();
        fakes.cloud.remove_machine_of(&lost.instance);
    };
    lose("a");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fakes.cloud.machines().len(), 19, "it takes ten minutes");
    fakes.cloud.set_timing(Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::ZERO);
    lose("b");
    lose("a");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(fakes.cloud.machines().len(), 19, "only the first one is missing");
    let status = fakes.engine.status(&fakes.id, false).await.unwrap();
    assert_eq!(status.state, InfrastructureState::Failing, "two of a node died one soon after the other");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(fakes.cloud.machines().len(), 20);
    stop.request();
    assert!(maintaining.await.unwrap().unwrap().is_ready());
    assert_eq!(fakes.cloud.machines().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn checks_are_spread_over_the_time_between_passes_and_clouds_are_observed_in_batches() {
    let fakes = built(&infrastructure(vec![node("a", 200, &[])])).await;
    let begun = tokio::time::Instant::now();
    let (observed, checked) = (fakes.cloud.count("observe"), fakes.cloud.checked().len());
    let (stop, maintaining) = fakes.spawn_maintain();
    tokio::time::sleep(Duration::from_secs(101)).await;
    stop.request();
    maintaining.await.unwrap().unwrap();
    assert!(fakes.cloud.count("observe") - observed <= 11, "a call for each pass");
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
async fn a_sleep_of_the_host_makes_nothing_dead() {
    let fakes = built(&ten()).await;
    let (stop, maintaining) = fakes.spawn_maintain();
    tokio::time::sleep(Duration::from_secs(5)).await;
    fakes.cloud.set_sick("n4", true);
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
    assert!(maintaining.await.unwrap().is_err(), "stopped at once");
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_acquired_again_unless_another_process_has_it() {
    let fakes = built(&ten()).await;
    let (stop, maintaining) = fakes.spawn_maintain();
    tokio::time::sleep(Duration::from_secs(25)).await;
    fakes.store.end_leases();
    tokio::time::sleep(Duration::from_secs(20)).await;
    fakes.cloud.remove_machines_of("n1");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(fakes.cloud.machines().len(), 10);
    stop.request();
    assert!(maintaining.await.unwrap().is_ok());
    let (_stop, maintaining) = fakes.spawn_maintain();
    // Between two renewals of the lease.
    tokio::time::sleep(Duration::from_secs(27)).await;
    fakes.store.end_leases();
    let (_other, others) = fakes.spawn_maintain();
    let error = maintaining.await.unwrap().unwrap_err();
    assert!(matches!(error, EngineError::Owned { .. }), "{error}");
    assert!(!others.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_owner_detaches_on_request() {
    let fakes = built(&ten()).await;
    assert!(!fakes.engine.detach(&fakes.id).await.unwrap(), "there is no owner");
    let (_stop, maintaining) = fakes.spawn_maintain();
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(fakes.engine.detach(&fakes.id).await.unwrap());
    assert!(maintaining.await.unwrap().unwrap().is_ready());
    // The request is not valid for the next owner.
    let (stop, maintaining) = fakes.spawn_maintain();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!maintaining.is_finished());
    stop.request();
    maintaining.await.unwrap().unwrap();
    assert!(matches!(fakes.engine.detach(&id("nobody")).await, Err(EngineError::UnknownInfrastructure { .. })));
}

#[tokio::test(start_paused = true)]
async fn suspending_and_resuming_are_events_emitted_once() {
    let fakes = built(&ten()).await;
    let (stop, maintaining) = fakes.spawn_maintain();
    tokio::time::sleep(Duration::from_secs(15)).await;
    fakes.engine.suspend(&fakes.id).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    fakes.engine.resume(&fakes.id).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    stop.request();
    maintaining.await.unwrap().unwrap();
    let kinds: Vec<_> = fakes.events().await.unwrap().into_iter().map(|event| event.kind).collect();
    let kinds: Vec<_> = kinds.iter().filter(|kind| matches!(kind, EventKind::Suspended | EventKind::Resumed)).collect();
    assert_eq!(kinds, [&EventKind::Suspended, &EventKind::Resumed]);
}

#[tokio::test(start_paused = true)]
async fn a_wake_signal_lets_a_request_be_applied_at_once() {
    let fakes = Fakes::new();
    let mut graph = ten();
    graph.nodes[0].scaling.max = 5;
    fakes.build(&graph).await.unwrap();
    let (run, _events) = RunHandle::new();
    let (stop, wake) = (run.stop.clone(), run.wake.clone());
    let maintaining = fakes.spawn_maintain_every(Duration::from_secs(3600), run);
    // In the first pause, in the middle of a survey that is spread over an hour, and again soon after.
    for target in [2, 3, 4] {
        tokio::time::sleep(Duration::from_secs(if target == 3 { 4000 } else { 5 })).await;
        fakes.engine.scale(&fakes.id, "n0", Scale::To(target)).await.unwrap();
        wake.wake();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let status = fakes.engine.status(&fakes.id, false).await.unwrap();
        assert_eq!(status.nodes[0].instances.len(), target as usize);
        assert!(status.is_ready());
    }
    stop.request();
    maintaining.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn endless_wake_signals_do_not_keep_dead_instances_from_being_found() {
    let fakes = built(&ten()).await;
    let (run, _events) = RunHandle::new();
    let (stop, wake) = (run.stop.clone(), run.wake.clone());
    let maintaining = fakes.spawn_maintain_every(Duration::from_secs(10), run);
    tokio::time::sleep(Duration::from_secs(15)).await;
    fakes.cloud.remove_machines_of("n1");
    for _ in 0..60 {
        wake.wake();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(fakes.cloud.machines().len(), 10, "it is replaced");
    stop.request();
    maintaining.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_can_not_be_observed_makes_nothing_dead_and_is_reported() {
    let fakes = built(&ten()).await;
    fakes.cloud.script(
        "observe",
        "",
        Script::Fault(Fault::new(Reaction::GiveUp, "cloud.odd", "what a strange request")),
    );
    let status = fakes.maintain().await.unwrap();
    assert_eq!(status.state, InfrastructureState::Unreachable);
    let message = status.message.expect("a reason");
    assert_eq!(message, "10 of 10 instances could not be observed: what a strange request");
    assert!(status.nodes.iter().all(|node| node.instances[0].unobserved.is_some()));
    let status = fakes.maintain().await.unwrap();
    assert_eq!((status.message, status.state, fakes.cloud.count("create")), (None, InfrastructureState::Ready, 10));
    assert!(status.nodes.iter().all(|node| node.instances[0].unobserved.is_none()));
}

fn lone() -> Infrastructure {
    infrastructure(vec![node("web", 1, &[])])
}

#[tokio::test(start_paused = true)]
async fn one_wrong_answer_replaces_nothing() {
    for graph in [lone(), ten()] {
        let fakes = built(&graph).await;
        let machines = fakes.cloud.machines().len();
        // The list is empty for a moment, or another server answers under the same name.
        fakes.cloud.set_listing_delay(Duration::from_secs(3600));
        let pass = tokio::spawn({
            let fakes = fakes.clone();
            async move { fakes.maintain().await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        fakes.cloud.set_listing_delay(Duration::ZERO);
        assert!(pass.await.unwrap().unwrap().is_ready());
        assert_eq!(fakes.cloud.count("create"), machines);
        // One answer about many: `not-found`, which is about none of them.
        fakes.cloud.script("observe", "", Script::Fault(Fault::new(Reaction::NotFound, "fake.404", "404")));
        fakes.maintain().await.unwrap();
        assert_eq!((fakes.cloud.count("create"), fakes.cloud.machines().len()), (machines, machines));
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_not_listed_is_searched_for_by_its_id_before_it_is_replaced() {
    let fakes = built(&lone()).await;
    fakes.cloud.set_listing_delay(Duration::from_secs(3600));
    for _ in 0..3 {
        fakes.maintain().await.unwrap();
        fakes.build(&lone()).await.unwrap();
    }
    assert_eq!((fakes.cloud.count("create"), fakes.cloud.count("destroy")), (1, 0), "it exists");
    // `find` fails: nothing is replaced.
    fakes.cloud.remove_machines_of("web");
    let broken = Fault::new(Reaction::GiveUp, "fake.403", "who are you?");
    fakes.cloud.script("find", "web", Script::Fault(broken));
    let status = fakes.maintain().await.unwrap();
    assert_eq!((status.is_ready(), fakes.cloud.count("create")), (false, 1));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(fakes.maintain().await.unwrap().is_ready());
    assert_eq!(fakes.cloud.count("create"), 2);
}

#[tokio::test(start_paused = true)]
async fn when_all_vanish_at_once_they_are_observed_again_much_later() {
    for (graph, seconds) in [(lone(), 15), (infrastructure(vec![node("web", 3, &[])]), 15)] {
        let fakes = built(&graph).await;
        fakes.cloud.remove_machines_of("web");
        let (run, mut events) = RunHandle::new();
        let begun = tokio::time::Instant::now();
        fakes.engine.maintain(&fakes.id, MaintainOptions::default(), run).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(seconds));
        let mut is_reported = false;
        while let Some(event) = events.recv().await {
            is_reported |=
                matches!(&event.kind, EventKind::Waiting { message, .. } if message.contains("again in 15 s"));
        }
        assert!(is_reported);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_ends_when_the_cloud_has_reported_the_same_for_ten_minutes() {
    for (minutes, released) in [(None, true), (Some(0.0), false), (Some(60.0), false)] {
        let fakes = Fakes::new();
        let mut graph = infrastructure(vec![node("web", 3, &[])]);
        graph.maintenance.hold_minutes = minutes;
        fakes.build(&graph).await.unwrap();
        for machine in fakes.cloud.machines().iter().take(2) {
            fakes.cloud.remove_machine_of(&machine.instance);
        }
        let (stop, maintaining) = fakes.spawn_maintain();
        tokio::time::sleep(Duration::from_secs(500)).await;
        assert_eq!(fakes.cloud.machines().len(), 1, "held");
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(fakes.cloud.machines().len() == 3, released, "{minutes:?}");
        stop.request();
        let state = maintaining.await.unwrap().unwrap().state;
        assert_eq!(state, if released { InfrastructureState::Ready } else { InfrastructureState::Held });
    }
}

#[tokio::test(start_paused = true)]
async fn checks_that_fail_never_end_a_hold() {
    let fakes = built(&infrastructure(vec![node("web", 3, &[])])).await;
    fakes.cloud.set_sick("web", true);
    let (stop, maintaining) = fakes.spawn_maintain();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(fakes.cloud.count("create"), 3);
    stop.request();
    assert_eq!(maintaining.await.unwrap().unwrap().state, InfrastructureState::Held);
}

/// Stops every machine of `web` once a second, like a machine whose command ends.
fn short_lived(fakes: &Fakes) -> tokio::task::JoinHandle<()> {
    let cloud = fakes.cloud.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            cloud.set_phase("web", Phase::Stopped);
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_again_and_again_is_tried_with_growing_pauses() {
    let fakes = built(&lone()).await;
    let ending = short_lived(&fakes);
    let (run, _events) = RunHandle::new();
    let stop = run.stop.clone();
    let maintaining = fakes.spawn_maintain_every(Duration::from_secs(2), run);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let made = fakes.cloud.count("create");
    assert!((4..=6).contains(&made), "{made} in two minutes");
    let status = fakes.engine.status(&fakes.id, false).await.unwrap();
    assert_eq!(status.state, InfrastructureState::Failing, "{status:?}");
    assert!(status.message.unwrap().contains("times in a row, next attempt at 2026-"));
    let failing = status.nodes[0].failing.clone().expect("it is counted");
    assert!(failing.failures >= 4 && failing.message.contains("stopped"), "{failing:?}");
    stop.request();
    maintaining.await.unwrap().unwrap();

    // Another process continues where that one has stopped.
    let status = fakes.maintain().await.unwrap();
    assert_eq!((status.state, fakes.cloud.count("create")), (InfrastructureState::Failing, made));
    let events = fakes.events().await.unwrap();
    let pauses: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::NodeFailing { seconds, .. } => Some(*seconds),
            _ => None,
        })
        .collect();
    assert_eq!(pauses[..3], [10.0, 20.0, 40.0], "{pauses:?}");

    // It is repaired, and ready for long enough: its failures are cleared.
    ending.abort();
    let (stop, maintaining) = fakes.spawn_maintain();
    tokio::time::sleep(Duration::from_secs(400)).await;
    let status = fakes.engine.status(&fakes.id, false).await.unwrap();
    assert!(status.is_ready() && status.nodes[0].failing.is_some(), "{status:?}");
    tokio::time::sleep(Duration::from_secs(700)).await;
    stop.request();
    let status = maintaining.await.unwrap().unwrap();
    assert!(status.is_ready() && status.nodes[0].failing.is_none(), "{status:?}");
    assert_eq!(fakes.cloud.count("create"), made + 1);
}

#[tokio::test(start_paused = true)]
async fn creates_that_fail_are_retried_with_pauses_and_several_at_a_time_count_once() {
    let fakes = built(&infrastructure(vec![node("web", 5, &[]), node("db", 5, &[])])).await;
    for machine in fakes.cloud.machines().iter().filter(|machine| machine.node == "web").take(3) {
        fakes.cloud.remove_machine_of(&machine.instance);
    }
    for _ in 0..3 {
        fakes.cloud.script("create", "web", Script::Fault(Fault::new(Reaction::GiveUp, "fake.no", "no such image")));
    }
    let status = fakes.maintain().await.unwrap();
    let failing = status.nodes[0].failing.clone().expect("it is counted");
    assert!(failing.failures <= 2, "three at a time: {failing:?}");
    assert_eq!(status.state, InfrastructureState::Failing);
    let tried = fakes.cloud.count("create");
    fakes.maintain().await.unwrap();
    assert_eq!(fakes.cloud.count("create"), tried, "in the pause");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(fakes.maintain().await.unwrap().is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_node_without_checks_must_run_for_a_moment_before_it_is_ready() {
    for (seconds, ready) in [(None, false), (Some(0.2), true), (Some(0.0), true), (Some(5.0), false)] {
        let fakes = Fakes::new();
        let mut graph = lone();
        let health = &mut graph.definitions["small"][0].health_check;
        health.checks.clear();
        health.min_ready_seconds = seconds;
        let begun = tokio::time::Instant::now();
        let ending = tokio::spawn({
            let cloud = fakes.cloud.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(900)).await;
                cloud.set_phase("web", Phase::Stopped);
            }
        });
        assert_eq!(fakes.build(&graph).await.is_ok(), ready, "{seconds:?}");
        if let (true, Some(seconds)) = (ready, seconds) {
            assert!(begun.elapsed() >= Duration::from_secs_f64(seconds));
        }
        ending.abort();
    }
    // A node that goes on running is ready soon.
    let fakes = Fakes::new();
    let mut graph = lone();
    graph.definitions["small"][0].health_check.checks.clear();
    let begun = tokio::time::Instant::now();
    assert!(fakes.build(&graph).await.unwrap().is_ready());
    assert!((1.0..1.5).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
}
