//! Costs of the maintenance of healthy nodes.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use occopus_engine::ports::SystemClock;
use occopus_engine::testing::{Fakes, id};
use occopus_engine::{BuildRequest, Engine, MaintainOptions, RunHandle};
use serde_json::json;

use crate::engine::{Sandboxed, layers};
use crate::measure::{amount, cpu, line};
use crate::store::CountingStore;

/// The engine's own work, in nodes per second of one core.
const MIN_NODES_PER_CORE_SECOND: f64 = 20_000.0;

pub(crate) fn run() {
    for nodes in [10_000, 100_000] {
        native(nodes);
    }
    sandboxed(10_000);
    idle(1_000, Duration::from_secs(30));
}

fn pass(tokio: &tokio::runtime::Runtime, engine: &Engine, nodes: usize, limit: Option<f64>) {
    let (began, busy) = (Instant::now(), cpu());
    let bench = id("bench");
    let maintain = engine.maintain(&bench, MaintainOptions::default(), RunHandle::new().0);
    assert!(tokio.block_on(maintain).expect("maintained").is_ready());
    let (took, busy) = (began.elapsed(), cpu() - busy);
    line("  one pass, from the store to the conclusion", took);
    amount("  processor time for each node", busy.as_secs_f64() * 1e6 / nodes as f64, "µs");
    let rate = nodes as f64 / busy.as_secs_f64();
    let aim = limit.map(|limit| format!("(aim {limit:.0})")).unwrap_or_default();
    amount("  nodes for each second of one core", rate, &aim);
}

/// Cloud and checks are functions in this process.
fn native(nodes: usize) {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = CountingStore::open(directory.path());
    let (fakes, engine) = tokio.block_on(async {
        let fakes = Fakes::new();
        let engine = Engine::new(Arc::new(fakes.cloud.clone()), store, Arc::new(SystemClock));
        let resource = json!({"type": "fake", "endpoint": "fake://", "zone": "a"});
        let graph = layers(10, nodes / 10, resource, json!({"fake": {}}));
        let request = BuildRequest { id: Some(id("bench")), is_new_id: true, ..BuildRequest::new(graph) };
        engine.build(request, RunHandle::new().0).await.expect("built");
        (fakes, engine)
    });
    println!("  {nodes} nodes, cloud and checks in this process");
    let asked = fakes.cloud.count("observe");
    pass(&tokio, &engine, nodes, Some(MIN_NODES_PER_CORE_SECOND));
    amount("  calls of the cloud", (fakes.cloud.count("observe") - asked) as f64, "");
}

/// Returns this number of nodes, with the `ports` check against a port that answers.
fn with_ports(nodes: usize) -> Sandboxed {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let sandboxed = Sandboxed::new();
    let resource = json!({"type": "simulated", "address": "127.0.0.1", "endpoint": "http://127.0.0.1:1"});
    sandboxed.build(&layers(10, nodes / 10, resource, json!({"ports": [port]})));
    sandboxed
}

/// A driver and the `ports` check in real sandboxes.
fn sandboxed(nodes: usize) {
    let sandboxed = with_ports(nodes);
    println!("  {nodes} nodes, `simulated` and `ports` in sandboxes");
    pass(&sandboxed.tokio, &sandboxed.engine, nodes, None);
}

/// Continuous maintenance at the default interval.
fn idle(nodes: usize, time: Duration) {
    let sandboxed = with_ports(nodes);
    let (run, _events) = RunHandle::new();
    let stop = run.stop.clone();
    let options = MaintainOptions { cyclic: Some(Duration::from_secs(10)), ..MaintainOptions::default() };
    sandboxed.tokio.block_on(async {
        let engine = sandboxed.engine.clone();
        let keeping = tokio::spawn(async move { engine.maintain(&id("bench"), options, run).await });
        // The first pass surveys everything at once.
        tokio::time::sleep(Duration::from_secs(11)).await;
        let busy = cpu();
        tokio::time::sleep(time).await;
        let share = (cpu() - busy).as_secs_f64() / time.as_secs_f64();
        amount(&format!("{nodes} nodes every 10 s, in sandboxes: share of one core"), share * 100.0, "%");
        stop.request();
        keeping.await.expect("no panic").expect("maintained");
    });
}
