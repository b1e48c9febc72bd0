//! Changes of a description: drift is reported, and rolled out only on request, one instance after the other.

use std::time::Duration;

use occopus_engine::ports::{Fault, Reaction, Store, Transaction, Write};
use occopus_engine::testing::{Fakes, Script, infrastructure, node};
use occopus_engine::{
    ActionKind, BuildRequest, EngineError, EventKind, InfrastructureState, Rollout, RunHandle, Status,
};
use occopus_model::Infrastructure;
use serde_json::{Value, json};

const CHANGED: Rollout = Rollout { changed: true, dependents: false };
const DEPENDENTS: Rollout = Rollout { changed: false, dependents: true };
const BOTH: Rollout = Rollout { changed: true, dependents: true };

/// Returns three nodes: `web` refers to the addresses of `db`, and `edge` to those of `web`.
fn three() -> Infrastructure {
    let (mut web, mut edge) = (node("web", 2, &["db"]), node("edge", 1, &["web"]));
    web.variables = json!({"tell": "db"});
    edge.variables = json!({"tell": "web"});
    infrastructure(vec![edge, node("db", 1, &[]), web])
}

async fn build(fakes: &Fakes, graph: &Infrastructure, rollout: Rollout) -> Result<Status, EngineError> {
    let id = Some(fakes.id.clone());
    let request = BuildRequest { id, rollout, ..BuildRequest::new(graph.clone()) };
    fakes.engine.build(request, RunHandle::new().0).await
}

fn ids(status: &Status, node: &str) -> Vec<String> {
    let node = status.nodes.iter().find(|it| it.name == node).unwrap();
    node.instances.iter().map(|instance| instance.id.clone()).collect()
}

async fn replaced(fakes: &Fakes) -> Vec<String> {
    let events = fakes.events().await.unwrap();
    let replacing = events.into_iter().filter_map(|event| match event.kind {
        EventKind::NodeReplacingDrifted { node_name, .. } => Some(node_name),
        _ => None,
    });
    replacing.collect()
}

#[tokio::test(start_paused = true)]
async fn drift_is_reported_and_nothing_is_touched_unless_requested() {
    let fakes = Fakes::new();
    let before = build(&fakes, &three(), Rollout::default()).await.unwrap();
    let mut graph = three();
    graph.definitions["small"][0].resource["size"] = json!("large");
    graph.nodes[2].variables["x"] = json!(1);
    let plan = fakes.engine.plan(Some(&fakes.id), &graph, Rollout::default()).await.unwrap();
    assert!(plan.is_unchanged());
    assert_eq!(plan.summary(), "4 drifted, not selected for replacement");
    let found: Vec<_> = plan.actions.iter().map(|it| format!("{}: {}", it.node, it.changed.join(", "))).collect();
    assert_eq!(
        found,
        ["edge: definition", "db: definition", "web: variables, definition", "web: variables, definition"]
    );
    let after = build(&fakes, &graph, Rollout::default()).await.unwrap();
    for node in ["db", "web", "edge"] {
        assert_eq!(ids(&before, node), ids(&after, node));
    }
    assert_eq!(after.nodes[1].instances[0].changed, ["definition"]);
    // A location in the user's files is not a change.
    let mut moved = graph.clone();
    moved.definitions["small"][0].origin = "elsewhere.yaml:9:9".into();
    moved.definitions["small"][0].lines.clear();
    assert_eq!(fakes.engine.plan(Some(&fakes.id), &moved, CHANGED).await.unwrap().count(ActionKind::ReplaceDrifted), 4);
    let plan = fakes.engine.plan(Some(&fakes.id), &three(), CHANGED).await.unwrap();
    assert_eq!(plan.summary(), "4 unchanged");
}

#[tokio::test(start_paused = true)]
async fn drifted_instances_are_replaced_one_by_one_in_the_order_of_the_dependencies() {
    let fakes = Fakes::new();
    let before = build(&fakes, &three(), Rollout::default()).await.unwrap();
    let second = Duration::from_secs(1);
    fakes.cloud.set_timing(second, second, second, second);
    let mut graph = three();
    graph.definitions["small"][0].resource["size"] = json!("large");
    let building = tokio::spawn({
        let (fakes, graph) = (fakes.clone(), graph.clone());
        async move { build(&fakes, &graph, CHANGED).await }
    });
    let mut most = 0;
    while !building.is_finished() {
        most = most.max(fakes.cloud.machines().len());
        for node in ["db", "web", "edge"] {
            let target = if node == "web" { 2 } else { 1 };
            assert!(fakes.cloud.nodes().iter().filter(|it| *it == node).count() >= target, "{node} is missing");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = building.await.unwrap().unwrap();
    assert!(after.is_ready());
    assert_eq!(most, 5, "one more at a time");
    assert_eq!(replaced(&fakes).await, ["db", "web", "web", "edge"]);
    for node in ["db", "web", "edge"] {
        assert!(ids(&before, node).iter().all(|id| !ids(&after, node).contains(id)));
    }
    assert!(after.nodes.iter().flat_map(|node| &node.instances).all(|it| it.changed.is_empty() && it.stale.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn stale_addresses_are_shown_and_rolled_out_when_requested() {
    let fakes = Fakes::new();
    let before = build(&fakes, &three(), Rollout::default()).await.unwrap();
    let address = before.nodes[1].instances[0].addresses[0].value.clone();
    fakes.cloud.remove_machines_of("db");
    let healed = fakes.maintain().await.unwrap();
    assert!(healed.is_ready());
    let stale = |status: &Status, at: usize| status.nodes[at].instances[0].stale.clone();
    assert_eq!(stale(&healed, 2), [address]);
    assert!(stale(&healed, 0).is_empty());
    // `edge` refers to `web`, which is about to be replaced.
    let plan = fakes.engine.plan(Some(&fakes.id), &three(), DEPENDENTS).await.unwrap();
    assert_eq!(plan.summary(), "3 to renew, 1 unchanged");
    let after = build(&fakes, &three(), DEPENDENTS).await.unwrap();
    assert_eq!(replaced(&fakes).await, ["web", "web", "edge"]);
    assert_eq!(ids(&healed, "db"), ids(&after, "db"));
    assert!((0..3).all(|at| stale(&after, at).is_empty()));
    assert_eq!(fakes.engine.plan(Some(&fakes.id), &three(), BOTH).await.unwrap().summary(), "4 unchanged");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_now_belongs_to_another_node_is_stale() {
    let fakes = Fakes::new();
    let before = build(&fakes, &three(), Rollout::default()).await.unwrap();
    // `db` and `edge` were restarted, and have each other's addresses now.
    let mut swapped = Vec::new();
    for (node, other) in [(0, 1), (1, 0)] {
        let [instance, other] = [node, other].map(|at: usize| &before.nodes[at].instances[0]);
        let key = format!("infra/test/instance/{}", instance.id);
        let mut record: Value = serde_json::from_slice(&fakes.store.get(&key).await.unwrap().unwrap().value).unwrap();
        record["addresses"] = json!(other.addresses);
        swapped.push(Write::Put { key, value: record.to_string().into_bytes(), lease: None });
    }
    fakes.store.commit(Transaction { compares: Vec::new(), writes: swapped }).await.unwrap();
    let address = before.nodes[1].instances[0].addresses[0].value.clone();
    let after = fakes.engine.status(&fakes.id, false).await.unwrap();
    assert!(after.nodes[2].instances.iter().all(|web| web.stale == [address.clone()]), "{after:?}");
    assert_eq!(
        fakes.engine.plan(Some(&fakes.id), &three(), DEPENDENTS).await.unwrap().summary(),
        "3 to renew, 1 unchanged"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_fails_removes_no_healthy_instance() {
    let fakes = Fakes::new();
    let before = build(&fakes, &three(), Rollout::default()).await.unwrap();
    let mut graph = three();
    graph.definitions["small"][0].resource["size"] = json!("large");
    let fault = Fault::new(Reaction::GiveUp, "fake.no", "no such size");
    fakes.cloud.script("create", "web", Script::Fault(fault));
    let error = build(&fakes, &graph, CHANGED).await.unwrap_err();
    assert!(error.to_string().contains("no such size"), "{error}");
    let after = fakes.engine.status(&fakes.id, true).await.unwrap();
    // Healthy instances are ready; that they have drifted is reported for each of them.
    assert_eq!(after.state, InfrastructureState::Ready);
    assert_eq!(after.nodes.iter().filter(|node| !node.instances[0].changed.is_empty()).count(), 2);
    assert_ne!(ids(&before, "db"), ids(&after, "db"));
    assert_eq!((ids(&before, "web"), ids(&before, "edge")), (ids(&after, "web"), ids(&after, "edge")));
    // The same request continues where it stopped.
    let plan = fakes.engine.plan(Some(&fakes.id), &graph, CHANGED).await.unwrap();
    assert_eq!(plan.summary(), "3 to renew, 1 unchanged");
    assert!(build(&fakes, &graph, CHANGED).await.unwrap().is_ready());
    assert_eq!(fakes.cloud.machines().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_dependencies_changes_the_order_of_removal() {
    let fakes = Fakes::new();
    let free = infrastructure(vec![node("a", 1, &[]), node("b", 1, &[])]);
    fakes.build(&free).await.unwrap();
    fakes.build(&infrastructure(vec![node("a", 1, &[]), node("b", 1, &["a"])])).await.unwrap();
    fakes.destroy().await.unwrap();
    let destroyed: Vec<_> = fakes.cloud.calls().into_iter().filter(|(call, _)| call == "destroy").collect();
    assert_eq!(destroyed, [("destroy".into(), "b".into()), ("destroy".into(), "a".into())]);
}
