//! Records in the store, and what readers make of them.

use occopus_engine::ports::{Phase, Store, Transaction, Write};
use occopus_engine::testing::{Fakes, id, infrastructure, node};
use occopus_engine::{
    BuildRequest, EngineError, EventKind, InfrastructureState, InstanceState, RecordError, Rollout, RunHandle, Scale,
};
use serde_json::{Value, json};

async fn put(fakes: &Fakes, key: &str, value: Value) {
    let write = Write::Put { key: key.into(), value: value.to_string().into_bytes(), lease: None };
    fakes.store.commit(Transaction { compares: Vec::new(), writes: vec![write] }).await.unwrap();
}

async fn edit(fakes: &Fakes, key: &str, edit: impl FnOnce(&mut Value)) {
    let entry = fakes.store.get(key).await.unwrap().unwrap();
    let mut value = serde_json::from_slice(&entry.value).unwrap();
    edit(&mut value);
    put(fakes, key, value).await;
}

async fn built() -> Fakes {
    let fakes = Fakes::new();
    fakes.build(&infrastructure(vec![node("db", 1, &[])])).await.unwrap();
    fakes
}

fn instance_key(fakes: &Fakes) -> String {
    fakes.store.keys().into_iter().find(|key| key.contains("/instance/")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn user_data_is_not_stored() {
    let fakes = built().await;
    assert!(!fakes.store.values_as_text().contains("user data"));
    assert!(fakes.store.values_as_text().contains("user_data_digest"));
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_entries_and_events_are_tolerated() {
    let fakes = built().await;
    edit(&fakes, &instance_key(&fakes), |record| record["added_later"] = json!([1])).await;
    put(&fakes, "infra/test/added-later/x", json!("anything")).await;
    let event =
        json!({ "v": 1, "id": u64::MAX, "time": "2026-01-01T00:00:00Z", "infra_id": "test", "event": "later", "x": 1 });
    put(&fakes, "infra/test/event/18446744073709551615", event).await;
    let status = fakes.engine.status(&fakes.id, true).await.unwrap();
    assert!(status.is_ready());
    let events = fakes.events().await.unwrap();
    let last = events.last().unwrap();
    assert!(last.id == Some(u64::MAX) && matches!(last.kind, EventKind::Unknown(_)), "{last:?}");
    let second = events[1].id.unwrap();
    assert_eq!(fakes.engine.events(&fakes.id, second, 2).await.unwrap()[0].id, Some(second + 1));
    assert!(fakes.destroy().await.unwrap().left.is_empty());
    assert_eq!(fakes.store.keys(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_newer_or_a_damaged_record_is_a_clear_error_and_nothing_is_touched() {
    let fakes = built().await;
    let key = instance_key(&fakes);
    edit(&fakes, &key, |record| record["v"] = json!(2)).await;
    let graph = infrastructure(vec![node("db", 1, &[])]);
    for error in [fakes.build(&graph).await.unwrap_err(), fakes.destroy().await.unwrap_err()] {
        assert!(
            matches!(error, EngineError::Record { source: RecordError::Newer { found: 2, known: 1, .. } }),
            "{error}"
        );
    }
    put(&fakes, &key, json!({ "v": 1, "id": 5 })).await;
    for error in [fakes.maintain().await.unwrap_err(), fakes.destroy().await.unwrap_err()] {
        assert!(
            matches!(&error, EngineError::Record { source: RecordError::Corrupt { key: found, .. } } if *found == key),
            "{error}"
        );
    }
    assert_eq!(fakes.cloud.machines().len(), 1);
    assert_eq!(fakes.cloud.count("destroy"), 0);
}

#[tokio::test(start_paused = true)]
async fn status_reads_the_store_and_refresh_observes_the_cloud() {
    let fakes = built().await;
    fakes.cloud.set_sick("db", true);
    let calls = fakes.cloud.calls().len();
    let state = |status: occopus_engine::Status| status.nodes[0].instances[0].state;
    assert_eq!(state(fakes.engine.status(&fakes.id, false).await.unwrap()), InstanceState::Ready);
    assert_eq!(fakes.cloud.calls().len(), calls);
    assert_eq!(state(fakes.engine.status(&fakes.id, true).await.unwrap()), InstanceState::Unhealthy);
    for (phase, seen) in [(Phase::Stopped, InstanceState::Stopped), (Phase::Failed, InstanceState::Failed)] {
        fakes.cloud.set_phase("db", phase);
        let status = fakes.engine.status(&fakes.id, true).await.unwrap();
        assert_eq!((status.state, state(status)), (InfrastructureState::Degraded, seen));
    }
    fakes.cloud.remove_machines_of("db");
    assert_eq!(state(fakes.engine.status(&fakes.id, true).await.unwrap()), InstanceState::Vanished);
    let plan = fakes.engine.plan(Some(&fakes.id), &infrastructure(vec![node("db", 1, &[])]), Rollout::default()).await;
    assert_eq!(plan.unwrap().summary(), "1 to replace");
    assert_eq!((fakes.cloud.count("create"), fakes.cloud.count("destroy")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn infrastructures_and_definitions_are_listed() {
    let fakes = built().await;
    let graph = infrastructure(vec![node("db", 1, &[])]);
    let request = BuildRequest::new(graph.clone());
    let other = fakes.engine.build(request, RunHandle::new().0).await.unwrap();
    let mut ids: Vec<_> = fakes.engine.list().await.unwrap().into_iter().map(|summary| summary.id).collect();
    ids.sort();
    let mut expected = vec![fakes.id.clone(), other.id];
    expected.sort();
    assert_eq!(ids, expected);
    fakes.engine.save_definitions(&graph.definitions).await.unwrap();
    assert_eq!(fakes.engine.definitions().await.unwrap(), graph.definitions);
}

#[tokio::test(start_paused = true)]
async fn a_plan_counts_and_no_more_instances_are_planned_than_are_allowed() {
    let fakes = built().await;
    let mut web = node("web", 7000, &["db"]);
    web.scaling.max = u32::MAX;
    let graph = |web: &occopus_model::Node| infrastructure(vec![node("db", 1, &[]), web.clone()]);
    let plan = fakes.engine.plan(Some(&fakes.id), &graph(&web), Rollout::default()).await.unwrap();
    assert_eq!((plan.summary(), plan.actions.len()), ("7000 to create, 1 unchanged".into(), 2));
    assert_eq!(plan.actions[1].to_string(), "create web, 7000 times on fake after db: they do not exist");
    let known: occopus_engine::Plan =
        serde_json::from_str(r#"{"actions": [{"kind": "create", "node": "db", "reason": "r"}]}"#).unwrap();
    assert_eq!(known.actions[0].count, 1);
    assert!(!serde_json::to_string(&known).unwrap().contains("count"));

    web.scaling.min = u32::MAX;
    let too_many = |error: EngineError| assert_eq!(error.code(), "engine.too-many", "{error}");
    too_many(fakes.engine.plan(Some(&fakes.id), &graph(&web), Rollout::default()).await.unwrap_err());
    too_many(fakes.engine.check(&graph(&web)).unwrap_err());
    too_many(fakes.build(&graph(&web)).await.unwrap_err());
    assert_eq!(fakes.engine.desired(&fakes.id).await.unwrap().unwrap().nodes.len(), 1, "nothing was written of it");
    web.scaling.min = 1;
    fakes.build(&graph(&web)).await.unwrap();
    too_many(fakes.engine.scale(&fakes.id, "web", Scale::To(u32::MAX)).await.unwrap_err());
    too_many(fakes.engine.scale(&fakes.id, "web", Scale::To(10_001)).await.unwrap_err());
    assert_eq!(fakes.cloud.count("create"), 2, "one each");
}

#[tokio::test(start_paused = true)]
async fn a_plan_shows_what_runs() {
    let fakes = built().await;
    let graph = infrastructure(vec![node("db", 1, &[]), node("web", 2, &["db"])]);
    let calls = fakes.cloud.calls().len();
    let plan = fakes.engine.plan(Some(&fakes.id), &graph, Rollout::default()).await.unwrap();
    assert_eq!(plan.summary(), "2 to create, 1 unchanged");
    assert!(!plan.is_unchanged());
    let none = infrastructure(vec![node("web", 1, &[])]);
    let plan = fakes.engine.plan(Some(&fakes.id), &none, Rollout::default()).await.unwrap();
    assert_eq!(plan.summary(), "1 to create, 1 to destroy");
    assert_eq!(fakes.cloud.calls().len(), calls);
    let text = plan.to_string();
    assert!(text.starts_with("create web on fake: it does not exist\ndestroy db ("), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_infrastructure_that_does_not_exist_is_unknown() {
    let fakes = Fakes::new();
    assert!(matches!(fakes.engine.status(&id("none"), true).await, Err(EngineError::UnknownInfrastructure { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_destroy_that_can_not_read_changes_nothing() {
    let fakes = built().await;
    let key = instance_key(&fakes);
    edit(&fakes, &key, |record| record["v"] = json!(2)).await;
    fakes.destroy().await.unwrap_err();
    assert_eq!(fakes.engine.list().await.unwrap()[0].state, occopus_engine::InfrastructureState::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_ends_no_build() {
    for jump in [15_000, 3_600_000, -3_600_000] {
        let fakes = Fakes::new();
        let seconds = std::time::Duration::from_secs;
        fakes.cloud.set_timing(seconds(30), seconds(3), seconds(0), seconds(0));
        let graph = infrastructure(vec![node("db", 1, &[]), node("web", 2, &["db"])]);
        let (_, building) = fakes.spawn_build(&graph);
        for pause in [7, 9, 14, 20] {
            tokio::time::sleep(seconds(pause)).await;
            fakes.clock.jump(jump);
        }
        assert!(building.await.unwrap().expect("it goes on").is_ready(), "{jump}");
        assert_eq!(fakes.cloud.count("create"), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_has_taken_over_is_lost() {
    let fakes = Fakes::new();
    let seconds = std::time::Duration::from_secs;
    fakes.cloud.set_timing(seconds(100), seconds(0), seconds(0), seconds(0));
    fakes.cloud.set_idempotent(true);
    let graph = infrastructure(vec![node("db", 1, &[])]);
    let (_, building) = fakes.spawn_build(&graph);
    tokio::time::sleep(seconds(7)).await;
    fakes.store.end_leases();
    // The other owner has acquired the lease, written and ended before the first one renews its lease.
    fakes.cloud.set_timing(seconds(0), seconds(0), seconds(0), seconds(0));
    fakes.build(&graph).await.expect("taken over");
    assert!(matches!(building.await.unwrap(), Err(EngineError::LeaseLost { .. })));
}
