//! Overhead of engine, sandboxes and store over the time that the cloud takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use occopus_engine::ports::SystemClock;
use occopus_engine::testing::{id, infrastructure, node};
use occopus_engine::{BuildRequest, Engine, Rollout, RunHandle, Settings};
use occopus_model::{Infrastructure, InstanceLimits};
use serde_json::{Value, json};

use crate::measure::{amount, cpu, line, peak_memory, ratio, reset_peak_memory};
use crate::sandboxes::runtime;
use crate::store::{CountingStore, WriteCounts};

/// Returns layers in which each node depends on one of the layer below. All have this `resource` section, and these checks.
pub(crate) fn layers(layers: usize, width: usize, resource: Value, checks: Value) -> Infrastructure {
    let name = |layer: usize, n: usize| format!("l{layer}-{n}");
    let nodes = (0..layers).flat_map(|layer| {
        (0..width).map(move |n| {
            let below = layer.checked_sub(1).map(|below| name(below, n));
            node(&name(layer, n), 1, &below.iter().map(String::as_str).collect::<Vec<_>>())
        })
    });
    let mut infrastructure = infrastructure(nodes.collect());
    for implementation in infrastructure.definitions.values_mut().flatten() {
        implementation.resource = resource.clone();
        let checks = checks.as_object().cloned().unwrap_or_default();
        implementation.health_check.checks = checks.into_iter().collect();
    }
    infrastructure
}

/// Builds an engine over real sandboxes and the real store, on two threads.
pub(crate) struct Sandboxed {
    pub(crate) tokio: tokio::runtime::Runtime,
    pub(crate) engine: Engine,
    pub(crate) written: Arc<WriteCounts>,
    _directory: tempfile::TempDir,
}

/// Settings without the waits and limits that protect users: machines without checks are ready at once, and an infrastructure
/// may have any number of instances.
pub(crate) fn unbounded_settings() -> Settings {
    let instance_limits = InstanceLimits { per_node: u32::MAX, per_infrastructure: u32::MAX };
    Settings { min_ready_time: Duration::ZERO, instance_limits, ..Settings::default() }
}

impl Sandboxed {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let (store, written) = CountingStore::open(directory.path());
        let plugins = runtime(directory.path());
        let wanted = [
            (occopus_runtime::PluginKind::Driver, "simulated".to_owned()),
            (occopus_runtime::PluginKind::Contextualiser, "basic".to_owned()),
            (occopus_runtime::PluginKind::HealthChecker, "ports".to_owned()),
        ];
        tokio.block_on(plugins.preload(&wanted, |_| {})).expect("compiled");
        let engine = Engine::new(plugins, store, Arc::new(SystemClock));
        // The simulated cloud accepts any number of calls at a time; a real one gets 32 at a time.
        let engine = engine.with_settings(Settings { calls_per_endpoint: 2_000, ..unbounded_settings() });
        Self { tokio, engine, written, _directory: directory }
    }

    pub(crate) fn build(&self, infrastructure: &Infrastructure) -> Duration {
        let request =
            BuildRequest { id: Some(id("bench")), is_new_id: true, ..BuildRequest::new(infrastructure.clone()) };
        let began = Instant::now();
        let status = self.tokio.block_on(self.engine.build(request, RunHandle::new().0)).expect("built");
        let took = began.elapsed();
        assert!(status.is_ready());
        took
    }

    pub(crate) fn destroy(&self) -> Duration {
        let began = Instant::now();
        let report = self.tokio.block_on(self.engine.destroy(&id("bench"), RunHandle::new().0)).expect("destroyed");
        assert!(report.left.is_empty());
        began.elapsed()
    }
}

pub(crate) fn run() {
    slow();
    for (width, build, plan) in [(100, 1.0, 0.05), (500, 5.0, 0.25), (2_000, 20.0, 1.0)] {
        free(width, Duration::from_secs_f64(build), Duration::from_secs_f64(plan));
    }
}

/// Nodes that take time: create 1 s, ready 0.5 s later.
fn slow() {
    let path = Duration::from_millis(1_500) * 10;
    line("create 1 s, ready 0.5 s later, 10 layers: the critical path", path);
    for (width, aim) in [(10, 1.05), (100, 1.05), (1_000, 1.25)] {
        let sandboxed = Sandboxed::new();
        let resource = json!({"type": "simulated", "create_ms": 1_000, "boot_ms": 500, "address": "127.0.0.1", "endpoint": "http://127.0.0.1:1"});
        let nodes = width * 10;
        reset_peak_memory();
        let before = (cpu(), peak_memory());
        let built = sandboxed.build(&layers(10, width, resource, json!({})));
        ratio(&format!("{nodes} nodes: build, of the critical path"), built, path, aim);
        amount("  processor time for each node", (cpu() - before.0).as_secs_f64() * 1e6 / nodes as f64, "µs");
        let memory = peak_memory().saturating_sub(before.1);
        amount("  memory for each node, at most", memory as f64 / 1024.0 / nodes as f64, "KiB");
        sandboxed.destroy();
    }
}

/// Nodes that take no time.
fn free(width: usize, build_limit: Duration, plan_limit: Duration) {
    let nodes = width * 10;
    let sandboxed = Sandboxed::new();
    let graph = layers(
        10,
        width,
        json!({"type": "simulated", "address": "127.0.0.1", "endpoint": "http://127.0.0.1:1"}),
        json!({}),
    );
    reset_peak_memory();
    let built = sandboxed.build(&graph);
    let memory = peak_memory();
    let (transactions, bytes) = sandboxed.written.take();
    line(&format!("{nodes} nodes that cost nothing: build"), built);
    ratio("  of its limit", built, build_limit, 1.0);
    let began = Instant::now();
    let bench = id("bench");
    let plan = sandboxed.engine.plan(Some(&bench), &graph, Rollout::default());
    let plan = sandboxed.tokio.block_on(plan).expect("planned");
    let planned = began.elapsed();
    assert!(plan.is_unchanged());
    line("  plan without changes", planned);
    ratio("  of its limit", planned, plan_limit, 1.0);
    line("  destroy", sandboxed.destroy());
    amount("  memory of the process, at most", memory as f64 / f64::from(1 << 20), "MiB");
    amount("  written for each node: transactions", transactions as f64 / nodes as f64, "");
    amount("  written for each node: bytes", bytes as f64 / nodes as f64, "");
}
