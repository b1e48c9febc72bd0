//! Clouds that refuse calls for a while: calls are retried, and not too often.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use occopus_engine::ports::{
    CallScope, Contextualiser, CreateRequest, Driver, Fault, Handle, HealthChecker, LabelledPage, ObservedMachine,
    OfflinePlugins, Plugins, Reaction, Renderers,
};
use occopus_engine::testing::{FakeCloud, Fakes, Script, id, infrastructure, node};
use occopus_engine::{
    BuildRequest, Engine, EngineError, Event, EventKind, FailureReason, InfrastructureState, MaintainOptions,
    OnFailure, RunHandle, Settings, Status,
};
use occopus_model::Infrastructure;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// A cloud that counts its calls: it admits some in a second, and refuses the others.
#[derive(Clone)]
struct ThrottledCloud {
    cloud: FakeCloud,
    state: Arc<Mutex<TokenBucket>>,
}

struct TokenBucket {
    /// Number of calls in a second that are admitted.
    rate: f64,
    /// Number of calls that are admitted at once after a quiet time.
    burst: f64,
    /// Number of calls that may be admitted at the time `since`.
    tokens: f64,
    since: Instant,
    /// Time until which nothing is admitted.
    closed_until: Instant,
    /// `retry_after` of refusals.
    retry_after: Option<Duration>,
    /// Time that an admitted call takes.
    latency: Duration,
    /// Time of each call, and whether it was admitted.
    calls: Vec<(Instant, bool)>,
}

impl ThrottledCloud {
    fn new(cloud: FakeCloud, rate: f64, burst: f64) -> Self {
        let now = Instant::now();
        let state = TokenBucket {
            rate,
            burst,
            tokens: burst,
            since: now,
            closed_until: now,
            retry_after: None,
            latency: Duration::ZERO,
            calls: Vec::new(),
        };
        Self { cloud, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, TokenBucket> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn admit(&self) -> Result<(), Fault> {
        let (answer, latency) = self.decide();
        // A refusal costs a cloud less.
        let latency = if answer.is_ok() { latency } else { latency.min(Duration::from_millis(50)) };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        answer
    }

    fn decide(&self) -> (Result<(), Fault>, Duration) {
        let mut state = self.state();
        let now = Instant::now();
        state.tokens = (state.tokens + (now - state.since).as_secs_f64() * state.rate).min(state.burst);
        state.since = now;
        let admitted = now >= state.closed_until && state.tokens >= 1.0;
        state.calls.push((now, admitted));
        if admitted {
            state.tokens -= 1.0;
            return (Ok(()), state.latency);
        }
        let mut fault = Fault::new(Reaction::Retry, "fake.throttled", "slow down");
        fault.retry_after = state.retry_after;
        (Err(fault), state.latency)
    }

    fn refused_count(&self) -> usize {
        self.state().calls.iter().filter(|(_, admitted)| !admitted).count()
    }
}

#[async_trait]
impl Driver for ThrottledCloud {
    async fn create(&self, request: &CreateRequest) -> Result<ObservedMachine, Fault> {
        self.admit().await?;
        self.cloud.create(request).await
    }

    async fn find(&self, scope: &CallScope, instance_id: &str) -> Result<Option<ObservedMachine>, Fault> {
        self.admit().await?;
        self.cloud.find(scope, instance_id).await
    }

    async fn observe(&self, scope: &CallScope, handles: &[Handle]) -> Result<Vec<ObservedMachine>, Fault> {
        self.admit().await?;
        self.cloud.observe(scope, handles).await
    }

    async fn list_owned(&self, scope: &CallScope, cursor: Option<&str>) -> Result<LabelledPage, Fault> {
        self.admit().await?;
        self.cloud.list_owned(scope, cursor).await
    }

    async fn destroy(&self, scope: &CallScope, handle: &Handle) -> Result<(), Fault> {
        self.admit().await?;
        self.cloud.destroy(scope, handle).await
    }
}

impl Plugins for ThrottledCloud {
    fn driver(&self, keyword: &str) -> Option<Arc<dyn Driver>> {
        (keyword == "fake").then(|| Arc::new(self.clone()) as Arc<dyn Driver>)
    }

    fn health_checker(&self, keyword: &str) -> Option<Arc<dyn HealthChecker>> {
        self.cloud.health_checker(keyword)
    }

    fn offline(&self) -> Arc<dyn OfflinePlugins> {
        self.cloud.offline()
    }
}

impl Renderers for ThrottledCloud {
    fn contextualiser(&self, keyword: &str) -> Option<Arc<dyn Contextualiser>> {
        self.cloud.contextualiser(keyword)
    }
}

fn throttled_fakes(rate: f64, burst: f64) -> (Fakes, ThrottledCloud) {
    let fakes = Fakes::new();
    fakes.cloud.set_idempotent(true);
    let cloud = ThrottledCloud::new(fakes.cloud.clone(), rate, burst);
    let engine = Engine::new(Arc::new(cloud.clone()), Arc::new(fakes.store.clone()), Arc::new(fakes.clock.clone()));
    (Fakes { engine, ..fakes }, cloud)
}

fn many(count: u32, timeout: u64) -> Infrastructure {
    let mut infrastructure = infrastructure(vec![node("db", count, &[])]);
    infrastructure.definitions["small"][0].health_check.timeout = timeout;
    infrastructure
}

fn drain_events(mut events: UnboundedReceiver<Event>) -> Vec<EventKind> {
    std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.kind).collect()
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_admits_ten_calls_a_second_gets_about_ten_calls_a_second() {
    for retry_after in [None, Some(SECONDS(1))] {
        for (latency, burst) in [(0, 1.0), (0, 10.0), (50, 1.0), (50, 10.0), (300, 10.0), (2000, 10.0)] {
            let (fakes, cloud) = throttled_fakes(10.0, burst);
            cloud.state().retry_after = retry_after;
            cloud.state().latency = Duration::from_millis(latency);
            let begun = Instant::now();
            let case = format!("retry after {retry_after:?}, {latency} ms, bursts of {burst}");
            let status = fakes.build(&many(100, 600)).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(status.is_ready());
            assert_eq!(fakes.cloud.machines().len(), 100);
            let took = begun.elapsed();
            let refused = cloud.refused_count();
            let all = cloud.state().calls.len();
            // With the one pause that the cloud requests.
            let pause = retry_after.unwrap_or_default().as_secs_f64();
            let ideal = (all - refused) as f64 / 10.0 + latency as f64 / 1000.0 + pause;
            assert!((refused as f64) < all as f64 * 0.3, "{case}: {refused} of {all} calls were refused");
            assert!(took.as_secs_f64() < ideal * 1.5, "{case}: {took:?} instead of {ideal:.1} s");
            assert!(all - refused < 130, "{case}: {all} calls");
            assert!(fakes.destroy().await.unwrap().left.is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_retried_for_a_minute_of_refusals() {
    for retry_after in [None, Some(SECONDS(7))] {
        let (fakes, cloud) = throttled_fakes(1000.0, 1000.0);
        cloud.state().retry_after = retry_after;
        cloud.state().closed_until = Instant::now() + SECONDS(60);
        let begun = Instant::now();
        assert!(fakes.build(&many(100, 600)).await.unwrap().is_ready());
        let took = begun.elapsed();
        assert!(took >= SECONDS(60) && took < SECONDS(85), "{took:?}");
        let refused = cloud.refused_count();
        assert!(refused < 100, "{refused} calls were made in vain");

        cloud.state().closed_until = Instant::now() + SECONDS(60);
        let report = fakes.destroy().await.unwrap();
        assert_eq!((report.removed, report.left.len()), (100, 0));
        assert!(fakes.cloud.machines().is_empty());
        assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
    }
}

/// Returns a request under an id that nothing can carry yet, so that the first call is `create`.
fn build_request(graph: Infrastructure) -> BuildRequest {
    BuildRequest { id: Some(id("test")), is_new_id: true, ..BuildRequest::new(graph) }
}

async fn build(fakes: &Fakes, graph: Infrastructure, run: RunHandle) -> Result<Status, EngineError> {
    fakes.engine.build(build_request(graph), run).await
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_retried_after_the_time_out_of_its_node() {
    let (fakes, cloud) = throttled_fakes(1000.0, 1000.0);
    cloud.state().closed_until = Instant::now() + SECONDS(3600);
    let begun = Instant::now();
    let Err(EngineError::Node { failure, left, .. }) = build(&fakes, many(1, 240), RunHandle::new().0).await else {
        panic!()
    };
    let took = begun.elapsed();
    assert!(took >= SECONDS(240) && took < SECONDS(260), "{took:?}");
    let FailureReason::Call { attempts, seconds, .. } = failure.reason.clone() else { panic!("{failure}") };
    assert!(attempts > 5 && (235..260).contains(&seconds), "{attempts} in {seconds} s");
    let text = failure.to_string();
    assert!(text.contains(&format!("create failed for {seconds} s ({attempts} attempts): slow down")), "{text}");
    assert!(left.is_empty());
    assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn faults_that_will_hardly_pass_are_reported_soon() {
    let mut unreachable = Fault::new(Reaction::Retry, "fake.connect", "connection refused");
    unreachable.unreachable = true;
    let crash = Fault::new(Reaction::Retry, "occopus.plugin-trapped", "it crashed");
    let slow = Fault::new(Reaction::Retry, "occopus.plugin-timeout", "no answer");
    for (fault, from, to) in [(unreachable, 20, 32), (crash, 20, 32), (slow, 600, 620)] {
        let fakes = Fakes::new();
        (0..1000).for_each(|_| fakes.cloud.script("create", "db", Script::Fault(fault.clone())));
        let begun = Instant::now();
        let Err(EngineError::Node { failure, .. }) = build(&fakes, many(1, 600), RunHandle::new().0).await else {
            panic!()
        };
        let took = begun.elapsed();
        assert!(took >= SECONDS(from) && took < SECONDS(to), "{took:?}: {failure}");
        assert_eq!(fakes.store.live_keys(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_requests_more_time_than_the_node_has_is_reported_at_once() {
    let (fakes, cloud) = throttled_fakes(1000.0, 1000.0);
    cloud.state().retry_after = Some(SECONDS(900));
    cloud.state().closed_until = Instant::now() + SECONDS(3600);
    let begun = Instant::now();
    let Err(EngineError::Node { failure, .. }) = fakes.build(&many(1, 600)).await else { panic!() };
    assert!(begun.elapsed() < SECONDS(5), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn all_infrastructures_of_an_engine_share_the_limits_of_a_cloud() {
    let (fakes, cloud) = throttled_fakes(1000.0, 1000.0);
    cloud.state().retry_after = Some(SECONDS(30));
    cloud.state().closed_until = Instant::now() + SECONDS(5);
    let build = |name: &str| {
        let request = BuildRequest { id: Some(id(name)), ..BuildRequest::new(many(1, 600)) };
        let engine = fakes.engine.clone();
        tokio::spawn(async move { engine.build(request, RunHandle::new().0).await })
    };
    let one = build("one");
    tokio::time::sleep(SECONDS(1)).await;
    let other = build("other");
    one.await.unwrap().unwrap();
    other.await.unwrap().unwrap();
    assert_eq!(cloud.refused_count(), 1, "the answer to one of them holds for the other");
    let second = cloud.state().calls[1].0;
    assert!(second - cloud.state().calls[0].0 >= SECONDS(30));
}

#[tokio::test(start_paused = true)]
async fn waits_are_reported_and_can_be_ended() {
    let (fakes, cloud) = throttled_fakes(1000.0, 1000.0);
    cloud.state().retry_after = Some(SECONDS(300));
    cloud.state().closed_until = Instant::now() + SECONDS(3600);
    let (run, events) = RunHandle::new();
    let stop = run.stop.clone();
    let request = BuildRequest { on_failure: OnFailure::Keep, ..build_request(many(40, 600)) };
    let engine = fakes.engine.clone();
    let building = tokio::spawn(async move { engine.build(request, run).await });
    tokio::time::sleep(SECONDS(20)).await;
    stop.request();
    let requested = Instant::now();
    let outcome = building.await.unwrap();
    assert!(requested.elapsed() < SECONDS(1), "{:?}", requested.elapsed());
    assert!(matches!(outcome, Err(EngineError::Stopped { .. })));
    let kinds = drain_events(events);
    let retrying = kinds.iter().filter(|kind| matches!(kind, EventKind::Retrying { seconds, .. } if *seconds >= 300.0));
    assert_eq!(retrying.count(), 32);
    // By its code: the message is of one account, and others may wait.
    let is_told = |message: &str| message.contains("is queued") && message.ends_with("(fake.throttled)");
    let queued = kinds.iter().filter(|kind| matches!(kind, EventKind::Waiting { message, .. } if is_told(message)));
    assert_eq!(queued.count(), 8, "each call that could not even begin");
}

#[tokio::test(start_paused = true)]
async fn passes_over_a_cloud_that_refuses_calls_make_few_calls() {
    let (fakes, cloud) = throttled_fakes(1000.0, 1000.0);
    fakes.build(&many(5, 600)).await.unwrap();
    cloud.state().calls.clear();
    cloud.state().retry_after = Some(SECONDS(45));
    cloud.state().closed_until = Instant::now() + SECONDS(200);
    let (stop, maintaining) = fakes.spawn_maintain();
    tokio::time::sleep(SECONDS(30)).await;
    let status = fakes.engine.status(&fakes.id, false).await.unwrap();
    let message = status.message.unwrap_or_default();
    assert!(message.contains("slow down"), "{message}");
    tokio::time::sleep(SECONDS(160)).await;
    let calls = cloud.state().calls.len();
    assert!(calls <= 5, "{calls} calls in 190 s instead of one every 45 s");
    stop.request();
    let requested = Instant::now();
    maintaining.await.unwrap().unwrap();
    assert!(requested.elapsed() < SECONDS(1));
    tokio::time::sleep(SECONDS(60)).await;
    let status = fakes.engine.maintain(&fakes.id, MaintainOptions::default(), RunHandle::new().0).await.unwrap();
    assert_eq!(status.state, InfrastructureState::Ready);
    assert_eq!(fakes.cloud.count("create"), 5);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_waits_for_a_cloud_that_refuses_calls() {
    let (fakes, cloud) = throttled_fakes(1000.0, 1000.0);
    let graph = many(5, 600);
    fakes.build(&graph).await.unwrap();
    let section = graph.definitions["small"][0].resource.clone();
    cloud.state().closed_until = Instant::now() + SECONDS(20);
    let orphans = fakes.engine.sweep(&fakes.id, std::slice::from_ref(&section), false).await.unwrap();
    assert!(orphans.is_empty());
    cloud.state().closed_until = Instant::now() + SECONDS(3600);
    let Err(EngineError::Node { failure, .. }) = fakes.engine.sweep(&fakes.id, &[section], false).await else {
        panic!()
    };
    assert!(failure.to_string().contains("list failed for"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn observations_do_not_wait_behind_slow_creates() {
    let fakes = Fakes::new();
    let settings = Settings { calls_per_endpoint: 1, ..Settings::default() };
    let fakes = fakes.with_settings(settings);
    let mut graph = infrastructure(vec![node("one", 1, &[]), node("two", 1, &[])]);
    fakes.cloud.set_timing(SECONDS(500), SECONDS(0), SECONDS(0), SECONDS(0));
    fakes.cloud.script("create", "one", Script::LostAnswer);
    graph.nodes[0].depends_on.clear();
    fakes.build(&graph).await.unwrap();
    // The one whose answer was lost is found while the other is being created.
    let found = fakes.cloud.calls().iter().position(|(call, _)| call == "find").unwrap();
    let observed = fakes.cloud.calls().iter().filter(|(call, _)| call == "create").count();
    assert_eq!((found, observed), (1, 2), "{:?}", fakes.cloud.calls());
}

/// Tests that nothing is created twice and nothing is left, whatever a cloud refuses, and for how long.
#[test]
fn histories_of_a_cloud_that_refuses_calls() {
    for seed in 0..60 {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        tokio.block_on(run_history(seed));
    }
}

async fn run_history(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (fakes, cloud) = throttled_fakes(rng.f64() * 20.0 + 0.5, 1.0 + rng.f64() * 20.0);
    // A blind repetition creates a second machine, which the test sees.
    fakes.cloud.set_idempotent(false);
    cloud.state().retry_after = rng.bool().then(|| SECONDS(rng.u64(1..10)));
    cloud.state().latency = Duration::from_millis(rng.u64(0..2000));
    cloud.state().closed_until = Instant::now() + SECONDS(rng.u64(0..30));
    for _ in 0..rng.usize(0..4) {
        let script = if rng.bool() { Script::LostAnswer } else { Script::LostRequest };
        fakes.cloud.script("create", "db", script);
    }
    let count = rng.u32(1..40);
    let status = fakes.build(&many(count, 600)).await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert!(status.is_ready());
    assert_eq!(fakes.cloud.machines().len(), count as usize, "seed {seed}");
    cloud.state().closed_until = Instant::now() + SECONDS(rng.u64(0..100));
    let report = fakes.destroy().await.unwrap();
    assert!(report.left.is_empty() && fakes.cloud.machines().is_empty(), "seed {seed}: {report:?}");
    assert_eq!(fakes.store.keys(), Vec::<String>::new(), "seed {seed}");
    let refused = cloud.refused_count();
    let all = cloud.state().calls.len();
    // The first ones, before the limit is known, and few more.
    assert!(refused < 32 + 60 + all / 4, "seed {seed}: {refused} of {all} calls were refused");
}

#[tokio::test(start_paused = true)]
async fn a_build_that_awaits_a_machine_of_such_a_cloud_can_be_stopped() {
    let (fakes, cloud) = throttled_fakes(1000.0, 1000.0);
    fakes.cloud.set_timing(SECONDS(0), SECONDS(120), SECONDS(0), SECONDS(0));
    let (run, _events) = RunHandle::new();
    let stop = run.stop.clone();
    let building = fakes.spawn_build_with(&many(3, 600), OnFailure::Keep, run);
    tokio::time::sleep(SECONDS(5)).await;
    cloud.state().retry_after = Some(SECONDS(300));
    cloud.state().closed_until = Instant::now() + SECONDS(3600);
    tokio::time::sleep(SECONDS(60)).await;
    assert_eq!(cloud.refused_count(), 1);
    stop.request();
    let requested = Instant::now();
    assert!(building.await.unwrap().is_err());
    assert!(requested.elapsed() < SECONDS(1), "{:?}", requested.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_refusal_costs_a_healthy_cloud_little() {
    let (fakes, cloud) = throttled_fakes(1e6, 1e6);
    cloud.state().latency = Duration::from_millis(500);
    let whole = {
        let begun = Instant::now();
        fakes.build(&many(400, 600)).await.unwrap();
        begun.elapsed()
    };
    fakes.destroy().await.unwrap();
    fakes.cloud.script("create", "db", Script::Fault(Fault::new(Reaction::Retry, "fake.retry", "once")));
    let begun = Instant::now();
    fakes.build(&many(400, 600)).await.unwrap();
    let took = begun.elapsed();
    assert!(took < whole + SECONDS(6), "{took:?} instead of {whole:?}");
}
