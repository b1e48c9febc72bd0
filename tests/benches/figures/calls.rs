//! A call of a plugin in a fresh sandbox, beside the same function called natively and beside a reused instance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use occopus_context_basic::Basic;
use occopus_engine::ports::{
    CallContext, CallScope, ContextRequest, Contextualiser, CreateRequest, Plugins as _, Renderers as _,
};
use occopus_runtime::Runtime;
use occopus_sdk::testing::{FakeFacts, render};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::measure::{count, line, median_of, time};
use crate::sandboxes::runtime;

const CALLS: usize = 5_000;

fn context() -> CallContext {
    CallContext {
        infrastructure_id: "i".to_owned(),
        node: "n".to_owned(),
        timeout: Duration::from_secs(60),
        cancel: CancellationToken::new(),
        progress: None,
        preview: false,
    }
}

pub(crate) fn run() {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = runtime(directory.path());
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    least(&tokio, &runtime);
    rendering(&tokio, &runtime);
}

/// A minimal call: a driver's answer about one machine, known in advance.
fn least(tokio: &tokio::runtime::Runtime, runtime: &Runtime) {
    let driver = runtime.driver("fixture-driver").expect("the fixture");
    let scope = CallScope { context: context(), section: Arc::new(json!({"type": "fixture-driver"})) };
    let request = CreateRequest {
        repeated: false,
        scope: scope.clone(),
        instance_id: "instance".to_owned(),
        node_name: "n".to_owned(),
        infrastructure_id: "i".to_owned(),
        infrastructure_name: "i".to_owned(),
        machine_name: "n".to_owned(),
        user_data: None,
        attributes: json!({}),
    };
    tokio.block_on(async {
        let handle = driver.create(&request).await.expect("created").handle;
        let handles = [handle];
        let mut times = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let began = Instant::now();
            driver.observe(&scope, &handles).await.expect("observed");
            times.push(began.elapsed());
        }
        line("the smallest call, in a fresh sandbox (aim: 0.030 ms)", median_of(times));
    });
    let each = CALLS / 2;
    let took = time(|| {
        tokio.block_on(async {
            let tasks = (0..2).map(|_| {
                let (driver, scope, request) = (Arc::clone(&driver), scope.clone(), request.clone());
                tokio::spawn(async move {
                    let handles = [driver.create(&request).await.expect("created").handle];
                    for _ in 0..each {
                        driver.observe(&scope, &handles).await.expect("observed");
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.expect("no panic");
            }
        });
    });
    count("calls per second, two tasks", (2 * each) as f64 / took.as_secs_f64());
}

/// A real plugin: the attributes of a node, rendered by the contextualiser `basic`.
fn rendering(tokio: &tokio::runtime::Runtime, runtime: &Runtime) {
    let section =
        json!({"type": "basic", "attributes": {"command": ["run", "{{ name }}"], "env": {"A": "{{ node_id }}"}}});
    let data = json!({"name": "web", "node_id": "0b0e6b3c-0000-4000-8000-000000000001"});
    let native = (0..CALLS).map(|_| {
        time(|| drop(render::<Basic>(&section, json!({}), data.clone(), FakeFacts::default()).expect("rendered")))
    });
    line("rendering, called natively", median_of(native.collect()));
    let request = ContextRequest {
        context: context(),
        section: Arc::new(section.clone()),
        resource: Arc::new(json!({})),
        template_data: data.clone(),
        connections: json!([]),
        instances: Arc::default(),
    };
    let contextualiser = runtime.contextualiser("basic").expect("bundled");
    tokio.block_on(async {
        contextualiser.render(&request).await.expect("rendered");
        let reused = runtime.render_on_one_instance("basic", &request, CALLS).await.expect("rendered");
        line("rendering, on a reused instance", median_of(reused));
        line("rendering, in a fresh sandbox", median_of(fresh(&*contextualiser, &request).await));
    });
}

async fn fresh(contextualiser: &dyn Contextualiser, request: &ContextRequest) -> Vec<Duration> {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let began = Instant::now();
        contextualiser.render(request).await.expect("rendered");
        times.push(began.elapsed());
    }
    times
}
