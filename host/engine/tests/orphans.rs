//! Machines without a record are found and removed, and no others.

use occopus_engine::testing::{Fakes, id, infrastructure, node};
use occopus_engine::{BuildRequest, RunHandle};
use serde_json::json;

async fn build(fakes: &Fakes, name: &str) {
    let infrastructure = infrastructure(vec![node("a", 3, &[])]);
    let request = BuildRequest { id: Some(id(name)), ..BuildRequest::new(infrastructure) };
    fakes.engine.build(request, RunHandle::new().0).await.expect("built");
}

#[tokio::test(start_paused = true)]
async fn only_those_of_the_infrastructure_that_have_no_record() {
    let fakes = Fakes::new();
    build(&fakes, "mine").await;
    build(&fakes, "other").await;
    let sections = [json!({"type": "fake", "endpoint": "fake://"}), json!({"type": "fake", "endpoint": "fake://"})];
    assert!(fakes.engine.sweep(&id("mine"), &sections, true).await.expect("swept").is_empty());

    // The same cloud, with an empty store.
    let lost = Fakes::new();
    let engine = occopus_engine::Engine::new(
        std::sync::Arc::new(fakes.cloud.clone()),
        std::sync::Arc::new(lost.store.clone()),
        std::sync::Arc::new(occopus_engine::testing::VirtualClock::new()),
    );
    let found = engine.sweep(&id("mine"), &sections, false).await.expect("swept");
    assert_eq!((found.len(), found.iter().filter(|orphan| orphan.removed).count()), (3, 0));
    assert_eq!(fakes.cloud.machines().len(), 6, "nothing was removed");
    let removed = engine.sweep(&id("mine"), &sections, true).await.expect("swept");
    assert!(removed.len() == 3 && removed.iter().all(|orphan| orphan.removed), "{removed:?}");
    let left: Vec<_> = fakes.cloud.machines().into_iter().map(|machine| machine.infrastructure).collect();
    assert_eq!(left, ["other"; 3]);
    assert_eq!(lost.store.keys(), Vec::<String>::new(), "a sweep leaves nothing in the store");
}
