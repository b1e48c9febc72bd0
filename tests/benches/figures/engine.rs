//! What engine and store add to the time that the cloud takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use occopus_engine::testing::{Fakes, infrastructure, node};
use occopus_engine::{BuildRequest, Engine, Run};
use occopus_model::Infrastructure;
use occopus_store::SqliteStore;

use crate::measure::{line, ratio};

/// Layers in which each node depends on one of the layer below.
fn layers(layers: usize, width: usize) -> Infrastructure {
    let name = |layer: usize, n: usize| format!("l{layer}-{n}");
    let nodes = (0..layers).flat_map(|layer| {
        (0..width).map(move |n| {
            let below = layer.checked_sub(1).map(|below| name(below, n));
            node(&name(layer, n), 1, &below.iter().map(String::as_str).collect::<Vec<_>>())
        })
    });
    infrastructure(nodes.collect())
}

/// Builds and destroys on a simulated cloud, with the real store. Gives the time of both.
fn deploy(infrastructure: &Infrastructure, create: Duration, ready: Duration) -> (Duration, Duration) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(directory.path().join("store.db")).expect("a store");
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    tokio.block_on(async {
        let fakes = Fakes::new();
        fakes.cloud.timing(create, Duration::ZERO, ready, Duration::ZERO);
        let engine = Engine::new(
            Arc::new(fakes.cloud.clone()),
            Arc::new(store),
            Arc::new(occopus_engine::testing::VirtualClock::new()),
        );
        let request = BuildRequest { id: Some("bench".into()), ..BuildRequest::new(infrastructure.clone()) };
        let began = Instant::now();
        assert!(engine.build(request, Run::new().0).await.expect("built").is_ready());
        let built = began.elapsed();
        engine.destroy("bench", Run::new().0).await.expect("destroyed");
        (built, began.elapsed() - built)
    })
}

pub(crate) fn run() {
    let (create, ready) = (Duration::from_secs(1), Duration::from_millis(500));
    let (built, _) = deploy(&layers(10, 10), create, ready);
    let path = (create + ready) * 10;
    line("100 nodes in 10 layers: create 1 s, ready 0.5 s later", built);
    line("the critical path", path);
    ratio("ratio", built, path, 1.05);
    for width in [200, 2_000] {
        let (built, destroyed) = deploy(&layers(10, width), Duration::ZERO, Duration::ZERO);
        line(&format!("{} nodes that cost nothing: build", 10 * width), built);
        line(&format!("{} nodes that cost nothing: destroy", 10 * width), destroyed);
    }
}
