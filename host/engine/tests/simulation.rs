//! Whole histories of an infrastructure, one for each seed: builds, passes, scaling and removal under faults of every
//! kind, lost answers, machines that vanish, and a process that dies at any moment. Time is simulated, and a seed
//! always gives the same history.
//!
//! `OCCOPUS_SEEDS=100000 cargo test -p occopus-engine --test simulation` runs more; `OCCOPUS_SEED=17` runs one, and
//! prints its history.
#![expect(clippy::print_stderr, reason = "a failing seed prints its history")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use fastrand::Rng;
use occopus_engine::ports::{Fault, Phase, Reaction};
use occopus_engine::testing::{Crash, Fakes, SECRET, Script, infrastructure, node};
use occopus_engine::{
    BuildRequest, EngineError, EventKind, InstanceState, MaintainOptions, OnFailure, Rollout, RunHandle, Scale,
};
use occopus_model::Infrastructure;
use serde_json::json;

const DEFAULT_SEEDS: u64 = 2_000;
/// Upper limit of calls, more than any history of a correct engine makes.
const MAX_CALLS: usize = 20_000;

#[test]
fn histories() {
    let variable = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
    let (from, to) = match variable("OCCOPUS_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, variable("OCCOPUS_SEEDS").unwrap_or(DEFAULT_SEEDS)),
    };
    let threads = std::thread::available_parallelism().map_or(1, |number| number.get() as u64);
    let failed: Vec<u64> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let seeds = (from..to).filter(move |seed| seed % threads == worker);
                    seeds
                        .filter(|seed| catch_unwind(AssertUnwindSafe(|| run_history(*seed))).is_err())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    assert!(failed.is_empty(), "{} of {} seeds fail: {failed:?}", failed.len(), to - from);
}

fn run_history(seed: u64) {
    let tokio =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    tokio.block_on(Simulation::new(seed).run());
}

struct Simulation {
    seed: u64,
    rng: Rng,
    fakes: Fakes,
    graph: Infrastructure,
    /// Set if the cloud keeps the contract: then calls of two owners may overlap.
    idempotent: bool,
    /// Highest limit that each node ever had.
    highest_limit: HashMap<String, u32>,
    /// Highest target that each node ever had, its described minimum or what it was scaled to, and the sum of all
    /// relative increases: they count from whatever is described by then.
    highest_target: HashMap<String, (u32, u32)>,
    /// Steps so far, printed if one fails.
    history: Vec<String>,
}

impl Drop for Simulation {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("OCCOPUS_SEED").is_some() {
            eprintln!("seed {}:\n  {}", self.seed, self.history.join("\n  "));
        }
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let graph = graph(&mut rng);
        let idempotent = rng.bool();
        let fakes = Fakes::new();
        fakes.cloud.set_idempotent(idempotent);
        fakes.cloud.set_jitter(seed);
        fakes.cloud.set_listing_delay(Duration::from_millis(if rng.bool() { 0 } else { rng.u64(0..4000) }));
        // A cloud that does not recognise a repeated request creates a second machine for a late one; drivers have to
        // prevent that.
        let late_arrival = (idempotent && rng.bool()).then(|| Duration::from_millis(rng.u64(0..8000)));
        fakes.cloud.set_late_arrival(late_arrival);
        let (highest_limit, highest_target, history) = Default::default();
        Self { seed, rng, fakes, graph, idempotent, highest_limit, highest_target, history }
    }

    fn log(&mut self, line: impl Into<String>) {
        self.history.push(line.into());
    }

    async fn run(mut self) {
        let mut time = || Duration::from_millis(self.rng.u64(0..1500));
        self.fakes.cloud.set_timing(time(), time(), time(), time());
        self.log(format!(
            "nodes {:?}",
            self.graph
                .nodes
                .iter()
                .map(|node| (&node.name, node.scaling.min, node.scaling.max, &node.depends_on))
                .collect::<Vec<_>>()
        ));
        self.note_limits();
        for _ in 0..self.rng.usize(2..9) {
            self.inject_faults();
            self.step().await;
            self.check_always().await;
        }
        self.fakes.cloud.recover();
        self.fakes.store.fail_commits(0);
        self.fakes.store.lose_commit_answers(0);
        self.converge().await;
        self.destroy_and_check().await;
    }

    fn note_limits(&mut self) {
        for node in &self.graph.nodes {
            let limit = self.highest_limit.entry(node.name.clone()).or_default();
            *limit = node.scaling.max.max(*limit);
            let (target, _) = self.highest_target.entry(node.name.clone()).or_default();
            *target = node.scaling.min.max(*target);
        }
    }

    /// Prepares faults for the next step.
    fn inject_faults(&mut self) {
        for _ in 0..self.rng.usize(0..4) {
            let call = *self.rng.choice(&["create", "find", "observe", "destroy"]).expect("some");
            let at = self.rng.usize(0..self.graph.nodes.len());
            let node = if call == "observe" { String::new() } else { self.graph.nodes[at].name.clone() };
            let script = match self.rng.u8(0..8) {
                0 | 1 => Script::LostAnswer,
                2 | 3 => Script::LostRequest,
                4 => Script::Fault(Fault::new(Reaction::GiveUp, "sim.give-up", "no")),
                5 => Script::Fault(Fault::new(Reaction::NoCapacity, "sim.full", "full")),
                6 => Script::Fault(Fault::new(Reaction::UnknownOutcome, "sim.unknown", "who knows")),
                _ => Script::Fault(Fault::new(Reaction::Retry, "sim.retry", "later")),
            };
            self.log(format!("  next {call} of {node:?}: {script:?}"));
            self.fakes.cloud.script(call, &node, script);
        }
        if self.rng.u8(0..4) == 0 {
            let at = self.rng.usize(0..self.graph.nodes.len());
            let name = self.graph.nodes[at].name.clone();
            self.log(format!("  the outcome of the next create of {name} can't be resolved"));
            let refusal = Fault::new(Reaction::GiveUp, "sim.give-up", "no");
            self.fakes.cloud.script("create", &name, Script::LostAnswer);
            for _ in 0..2 {
                self.fakes.cloud.script("find", &name, Script::Fault(refusal.clone()));
            }
        }
        if self.rng.u8(0..4) == 0 {
            let machines = self.fakes.cloud.machines();
            if let Some(machine) = self.rng.choice(&machines) {
                self.log(format!("  {} vanishes", machine.node));
                self.fakes.cloud.remove_machine_of(&machine.instance);
            }
        }
        if self.rng.u8(0..6) == 0 {
            let at = self.rng.usize(0..self.graph.nodes.len());
            let name = self.graph.nodes[at].name.clone();
            let phase = *self.rng.choice(&[Phase::Stopped, Phase::Failed, Phase::Unknown]).expect("some");
            self.log(format!("  all of {name} are {phase:?}"));
            self.fakes.cloud.set_phase(&name, phase);
        }
        if self.rng.u8(0..8) == 0 {
            let jump = self.rng.i64(-7_200_000..7_200_000);
            self.log(format!("  the clock jumps by {jump} ms"));
            self.fakes.clock.jump(jump);
        }
        if self.rng.u8(0..6) == 0 {
            let at = self.rng.usize(0..self.graph.nodes.len());
            let (name, sick) = (self.graph.nodes[at].name.clone(), self.rng.bool());
            self.log(format!("  {name} is {}", if sick { "unhealthy" } else { "healthy" }));
            self.fakes.cloud.set_sick(&name, sick);
        }
        match self.rng.u8(0..8) {
            0 => self.fakes.store.fail_commits(self.rng.u32(1..4)),
            1 => self.fakes.store.lose_commit_answers(self.rng.u32(1..3)),
            _ => {}
        }
    }

    /// Runs one command, which may be interrupted.
    async fn step(&mut self) {
        let fakes = self.fakes.clone();
        let (run, _events) = RunHandle::new();
        let stop = run.stop.clone();
        let mut description = String::new();
        let command: std::pin::Pin<Box<dyn Future<Output = String>>> = match self.rng.u8(0..13) {
            10 | 11 => {
                let seconds = self.rng.u64(1..200);
                description += &format!("maintain for {seconds} s");
                // Often shorter than the time of a replacement, so that passes and jobs overlap.
                let pause = Duration::from_millis(self.rng.u64(300..10_000));
                let options = MaintainOptions { cyclic: Some(pause), ..MaintainOptions::default() };
                let (stop, faults) = (stop.clone(), self.rng.u8(0..4));
                Box::pin(async move {
                    let disturbance = async {
                        for _ in 0..faults {
                            tokio::time::sleep(Duration::from_secs(seconds) / 4).await;
                            let machines = fakes.cloud.machines();
                            if let Some(machine) = machines.get(machines.len() / 2) {
                                fakes.cloud.remove_machine_of(&machine.instance);
                            }
                        }
                        tokio::time::sleep(Duration::from_secs(seconds)).await;
                        stop.request();
                    };
                    let maintained = fakes.engine.maintain(&fakes.id, options, run);
                    let (outcome, ()) = tokio::join!(maintained, disturbance);
                    describe_outcome(outcome.map(|status| status.state))
                })
            }
            12 => {
                let suspend = self.rng.bool();
                description += if suspend { "suspend" } else { "resume" };
                Box::pin(async move {
                    let engine = &fakes.engine;
                    describe_outcome(if suspend {
                        engine.suspend(&fakes.id).await
                    } else {
                        engine.resume(&fakes.id).await
                    })
                })
            }
            0..=3 => {
                if self.rng.u8(0..4) == 0 {
                    self.graph = changed(&mut self.rng, &self.graph);
                    self.note_limits();
                }
                let on_failure = if self.rng.bool() { OnFailure::Rollback } else { OnFailure::Keep };
                let rollout = Rollout { changed: self.rng.bool(), dependents: self.rng.bool() };
                description += &format!("build ({on_failure:?}, {rollout:?})");
                let request = BuildRequest {
                    id: Some(fakes.id.clone()),
                    on_failure,
                    rollout,
                    ..BuildRequest::new(self.graph.clone())
                };
                Box::pin(
                    async move { describe_outcome(fakes.engine.build(request, run).await.map(|status| status.state)) },
                )
            }
            4..=6 => {
                description += "maintain";
                Box::pin(async move {
                    describe_outcome(
                        fakes
                            .engine
                            .maintain(&fakes.id, MaintainOptions::default(), run)
                            .await
                            .map(|status| status.state),
                    )
                })
            }
            7 | 8 => {
                let at = self.rng.usize(0..self.graph.nodes.len());
                let name = self.graph.nodes[at].name.clone();
                let scale =
                    if self.rng.bool() { Scale::By(self.rng.i32(-2..3)) } else { Scale::To(self.rng.u32(0..5)) };
                description += &format!("scale {name} {scale:?}");
                let (target, more) = self.highest_target.entry(name.clone()).or_default();
                match scale {
                    Scale::By(change) => *more += u32::try_from(change).unwrap_or_default(),
                    Scale::To(number) => *target = number.max(*target),
                    Scale::Remove(_) => {}
                }
                Box::pin(async move { describe_outcome(fakes.engine.scale(&fakes.id, &name, scale).await) })
            }
            _ => {
                description += "destroy";
                Box::pin(async move {
                    describe_outcome(fakes.engine.destroy(&fakes.id, run).await.map(|report| report.left.len()))
                })
            }
        };
        let outcome = match self.rng.u8(0..6) {
            0 => {
                let number = self.rng.u64(1..12);
                let crash = if self.rng.bool() { Crash::Before(number) } else { Crash::After(number) };
                description += &format!(", dies {crash:?}");
                self.fakes.run_until_crash(crash, command).await
            }
            1 => {
                let after = Duration::from_millis(if self.rng.bool() { 0 } else { self.rng.u64(0..6000) });
                // While time is paused, each turn lets every task run to its next `await`.
                let turns = self.rng.u32(0..80);
                description += &format!(", dies after {after:?} and {turns} turns");
                let death = async {
                    tokio::time::sleep(after).await;
                    for _ in 0..turns {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! { biased; () = death => None, outcome = command => Some(outcome) }
            }
            2 => {
                let after = Duration::from_millis(self.rng.u64(0..6000));
                description += &format!(", interrupted after {after:?}");
                let interrupt = async {
                    tokio::time::sleep(after).await;
                    stop.request();
                    std::future::pending::<()>().await;
                };
                tokio::select! { biased; outcome = command => Some(outcome), () = interrupt => None }
            }
            3 if self.idempotent => {
                let after = Duration::from_millis(self.rng.u64(0..6000));
                let (rival, graph) = (self.fakes.clone(), self.graph.clone());
                let takeover = async {
                    tokio::time::sleep(after).await;
                    // A lease expires after its owner was silent for long, and its requests have arrived by then. A
                    // call that is on its way for longer than that can leave an orphan, which only a sweep finds.
                    loop {
                        // Requests that are about to be sent at this moment are sent first.
                        for _ in 0..60 {
                            tokio::task::yield_now().await;
                        }
                        if !rival.cloud.is_busy() {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    rival.store.end_leases();
                    describe_outcome(rival.build(&graph).await.map(|status| status.state))
                };
                let (outcome, rival_outcome) = tokio::join!(command, takeover);
                description += &format!(", after {after:?} another process takes over ({rival_outcome})");
                Some(outcome)
            }
            _ => Some(command.await),
        };
        let died = outcome.is_none();
        self.log(format!("{description}: {}", outcome.unwrap_or_else(|| "died".to_owned())));
        if died && self.rng.bool() {
            // On the same host, a dead owner is recognised at once: its requests may still be on their way.
            self.fakes.store.end_leases();
            let removed = describe_outcome(self.fakes.destroy().await.map(|report| report.left.len()));
            self.log(format!("destroyed at once: {removed}"));
        }
        if self.rng.bool() {
            // Otherwise the next command finds the lease of the dead owner.
            self.fakes.wait_for_lease_expiry().await;
        }
    }

    /// Checks what holds at every moment: no machine twice, and none without a record.
    async fn check_always(&self) {
        // Requests that were sent when the process died may still arrive.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let machines = self.fakes.cloud.machines();
        let instances: HashSet<_> = machines.iter().map(|machine| machine.instance.as_str()).collect();
        assert_eq!(instances.len(), machines.len(), "a machine was created twice");
        let keys = self.fakes.store.keys();
        for instance in instances {
            assert!(keys.contains(&format!("infra/test/instance/{instance}")), "{instance} is an orphan");
        }
        assert!(self.fakes.cloud.calls().len() < MAX_CALLS, "too many calls");
        assert!(!self.fakes.store.values_as_text().contains(SECRET), "a secret is stored");
        let Ok(status) = self.fakes.engine.status(&self.fakes.id, false).await else { return };
        for node in &status.nodes {
            let dead = [InstanceState::Failed, InstanceState::Destroying];
            let alive = node.instances.iter().filter(|instance| !dead.contains(&instance.state)).count();
            // One more while an instance is replaced.
            let limit = self.highest_limit.get(&node.name).copied().unwrap_or_default() as usize + 1;
            assert!(alive <= limit, "{} has {alive} instances, at most {limit} are allowed", node.name);
        }
    }

    /// Repeats the command without faults, and checks that it leads to the desired state.
    async fn converge(&mut self) {
        tokio::time::sleep(Duration::from_secs(20)).await;
        let rollout = Rollout { changed: true, dependents: true };
        let request =
            BuildRequest { id: Some(self.fakes.id.clone()), rollout, ..BuildRequest::new(self.graph.clone()) };
        let built = self.fakes.engine.build(request, RunHandle::new().0).await;
        let status = built.unwrap_or_else(|error| panic!("does not converge: {error}"));
        assert!(status.is_ready(), "not ready: {status:?}");
        self.check_always().await;
        let status = self.fakes.engine.status(&self.fakes.id, false).await.expect("status");
        let mut machines = BTreeMap::new();
        for machine in self.fakes.cloud.machines() {
            *machines.entry(machine.node).or_insert(0_u32) += 1;
        }
        for described in &self.graph.nodes {
            let number = machines.remove(&described.name).unwrap_or_default();
            let (min, max) = (described.scaling.min, described.scaling.max);
            assert!((min..=max).contains(&number), "{} has {number} machines of {min} to {max}", described.name);
            // Only the description and requests make a node larger.
            let (target, more) = self.highest_target[&described.name];
            let target = target + more;
            assert!(number <= target, "{} has {number} machines, its target was at most {target}", described.name);
            let known = status.nodes.iter().find(|node| node.name == described.name).expect("the node");
            assert_eq!((known.instances.len(), known.target), (number as usize, number), "{}", described.name);
            assert!(known.instances.iter().all(|instance| instance.state == InstanceState::Ready));
            let has_drifted = known.instances.iter().any(|it| !it.changed.is_empty() || !it.stale.is_empty());
            assert!(!has_drifted, "the rollout is not complete: {known:?}");
        }
        assert!(machines.is_empty(), "machines of nodes that are not described: {machines:?}");
        self.check_order().await;
    }

    /// Checks that no node was begun before its dependencies were ready.
    async fn check_order(&self) {
        let dependencies: HashMap<_, _> =
            self.graph.nodes.iter().map(|node| (node.name.as_str(), &node.depends_on)).collect();
        let (mut begun, mut ready) = (HashSet::new(), HashSet::new());
        for event in self.fakes.events().await.expect("events") {
            match event.kind {
                EventKind::NodeCreated { node_name, .. } => drop(ready.insert(node_name)),
                EventKind::NodeCreating { node_name, .. } if begun.insert(node_name.clone()) => {
                    for dependency in dependencies.get(node_name.as_str()).into_iter().copied().flatten() {
                        assert!(ready.contains(dependency), "{node_name} began before {dependency} was ready");
                    }
                }
                _ => {}
            }
        }
    }

    /// Destroys the infrastructure, and checks that nothing is left in the cloud or in the store.
    async fn destroy_and_check(&mut self) {
        let report = self.fakes.destroy().await.unwrap_or_else(|error| panic!("not destroyed: {error}"));
        assert!(report.left.is_empty(), "{:?}", report.left);
        assert!(self.fakes.cloud.machines().is_empty(), "machines are left");
        assert_eq!(self.fakes.store.live_keys(), Vec::<String>::new(), "entries are left");
    }
}

fn describe_outcome<T: std::fmt::Debug>(outcome: Result<T, EngineError>) -> String {
    match outcome {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("failed: {error}"),
    }
}

/// Returns a graph of up to six nodes, each depending on some of those before it.
fn graph(rng: &mut Rng) -> Infrastructure {
    let names = ["a", "b", "c", "d", "e", "f"];
    let count = rng.usize(1..=names.len());
    let nodes = (0..count).map(|at| {
        let dependencies: Vec<_> = names[..at].iter().copied().filter(|_| rng.u8(0..3) == 0).collect();
        let mut node = node(names[at], rng.u32(1..4), &dependencies);
        node.scaling.max = node.scaling.min + rng.u32(0..3);
        node.variables = json!({"tell": dependencies.first()});
        node
    });
    infrastructure(nodes.collect())
}

/// Returns the graph with one node less, other limits or other variables. The dependencies stay, so that the order of
/// events can be checked.
fn changed(rng: &mut Rng, graph: &Infrastructure) -> Infrastructure {
    let mut graph = graph.clone();
    if rng.u8(0..3) == 0 {
        let at = rng.usize(0..graph.nodes.len());
        let tell = graph.nodes[at].variables["tell"].clone();
        graph.nodes[at].variables = json!({"tell": tell, "number": rng.u32(..)});
    } else if graph.nodes.len() > 1 && rng.bool() {
        let last = graph.nodes.pop().expect("a node");
        for node in &mut graph.nodes {
            node.depends_on.retain(|name| *name != last.name);
        }
    } else {
        let at = rng.usize(0..graph.nodes.len());
        graph.nodes[at].scaling.min = rng.u32(1..4);
        graph.nodes[at].scaling.max = graph.nodes[at].scaling.min + rng.u32(0..3);
    }
    graph
}
