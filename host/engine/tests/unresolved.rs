//! Unresolved outcomes: no machine is lost, duplicated, or forgotten too early because an answer was lost.

use std::time::Duration;

use occopus_engine::ports::{Fault, Reaction};
use occopus_engine::testing::{Fakes, Script, die_at_every_transaction, id, infrastructure, node};
use occopus_engine::{BuildRequest, EngineError, EventKind, OnFailure, Rollout, RunHandle};
use occopus_model::Infrastructure;
use serde_json::json;

fn one() -> Infrastructure {
    infrastructure(vec![node("db", 1, &[])])
}

fn retry_fault() -> Script {
    Script::Fault(Fault::new(Reaction::Retry, "fake.refused", "connection refused"))
}

/// Builds until the process dies, this long after the start.
async fn build_and_die_after(fakes: &Fakes, infrastructure: &Infrastructure, after: Duration) {
    let built = tokio::time::timeout(after, fakes.build(infrastructure)).await;
    assert!(built.is_err(), "it was too fast: {built:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_arrives_after_death_and_destroy_is_removed() {
    for late in [0, 1, 8, 19] {
        let fakes = Fakes::new();
        fakes.cloud.set_idempotent(true);
        fakes.cloud.set_timing(Duration::from_secs(2), Duration::ZERO, Duration::ZERO, Duration::ZERO);
        fakes.cloud.set_late_arrival(Some(Duration::from_secs(late)));
        build_and_die_after(&fakes, &one(), Duration::from_secs(1)).await;
        fakes.store.end_leases();
        let report = fakes.destroy().await.unwrap();
        assert_eq!(report.left, [], "{late} s");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(fakes.cloud.nodes(), Vec::<String>::new(), "a machine came after {late} s");
        assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_destroy_that_is_stopped_while_it_waits_for_late_requests_goes_on_later() {
    let fakes = Fakes::new();
    fakes.cloud.set_idempotent(true);
    fakes.cloud.set_timing(Duration::from_secs(2), Duration::ZERO, Duration::ZERO, Duration::ZERO);
    fakes.cloud.set_late_arrival(Some(Duration::from_secs(10)));
    build_and_die_after(&fakes, &one(), Duration::from_secs(1)).await;
    fakes.store.end_leases();
    let (run, _events) = RunHandle::new();
    let stop = run.stop.clone();
    let destroy = fakes.engine.destroy(&fakes.id, run);
    let (report, ()) = tokio::join!(destroy, async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        stop.request();
    });
    let report = report.unwrap();
    assert_eq!(report.left.len(), 1, "its record stays: {report:?}");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(fakes.cloud.nodes(), ["db"]);
    assert_eq!(fakes.destroy().await.unwrap().left, []);
    assert_eq!(fakes.cloud.nodes(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_arrives_after_its_machine_was_replaced_by_another_and_removed_is_removed_too() {
    for late in [2, 8, 19] {
        let fakes = Fakes::new();
        fakes.cloud.set_late_arrival(Some(Duration::from_secs(late)));
        fakes.cloud.script("create", "db", Script::LateRequest);
        assert!(fakes.build(&one()).await.unwrap().is_ready());
        assert_eq!(fakes.cloud.count("create"), 2, "the first request has not arrived yet");
        assert_eq!(fakes.destroy().await.unwrap().left, []);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(fakes.cloud.nodes(), Vec::<String>::new(), "a machine came after {late} s");
        assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_has_run_for_long_is_removed_without_waiting_for_late_requests() {
    let fakes = Fakes::new();
    fakes.cloud.script("create", "db", Script::LostRequest);
    assert!(fakes.build(&one()).await.unwrap().is_ready());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(fakes.destroy().await.unwrap().left, []);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_waited_for_also_when_a_later_attempt_fails_for_good() {
    let fakes = Fakes::new();
    fakes.cloud.script("create", "db", Script::LostRequest);
    let no = Fault::new(Reaction::GiveUp, "fake.no", "no");
    fakes.cloud.script("create", "db", Script::Fault(no));
    let begun = tokio::time::Instant::now();
    let failed = fakes.build(&one()).await.unwrap_err();
    assert!(failed.to_string().contains("no"), "{failed}");
    assert!(begun.elapsed() >= Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn requests_without_effect_are_forgotten_without_a_call() {
    // One fails for good while the others wait for another attempt: `find` fails as well.
    let fakes = Fakes::new();
    for name in ["a", "b", "c"] {
        for _ in 0..100 {
            fakes.cloud.script("create", name, retry_fault());
            fakes.cloud.script("find", name, retry_fault());
        }
    }
    fakes.cloud.script("create", "d", Script::Fault(Fault::new(Reaction::GiveUp, "fake.no", "no")));
    let all = infrastructure(["a", "b", "c", "d"].map(|name| node(name, 1, &[])).to_vec());
    let Err(EngineError::Node { left, rolled_back, .. }) = fakes.build(&all).await else { panic!("it was built") };
    assert!(rolled_back && left.is_empty(), "{left:?}");
    assert_eq!(fakes.cloud.count("find"), 0);
    assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
    assert_eq!(fakes.cloud.nodes(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_request_without_effect_is_known_after_a_death_in_the_pause() {
    let fakes = Fakes::new();
    for _ in 0..100 {
        fakes.cloud.script("create", "db", retry_fault());
        fakes.cloud.script("find", "db", retry_fault());
    }
    build_and_die_after(&fakes, &one(), Duration::from_secs(2)).await;
    fakes.wait_for_lease_expiry().await;
    assert_eq!(fakes.destroy().await.unwrap().left, []);
    assert_eq!(fakes.cloud.count("find"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_unresolved_instance_is_searched_for_at_a_corrected_endpoint() {
    let fakes = Fakes::new();
    fakes.cloud.set_timing(Duration::from_secs(2), Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let at = |endpoint: &str| {
        let mut described = one();
        described.definitions["small"][0].resource["endpoint"] = json!(endpoint);
        described
    };
    fakes.cloud.set_unreachable("fake://wrong");
    build_and_die_after(&fakes, &at("fake://wrong"), Duration::from_secs(1)).await;
    fakes.wait_for_lease_expiry().await;
    let status = fakes.build(&at("fake://right")).await.unwrap();
    assert!(status.is_ready(), "{status:?}");
    assert_eq!(fakes.cloud.nodes(), ["db"]);
    assert_eq!(fakes.destroy().await.unwrap().left, []);
}

#[tokio::test(start_paused = true)]
async fn instances_that_can_not_be_removed_can_be_forgotten() {
    let fakes = Fakes::new();
    let status = fakes.build(&one()).await.unwrap();
    let id = status.nodes[0].instances[0].id.clone();
    let denied = || Script::Fault(Fault::new(Reaction::Denied, "fake.denied", "the account is closed"));
    fakes.cloud.script("destroy", "db", denied());
    assert_eq!(fakes.destroy().await.unwrap().left.len(), 1);
    let forgotten = fakes.engine.forget(&fakes.id, &id).await.unwrap();
    assert_eq!((forgotten.instance.as_str(), forgotten.node.as_str()), (id.as_str(), "db"));
    assert!(matches!(
        fakes.engine.forget(&fakes.id, &id).await,
        Err(EngineError::UnknownInstance { instance, .. }) if instance == id
    ));
    let report = fakes.destroy().await.unwrap();
    assert_eq!(report.left, []);
    assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_lost_store_creates_nothing_a_second_time() {
    let fakes = Fakes::new();
    let web = infrastructure(vec![node("db", 1, &[]), node("web", 3, &["db"])]);
    fakes.build(&web).await.unwrap();
    // The same cloud, an empty store.
    let lost = fakes.with_empty_store();
    let failed = lost.build(&web).await.unwrap_err();
    assert_eq!(failed.code(), "engine.unrecorded");
    assert!(failed.to_string().contains("4 machines"), "{failed}");
    assert_eq!(fakes.cloud.machines().len(), 4);
    assert_eq!(lost.store.live_keys(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_second_machine_of_an_instance_is_removed_when_its_driver_finds_it() {
    let fakes = Fakes::new();
    let status = fakes.build(&one()).await.unwrap();
    fakes.cloud.deliver_twice(&status.nodes[0].instances[0].id);
    assert_eq!(fakes.cloud.machines().len(), 2);
    let report = fakes.destroy().await.unwrap();
    assert_eq!((report.left.len(), report.orphans.len(), report.unconfirmed), (0, 0, None));
    assert!(fakes.cloud.machines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_machine_with_its_labels_is_reported_and_left_alone() {
    let fakes = Fakes::new();
    let status = fakes.build(&one()).await.unwrap();
    fakes.cloud.copy_machine(&status.nodes[0].instances[0].id);
    let report = fakes.destroy().await.unwrap();
    assert_eq!((report.left.len(), report.orphans.len(), report.unconfirmed), (0, 1, None));
    assert_eq!(report.orphans[0].instance, status.nodes[0].instances[0].id);
    assert_eq!(fakes.cloud.machines().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn machines_without_a_record_are_reported_and_left_alone() {
    let fakes = Fakes::new();
    fakes.build(&one()).await.unwrap();
    // Another store uses the same id, and the same cloud.
    let other = fakes.with_empty_store();
    fakes.cloud.hide_from_lists(true);
    other.build(&one()).await.unwrap();
    fakes.cloud.hide_from_lists(false);
    let report = other.destroy().await.unwrap();
    assert_eq!((report.left.len(), report.orphans.len()), (0, 1));
    assert_eq!(fakes.cloud.machines().len(), 1);
    let sections = [json!({"type": "fake", "endpoint": "fake://", "zone": "a"})];
    assert_eq!(fakes.engine.sweep(&fakes.id, &sections, false).await.unwrap(), [], "the first store has its record");
}

/// Returns fakes on which three web servers were built, and the request for the rollout of a change of them all.
async fn before_rollout() -> (Fakes, BuildRequest) {
    let mut web = node("web", 3, &[]);
    web.scaling.max = 9;
    let before = infrastructure(vec![web]);
    let mut after = before.clone();
    after.nodes[0].variables = json!({"number": 2});
    let fakes = Fakes::new();
    fakes.cloud.set_idempotent(true);
    let second = Duration::from_secs(1);
    fakes.cloud.set_timing(second, second, second, second);
    fakes.build(&before).await.unwrap();
    let rollout = Rollout { changed: true, dependents: true };
    (fakes, BuildRequest { id: Some(id("test")), rollout, ..BuildRequest::new(after) })
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_died_leaves_no_surplus() {
    let (_, request) = before_rollout().await;
    let roll_out = async |fakes: &Fakes| fakes.engine.build(request.clone(), RunHandle::new().0).await;
    die_at_every_transaction(
        async || before_rollout().await.0,
        async |fakes| drop(roll_out(fakes).await),
        async |fakes, when| {
            let status = roll_out(fakes).await.unwrap();
            assert_eq!(status.nodes[0].instances.len(), 3, "{when}");
            assert_eq!(fakes.cloud.machines().len(), 3, "{when}");
            assert!(status.nodes[0].instances.iter().all(|instance| instance.changed.is_empty()), "{when}");
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_died_is_finished_by_maintenance_too() {
    let (fakes, request) = before_rollout().await;
    let rolled_out = fakes.engine.build(request, RunHandle::new().0);
    assert!(tokio::time::timeout(Duration::from_millis(3500), rolled_out).await.is_err(), "it was too fast");
    fakes.wait_for_lease_expiry().await;
    for _ in 0..3 {
        fakes.maintain().await.unwrap();
    }
    assert_eq!(fakes.cloud.machines().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_died_and_fails_is_rolled_back() {
    let good = one();
    let mut bad = good.clone();
    bad.nodes.push(node("new", 1, &["db"]));
    let fakes = Fakes::new();
    fakes.build(&good).await.unwrap();
    fakes.cloud.set_sick("new", true);
    build_and_die_after(&fakes, &bad, Duration::from_secs(10)).await;
    fakes.wait_for_lease_expiry().await;
    let failed = fakes.build(&bad).await.unwrap_err();
    assert!(matches!(failed, EngineError::Node { rolled_back: true, .. }), "{failed}");
    let desired = fakes.engine.desired(&fakes.id).await.unwrap().unwrap();
    assert_eq!(desired.nodes.len(), 1, "the failing description was restored");
    assert!(fakes.engine.status(&fakes.id, false).await.unwrap().is_ready());
    // The next change rolls back to the same description.
    let failed = fakes.build(&bad).await.unwrap_err();
    assert!(matches!(failed, EngineError::Node { rolled_back: true, .. }), "{failed}");
    assert_eq!(fakes.engine.desired(&fakes.id).await.unwrap().unwrap().nodes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_output_of_a_machine_is_in_the_failure_and_kept_after_the_rollback() {
    let fakes = Fakes::new();
    fakes.cloud.set_output("db", "starting\nno such file: /etc/db.conf");
    fakes.cloud.set_sick("db", true);
    let Err(EngineError::Node { failure, .. }) = fakes.build(&one()).await else { panic!("it was built") };
    assert_eq!(failure.output.as_deref(), Some("starting\nno such file: /etc/db.conf"));
    assert!(!fakes.engine.exists(&fakes.id).await.unwrap());
    let events = fakes.events().await.unwrap();
    let kept = events.iter().find_map(|event| match &event.kind {
        EventKind::NodeFailed { output, .. } => output.clone(),
        _ => None,
    });
    assert_eq!(kept, failure.output, "{events:?}");
    // It expires after a day.
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    let request = BuildRequest { id: Some(id("other")), ..BuildRequest::new(one()) };
    fakes.engine.build(request, RunHandle::new().0).await.unwrap_err();
    assert_eq!(fakes.events().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn the_output_of_a_replaced_machine_is_in_its_event() {
    let fakes = Fakes::new();
    fakes.build_with(&one(), OnFailure::Keep, RunHandle::new().0).await.unwrap();
    fakes.cloud.set_output("db", "out of memory");
    fakes.cloud.set_phase("db", occopus_engine::ports::Phase::Stopped);
    fakes.maintain().await.unwrap();
    let events = fakes.events().await.unwrap();
    let is_reported = events.iter().any(
        |event| matches!(&event.kind, EventKind::NodeReplacing { output: Some(output), .. } if output == "out of memory"),
    );
    assert!(is_reported, "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_outlasted_before_another_implementation_is_tried() {
    let mut graph = one();
    let mut other = graph.definitions["small"][0].clone();
    other.resource = json!({"type": "fake", "endpoint": "fake://other", "zone": "b"});
    graph.definitions["small"].push(other);
    let full = || Script::Fault(Fault::new(Reaction::NoCapacity, "fake.full", "full"));

    // The request arrives while its cloud is searched: its machine is the instance's.
    let fakes = Fakes::new();
    fakes.cloud.set_late_arrival(Some(Duration::from_secs(5)));
    fakes.cloud.script("create", "db", Script::LateRequest);
    fakes.cloud.script("create", "db", full());
    assert!(fakes.build(&graph).await.unwrap().is_ready());
    assert_eq!((fakes.cloud.count("create"), fakes.cloud.nodes()), (2, vec!["db".to_owned()]));

    // It never arrives: the next implementation is tried when it no longer can.
    let fakes = Fakes::new();
    fakes.cloud.script("create", "db", Script::LostRequest);
    fakes.cloud.script("create", "db", full());
    let begun = tokio::time::Instant::now();
    assert!(fakes.build(&graph).await.unwrap().is_ready());
    assert!(begun.elapsed() >= Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!((fakes.cloud.count("create"), fakes.cloud.nodes()), (3, vec!["db".to_owned()]));
}
