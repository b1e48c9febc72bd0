//! Scaling: any process may record a request, and the owner applies it once.

use std::time::Duration;

use occopus_engine::testing::{Fakes, id, infrastructure, node};
use occopus_engine::{EngineError, EventKind, OnFailure, RunHandle, Scale};
use occopus_model::Infrastructure;

/// Returns a database, and 2 to 5 web servers that depend on it.
fn graph() -> Infrastructure {
    let mut web = node("web", 2, &["db"]);
    web.scaling.max = 5;
    infrastructure(vec![node("db", 1, &[]), web])
}

async fn built() -> Fakes {
    let fakes = Fakes::new();
    fakes.build(&graph()).await.expect("built");
    fakes
}

/// Returns the ids of the instances of `web`, oldest first.
async fn web_ids(fakes: &Fakes) -> Vec<String> {
    let status = fakes.engine.status(&fakes.id, false).await.expect("status");
    let web = status.nodes.iter().find(|node| node.name == "web").expect("web");
    web.instances.iter().map(|instance| instance.id.clone()).collect()
}

async fn target(fakes: &Fakes) -> u32 {
    let status = fakes.engine.status(&fakes.id, false).await.expect("status");
    status.nodes.iter().find(|node| node.name == "web").expect("web").target
}

#[tokio::test(start_paused = true)]
async fn up_and_down_the_youngest_go_first() {
    let fakes = built().await;
    let first = web_ids(&fakes).await;
    assert_eq!(fakes.engine.scale(&fakes.id, "web", Scale::By(2)).await.expect("recorded"), 4);
    assert_eq!((web_ids(&fakes).await.len(), target(&fakes).await), (2, 4), "recorded, and not done yet");
    assert!(fakes.maintain().await.expect("a pass").is_ready());
    let four = web_ids(&fakes).await;
    assert_eq!((four.len(), &four[..2]), (4, &first[..]));
    assert_eq!(fakes.cloud.machines().len(), 5);

    fakes.engine.scale(&fakes.id, "web", Scale::To(3)).await.expect("recorded");
    fakes.maintain().await.expect("a pass");
    assert_eq!(web_ids(&fakes).await, four[..3]);
    // Applied once: further passes change nothing.
    fakes.maintain().await.expect("a pass");
    assert_eq!(web_ids(&fakes).await, four[..3]);
    let events = fakes.events().await.expect("events");
    let scaled: Vec<_> = events.iter().filter(|event| matches!(event.kind, EventKind::NodeScaled { .. })).collect();
    assert_eq!(scaled.len(), 2, "{scaled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_certain_instance_by_id_or_address() {
    let fakes = built().await;
    fakes.engine.scale(&fakes.id, "web", Scale::To(4)).await.expect("recorded");
    fakes.maintain().await.expect("a pass");
    let four = web_ids(&fakes).await;
    let status = fakes.engine.status(&fakes.id, false).await.expect("status");
    let address = status.nodes[1].instances[1].addresses[0].value.clone();
    assert_eq!(fakes.engine.scale(&fakes.id, "web", Scale::Remove(four[0].clone())).await.expect("recorded"), 3);
    // Requested twice, it is removed once.
    assert_eq!(fakes.engine.scale(&fakes.id, "web", Scale::Remove(four[0].clone())).await.expect("recorded"), 3);
    assert_eq!(fakes.engine.scale(&fakes.id, "web", Scale::Remove(address)).await.expect("recorded"), 2);
    fakes.maintain().await.expect("a pass");
    assert_eq!(web_ids(&fakes).await, four[2..]);
}

#[tokio::test(start_paused = true)]
async fn requests_add_up() {
    let fakes = built().await;
    for (scale, number) in [(Scale::By(3), 5), (Scale::By(-2), 3), (Scale::By(1), 4)] {
        assert_eq!(fakes.engine.scale(&fakes.id, "web", scale).await.expect("recorded"), number);
    }
    fakes.maintain().await.expect("a pass");
    assert_eq!(web_ids(&fakes).await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_scaled_node_is_healed_to_its_target() {
    let fakes = built().await;
    fakes.engine.scale(&fakes.id, "web", Scale::To(5)).await.expect("recorded");
    fakes.maintain().await.expect("a pass");
    let victim = web_ids(&fakes).await[4].clone();
    fakes.cloud.remove_machine_of(&victim);
    for _ in 0..3 {
        fakes.maintain().await.expect("a pass");
    }
    let healed = web_ids(&fakes).await;
    assert!(healed.len() == 5 && !healed.contains(&victim), "{healed:?}");
    // A build of the same description does not forget it.
    fakes.build(&graph()).await.expect("built");
    assert_eq!(web_ids(&fakes).await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn targets_that_are_not_allowed_are_refused() {
    let fakes = built().await;
    let scale =
        async |name: &str, node: &str, scale| fakes.engine.scale(&id(name), node, scale).await.expect_err("refused");
    assert!(matches!(scale("nobody", "web", Scale::To(3)).await, EngineError::UnknownInfrastructure { .. }));
    assert!(matches!(scale("test", "wbe", Scale::To(3)).await, EngineError::UnknownNode { .. }));
    for wrong in [Scale::To(6), Scale::To(1), Scale::To(0), Scale::By(4), Scale::By(-1), Scale::By(i32::MAX)] {
        assert!(matches!(scale("test", "web", wrong.clone()).await, EngineError::Limits { .. }), "{wrong:?}");
    }
    let instance = fakes.engine.status(&fakes.id, false).await.expect("status").nodes[0].instances[0].id.clone();
    assert!(matches!(scale("test", "web", Scale::Remove(instance)).await, EngineError::UnknownInstance { .. }));
    fakes.destroy().await.expect("destroyed");
    assert!(matches!(scale("test", "web", Scale::To(3)).await, EngineError::UnknownInfrastructure { .. }));
}

#[tokio::test(start_paused = true)]
async fn other_limits_move_the_number() {
    let fakes = built().await;
    fakes.engine.scale(&fakes.id, "web", Scale::To(5)).await.expect("recorded");
    fakes.maintain().await.expect("a pass");
    let mut smaller = graph();
    smaller.nodes[1].scaling.max = 3;
    fakes.build_with(&smaller, OnFailure::Rollback, RunHandle::new().0).await.expect("built");
    assert_eq!(web_ids(&fakes).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_being_replaced_may_be_the_one_to_go() {
    let fakes = built().await;
    fakes.engine.scale(&fakes.id, "web", Scale::To(4)).await.expect("recorded");
    fakes.maintain().await.expect("a pass");
    let slow = Duration::from_secs(60);
    fakes.cloud.set_timing(slow, Duration::ZERO, Duration::ZERO, slow);
    let (stop, maintaining) = fakes.spawn_maintain();
    let victim = web_ids(&fakes).await[0].clone();
    fakes.cloud.remove_machine_of(&victim);
    // By now two observations have shown that it is gone, and a job removes what may be left of it.
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(web_ids(&fakes).await.contains(&victim), "its job is under way");
    assert_eq!(fakes.engine.scale(&fakes.id, "web", Scale::Remove(victim)).await.expect("recorded"), 3);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((web_ids(&fakes).await.len(), target(&fakes).await), (3, 3));
    stop.request();
    assert!(maintaining.await.expect("no panic").expect("kept").is_ready());
}
