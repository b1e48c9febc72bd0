//! Overhead of the engine.

use std::time::Duration;

use occopus_engine::testing::{Fakes, infrastructure, node};
use occopus_model::Infrastructure;
use tokio::time::Instant;

/// Returns layers of nodes, in which each node depends on one of the layer below.
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

#[tokio::test(start_paused = true)]
async fn a_hundred_nodes_take_little_longer_than_their_critical_path() {
    let fakes = Fakes::new();
    let ms = Duration::from_millis;
    fakes.cloud.set_timing(ms(1000), ms(0), ms(500), ms(0));
    let begun = Instant::now();
    assert!(fakes.build(&layers(10, 10)).await.unwrap().is_ready());
    let ratio = begun.elapsed().as_secs_f64() / 15.0;
    assert!(ratio <= 1.05, "{ratio}");
}

#[tokio::test]
async fn thousands_of_nodes_that_cost_nothing_grow_linearly() {
    let mut seconds = Vec::new();
    for width in [100, 400] {
        let fakes = Fakes::new();
        let begun = Instant::now();
        assert!(fakes.build(&layers(10, width)).await.unwrap().is_ready());
        seconds.push(begun.elapsed().as_secs_f64());
    }
    assert!(seconds[1] < seconds[0] * 4.0 * 3.0 + 1.0, "{seconds:?}");
}
