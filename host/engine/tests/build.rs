//! Builds and removals, on a scripted cloud.

use std::time::Duration;

use occopus_engine::ports::{Fault, Phase, Reaction, Store as _, Transaction, Write};
use occopus_engine::testing::{Fakes, Script, infrastructure, node};
use occopus_engine::{
    EngineError, EventKind, FailureReason, InfrastructureState, InstanceState, OnFailure, RunHandle, Settings,
};
use occopus_model::Infrastructure;
use serde_json::json;
use tokio::time::Instant;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn tiers() -> Infrastructure {
    infrastructure(vec![node("db", 1, &[]), node("web", 2, &["db"]), node("probe", 1, &["web", "db"])])
}

/// Returns fakes on a cloud whose calls, boots and checks take their time.
fn slow_fakes() -> Fakes {
    let fakes = Fakes::new();
    fakes.cloud.set_timing(MS(1000), MS(500), MS(500), MS(100));
    fakes
}

fn fault(reaction: Reaction) -> Script {
    Script::Fault(Fault::new(reaction, "fake.scripted", "scripted"))
}

#[tokio::test(start_paused = true)]
async fn nodes_start_when_their_own_dependencies_are_ready() {
    let fakes = slow_fakes();
    let status = fakes.build(&tiers()).await.unwrap();
    assert_eq!(status.state, InfrastructureState::Ready);
    assert!(status.is_ready());
    assert!(status.owner.is_none());
    let creates: Vec<_> = fakes.cloud.calls().into_iter().filter(|(call, _)| call == "create").collect();
    let names: Vec<_> = creates.iter().map(|(_, node)| node.as_str()).collect();
    assert_eq!(names, ["db", "web", "web", "probe"]);
    let contexts = fakes.cloud.contextualised_with();
    assert_eq!(contexts[0], ("db".into(), vec![]));
    assert_eq!(contexts[1], ("web".into(), vec!["db".into()]));
    assert_eq!(contexts[3], ("probe".into(), vec!["db".into(), "web".into(), "web".into()]));

    let web = &status.nodes[1].instances;
    assert_eq!(web.len(), 2);
    assert!(web.iter().all(|instance| instance.state == InstanceState::Ready && instance.addresses.len() == 1));
    assert!(web[0].seconds_to_ready.unwrap() >= 2.0);

    let report = fakes.destroy().await.unwrap();
    assert_eq!((report.removed, report.left.len()), (4, 0));
    let drops: Vec<_> = fakes.cloud.calls().into_iter().filter(|(call, _)| call == "destroy").collect();
    let names: Vec<_> = drops.iter().map(|(_, node)| node.as_str()).collect();
    assert_eq!(names, ["probe", "web", "web", "db"]);
    assert!(fakes.cloud.machines().is_empty());
    assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
    assert!(matches!(fakes.destroy().await, Err(EngineError::UnknownInfrastructure { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_independent_branch_does_not_wait_for_a_slow_one() {
    let fakes = Fakes::new();
    fakes.cloud.set_sick("slow", true);
    let graph = infrastructure(vec![
        node("slow", 1, &[]),
        node("a", 1, &[]),
        node("b", 1, &["a"]),
        node("after-slow", 1, &["slow"]),
    ]);
    let (_, building) = fakes.spawn_build(&graph);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(fakes.cloud.nodes(), ["a", "b", "slow"]);
    fakes.cloud.set_sick("slow", false);
    assert!(building.await.unwrap().unwrap().is_ready());
}

#[tokio::test(start_paused = true)]
async fn events_are_stored_in_order() {
    let fakes = Fakes::new();
    fakes.build(&infrastructure(vec![node("db", 1, &[])])).await.unwrap();
    let events = fakes.events().await.unwrap();
    let names: Vec<_> =
        events.iter().map(|event| serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_owned()).collect();
    let expected = ["infrastart", "nodecreating", "node-placed", "node-running", "nodecreated", "infraready"];
    assert_eq!(names, expected);
    let ids: Vec<_> = events.iter().map(|event| event.id.unwrap()).collect();
    assert_eq!(ids, (ids[0]..ids[0] + 6).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_failed_build_leaves_nothing() {
    let fakes = Fakes::new();
    fakes.cloud.script("create", "probe", fault(Reaction::GiveUp));
    let Err(EngineError::Node { failure, rolled_back, left }) = fakes.build(&tiers()).await else { panic!() };
    assert_eq!((failure.node.as_str(), rolled_back, left.len()), ("probe", true, 0));
    assert_eq!(failure.location(), Some("nodes.yaml:1:1"));
    assert!(fakes.cloud.machines().is_empty());
    assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_failed_build_is_kept_on_request() {
    let fakes = Fakes::new();
    fakes.cloud.script("create", "probe", fault(Reaction::Denied));
    let outcome = fakes.build_with(&tiers(), OnFailure::Keep, RunHandle::new().0).await;
    assert!(matches!(outcome, Err(EngineError::Node { rolled_back: false, .. })));
    assert_eq!(fakes.cloud.nodes(), ["db", "web", "web"]);
    assert_eq!(fakes.engine.status(&fakes.id, false).await.unwrap().state, InfrastructureState::Degraded);
    // The next build finishes it, and keeps what is ready.
    assert!(fakes.build(&tiers()).await.unwrap().is_ready());
    assert_eq!(fakes.cloud.nodes(), ["db", "probe", "web", "web"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_change_keeps_what_was_healthy() {
    let fakes = Fakes::new();
    fakes.build(&tiers()).await.unwrap();
    let before: Vec<_> = fakes.cloud.machines().iter().map(|machine| machine.number).collect();
    let mut changed = tiers();
    changed.nodes.push(node("extra", 1, &["db"]));
    changed.nodes.retain(|node| node.name != "probe");
    fakes.cloud.script("create", "extra", fault(Reaction::GiveUp));
    assert!(matches!(fakes.build(&changed).await, Err(EngineError::Node { rolled_back: true, .. })));
    let after: Vec<_> = fakes.cloud.machines().iter().map(|machine| machine.number).collect();
    assert_eq!(before, after);
    let status = fakes.engine.status(&fakes.id, true).await.unwrap();
    assert_eq!(status.state, InfrastructureState::Ready);
    assert!(status.nodes.iter().any(|node| node.name == "probe"));
    // If it succeeds, nodes that are no longer described are removed.
    fakes.build(&changed).await.unwrap();
    assert_eq!(fakes.cloud.nodes(), ["db", "extra", "web", "web"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_never_gets_healthy_fails_after_its_timeout() {
    let fakes = Fakes::new();
    fakes.cloud.set_sick("db", true);
    let begun = Instant::now();
    let Err(EngineError::Node { failure, .. }) = fakes.build(&tiers()).await else { panic!() };
    assert!(matches!(failure.reason, FailureReason::Unhealthy { seconds: 60, .. }));
    let passed = begun.elapsed();
    assert!(passed > MS(60_000) && passed < MS(75_000), "{passed:?}");
    assert!(fakes.cloud.machines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_stops_while_awaited_fails_at_once() {
    let fakes = Fakes::new();
    fakes.cloud.set_sick("db", true);
    let (_, building) = fakes.spawn_build(&tiers());
    tokio::time::sleep(MS(5000)).await;
    fakes.cloud.set_phase("db", Phase::Stopped);
    let Err(EngineError::Node { failure, .. }) = building.await.unwrap() else { panic!() };
    assert!(matches!(failure.reason, FailureReason::Machine { .. }));
    assert!(fakes.cloud.machines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn lost_answers_lead_to_find_and_never_to_a_second_machine() {
    let fakes = Fakes::new();
    fakes.cloud.script("create", "db", Script::LostAnswer);
    fakes.cloud.script("create", "web", Script::LostRequest);
    fakes.cloud.script("find", "web", fault(Reaction::Retry));
    fakes.cloud.script("destroy", "db", Script::LostAnswer);
    fakes.cloud.script("destroy", "web", Script::LostRequest);
    assert!(fakes.build(&tiers()).await.unwrap().is_ready());
    assert_eq!(fakes.cloud.nodes(), ["db", "probe", "web", "web"]);
    assert_eq!(fakes.cloud.count("find"), 3);
    let report = fakes.destroy().await.unwrap();
    assert!(report.left.is_empty());
    assert!(fakes.cloud.machines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn retries_have_a_budget_and_honour_the_cloud() {
    let fakes = Fakes::new();
    let mut slow_down = Fault::new(Reaction::Retry, "fake.rate", "slow down");
    slow_down.retry_after = Some(Duration::from_secs(20));
    fakes.cloud.script("create", "db", Script::Fault(slow_down));
    let begun = Instant::now();
    fakes.build(&infrastructure(vec![node("db", 1, &[])])).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(20));
    fakes.destroy().await.unwrap();

    for _ in 0..1000 {
        fakes.cloud.script("create", "db", fault(Reaction::Retry));
    }
    let Err(EngineError::Node { failure, .. }) = fakes.build(&tiers()).await else { panic!() };
    // The node's own time-out.
    assert!(matches!(failure.reason, FailureReason::Call { attempts: 6.., seconds: 55..=75, .. }), "{failure}");
    assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn without_capacity_the_next_implementation_is_tried() {
    let fakes = Fakes::new();
    // The implementation that is tried first is chosen at random for each of them.
    let mut graph = infrastructure(vec![node("db", 40, &[])]);
    let mut other = graph.definitions["small"][0].clone();
    other.resource = json!({ "type": "fake", "zone": "b" });
    graph.definitions["small"].push(other);
    fakes.cloud.fill_zone("a");
    let status = fakes.build(&graph).await.unwrap();
    assert_eq!(status.nodes[0].instances.len(), 40);
    let events = fakes.events().await.unwrap();
    let fell_back = events.iter().filter(|event| matches!(event.kind, EventKind::NodeFallback { .. })).count();
    assert!((1..40).contains(&fell_back), "the load is spread: {fell_back}");
    fakes.destroy().await.unwrap();

    fakes.cloud.fill_zone("b");
    let Err(EngineError::Node { failure, .. }) = fakes.build(&graph).await else { panic!() };
    assert!(matches!(&failure.reason, FailureReason::NoCapacity { tried } if tried.len() == 2));
    assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn instances_that_can_not_be_removed_are_reported_and_kept() {
    let fakes = Fakes::new();
    fakes.build(&tiers()).await.unwrap();
    fakes.cloud.script("destroy", "db", fault(Reaction::Denied));
    let report = fakes.destroy().await.unwrap();
    assert_eq!((report.removed, report.left.len()), (3, 1));
    assert_eq!((report.left[0].node.as_str(), report.left[0].state), ("db", InstanceState::Destroying));
    let status = fakes.engine.status(&fakes.id, false).await.unwrap();
    assert_eq!(status.state, InfrastructureState::Destroying);
    let maintained = fakes.maintain().await;
    assert!(
        matches!(maintained, Err(EngineError::Destroying { .. })),
        "what was to go is not brought back: {maintained:?}"
    );
    assert_eq!(fakes.cloud.nodes(), ["db"]);
    assert!(fakes.destroy().await.unwrap().left.is_empty());
    assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn one_request_to_stop_rolls_back() {
    let fakes = slow_fakes();
    for after in [0, 1, 500, 1100, 2000, 2100, 3500, 4500] {
        let (stop, building) = fakes.spawn_build(&tiers());
        tokio::time::sleep(MS(after)).await;
        stop.request();
        let outcome = building.await.unwrap();
        assert!(matches!(outcome, Err(EngineError::Stopped { rolled_back: true, ref left }) if left.is_empty()));
        assert!(fakes.cloud.machines().is_empty(), "after {after} ms");
        assert_eq!(fakes.store.live_keys(), Vec::<String>::new(), "after {after} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn two_requests_stop_now_and_report_what_is_left() {
    let fakes = slow_fakes();
    let (stop, building) = fakes.spawn_build(&tiers());
    tokio::time::sleep(MS(2600)).await;
    stop.request();
    stop.request();
    let Err(error @ EngineError::Stopped { rolled_back: false, .. }) = building.await.unwrap() else { panic!() };
    assert_eq!(error.left().len(), 3);
    let report = fakes.destroy().await.unwrap();
    assert!(report.left.is_empty());
    assert!(fakes.cloud.machines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_second_process_gets_the_name_of_the_owner() {
    let fakes = Fakes::new();
    fakes.cloud.set_timing(MS(60_000), MS(0), MS(0), MS(0));
    let (_, building) = fakes.spawn_build(&tiers());
    tokio::time::sleep(MS(30_000)).await;
    let Err(EngineError::Owned { holder, .. }) = fakes.build(&tiers()).await else { panic!() };
    assert!(holder.contains(&std::process::id().to_string()));
    assert!(matches!(fakes.destroy().await, Err(EngineError::Owned { .. })));
    assert!(fakes.engine.list().await.unwrap()[0].owner.is_some());
    building.await.unwrap().unwrap();
    assert_eq!(fakes.cloud.nodes().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_loses_the_lease_stops_and_writes_nothing() {
    let fakes = slow_fakes();
    let (_, building) = fakes.spawn_build(&tiers());
    tokio::time::sleep(MS(1500)).await;
    fakes.store.end_leases();
    let key = "infra/test/owner".to_owned();
    let owner = br#"{"v": 1, "holder": "another", "since": "2026-01-01T00:00:00Z", "token": "t"}"#.to_vec();
    let taken = vec![Write::Put { key: key.clone(), value: owner, lease: None }];
    fakes.store.commit(Transaction { compares: Vec::new(), writes: taken }).await.unwrap();
    let commits = fakes.store.keys().len();
    assert!(matches!(building.await.unwrap(), Err(EngineError::LeaseLost { .. })));
    assert_eq!(fakes.store.keys().len(), commits);
    let gone = vec![Write::Delete { key }];
    fakes.store.commit(Transaction { compares: Vec::new(), writes: gone }).await.unwrap();
    // The next owner continues from there.
    assert!(fakes.build(&tiers()).await.unwrap().is_ready());
    assert_eq!(fakes.cloud.nodes(), ["db", "probe", "web", "web"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_owner_is_replaced_at_once() {
    let fakes = slow_fakes();
    let (_, building) = fakes.spawn_build(&tiers());
    tokio::time::sleep(MS(1500)).await;
    building.abort();
    assert!(matches!(fakes.build(&tiers()).await, Err(EngineError::Owned { .. })));
    let settings = Settings {
        holder_is_dead: Some(std::sync::Arc::new(|holder| holder.contains("process"))),
        ..Settings::default()
    };
    let fakes = fakes.with_settings(settings);
    assert!(fakes.build(&tiers()).await.unwrap().is_ready());
    assert_eq!(fakes.cloud.nodes().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_a_moment_or_loses_answers_does_no_harm() {
    let fakes = slow_fakes();
    let (_, building) = fakes.spawn_build(&tiers());
    tokio::time::sleep(MS(500)).await;
    fakes.store.fail_commits(3);
    tokio::time::sleep(MS(1500)).await;
    fakes.store.lose_commit_answers(2);
    assert!(building.await.unwrap().unwrap().is_ready());
    assert_eq!(fakes.cloud.nodes().len(), 4);
    let ids: Vec<_> = fakes.events().await.unwrap().iter().map(|event| event.id.unwrap()).collect();
    let expected: Vec<_> = (ids[0]..ids[0] + ids.len() as u64).collect();
    assert_eq!(ids, expected);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_full_is_an_error() {
    let fakes = Fakes::new();
    fakes.store.fail_commits(1_000);
    let error = fakes.build(&tiers()).await.unwrap_err();
    assert_eq!(error.code(), "store.unavailable");
    assert!(fakes.cloud.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn invalid_descriptions_are_refused_before_anything_is_written() {
    let fakes = Fakes::new();
    let cycle = infrastructure(vec![node("a", 1, &["b"]), node("b", 1, &["a"])]);
    let missing = infrastructure(vec![node("a", 1, &["nobody"])]);
    let duplicate = infrastructure(vec![node("a", 1, &[]), node("a", 1, &[])]);
    let none = infrastructure(vec![node("a", 0, &[])]);
    for graph in [cycle, missing, duplicate, none] {
        assert!(matches!(fakes.build(&graph).await, Err(EngineError::Invalid { .. })));
    }
    let mut unknown = tiers();
    unknown.definitions["small"][0].resource = json!({ "type": "nobody's" });
    let Err(EngineError::NoPlugin { keyword, location, .. }) = fakes.build(&unknown).await else { panic!() };
    assert_eq!((keyword.as_str(), location.as_deref()), ("nobody's", Some("nodes.yaml:1:1")));
    assert_eq!(fakes.store.commits(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_pointer_of_a_fault_leads_to_the_line_in_the_users_file() {
    let fakes = Fakes::new();
    let mut bad = Fault::new(Reaction::GiveUp, "fake.zone", "no such zone");
    bad.details.push(occopus_engine::ports::Detail { pointer: "/resource/zone/0".into(), message: "unknown".into() });
    fakes.cloud.script("create", "db", Script::Fault(bad));
    let Err(EngineError::Node { failure, .. }) = fakes.build(&tiers()).await else { panic!() };
    assert_eq!(failure.location(), Some("nodes.yaml:4:11"));
    assert_eq!(failure.code(), "fake.zone");
}

#[tokio::test(start_paused = true)]
async fn a_second_attempt_that_fails_too_leaves_nothing_either() {
    let fakes = slow_fakes();
    let graph = tiers();
    // The first attempt dies.
    let died = tokio::time::timeout(MS(1500), fakes.build(&graph)).await;
    assert!(died.is_err());
    assert_eq!(fakes.cloud.nodes(), ["db"]);
    fakes.wait_for_lease_expiry().await;
    fakes.cloud.script("create", "web", fault(Reaction::GiveUp));
    assert!(matches!(fakes.build(&graph).await, Err(EngineError::Node { rolled_back: true, .. })));
    // What the first attempt began became ready only now, so it is removed as well.
    assert!(fakes.cloud.machines().is_empty());
    assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_failed_build_does_not_bring_back_what_was_to_go() {
    let fakes = Fakes::new();
    fakes.build(&tiers()).await.unwrap();
    fakes.cloud.script("destroy", "db", fault(Reaction::Denied));
    assert_eq!(fakes.destroy().await.unwrap().left.len(), 1);
    // Another description, of one node that can't be created; what is left of the first one is surplus.
    fakes.cloud.script("create", "other", fault(Reaction::GiveUp));
    assert!(fakes.build(&infrastructure(vec![node("other", 1, &[])])).await.is_err());
    let status = fakes.engine.status(&fakes.id, false).await.unwrap();
    assert_eq!(status.state, InfrastructureState::Destroying);
    assert!(matches!(fakes.maintain().await, Err(EngineError::Destroying { .. })));
    assert_eq!(fakes.cloud.nodes(), ["db"]);
    assert!(fakes.destroy().await.unwrap().left.is_empty());
    assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_recovers_during_a_build_is_healthy_again_and_not_created_twice() {
    let fakes = Fakes::new();
    let graph = infrastructure(vec![node("db", 1, &[])]);
    fakes.build(&graph).await.unwrap();
    fakes.cloud.set_sick("db", true);
    let (_, building) = fakes.spawn_build(&graph);
    tokio::time::sleep(MS(3000)).await;
    fakes.cloud.set_sick("db", false);
    assert!(building.await.unwrap().unwrap().is_ready());
    let events = fakes.events().await.unwrap().into_iter().filter_map(|event| match event.kind {
        EventKind::NodeCreated { .. } => Some("created"),
        EventKind::NodeHealth { healthy: true, .. } => Some("healthy"),
        EventKind::NodeHealth { .. } => Some("unhealthy"),
        _ => None,
    });
    assert_eq!(events.collect::<Vec<_>>(), ["created", "unhealthy", "healthy"]);
}
