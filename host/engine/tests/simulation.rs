//! Whole histories of an infrastructure, one for each seed: builds, passes, scaling and destruction under faults of every
//! kind, lost answers, machines that vanish, and a process that dies at any moment. Time is simulated, and a seed always gives
//! the same history.
//!
//! `OCCOPUS_SEEDS=100000 cargo test -p occopus-engine --test simulation` runs more; `OCCOPUS_SEED=17` one, with its history.
#![expect(clippy::print_stderr, reason = "a failing seed tells its history")]

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
/// More calls than any history of a sane engine makes.
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
    /// Its cloud keeps the contract: then calls of two owners may overlap.
    idempotent: bool,
    /// The highest limit that each node ever had.
    highest_limit: HashMap<String, u32>,
    /// The highest number that each node was ever wanted to have, its least or what it was scaled to, and by how many more in
    /// all it was scaled: that counts from whatever is described by then.
    highest_target: HashMap<String, (u32, u32)>,
    /// What happened, to be told when it goes wrong.
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
        // A cloud that does not know a request again makes a second machine of a late one; drivers have to see to that.
        let arrives = (idempotent && rng.bool()).then(|| Duration::from_millis(rng.u64(0..8000)));
        fakes.cloud.set_late_arrival(arrives);
        let (most, wanted, told) = Default::default();
        Self { seed, rng, fakes, graph, idempotent, highest_limit: most, highest_target: wanted, history: told }
    }

    fn log(&mut self, what: impl Into<String>) {
        self.history.push(what.into());
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
            let most = self.highest_limit.entry(node.name.clone()).or_default();
            *most = node.scaling.max.max(*most);
            let (wanted, _) = self.highest_target.entry(node.name.clone()).or_default();
            *wanted = node.scaling.min.max(*wanted);
        }
    }

    /// Something that the next step meets.
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
            self.log(format!("  what is made of {name} next can't be told"));
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
            self.log(format!("  {name} is {}", if sick { "sick" } else { "well" }));
            self.fakes.cloud.set_sick(&name, sick);
        }
        match self.rng.u8(0..8) {
            0 => self.fakes.store.fail_commits(self.rng.u32(1..4)),
            1 => self.fakes.store.lose_commit_answers(self.rng.u32(1..3)),
            _ => {}
        }
    }

    /// One command, which may be broken off.
    async fn step(&mut self) {
        let fakes = self.fakes.clone();
        let (run, _events) = RunHandle::new();
        let stop = run.stop.clone();
        let mut what = String::new();
        let command: std::pin::Pin<Box<dyn Future<Output = String>>> = match self.rng.u8(0..13) {
            10 | 11 => {
                let seconds = self.rng.u64(1..200);
                what += &format!("maintain for {seconds} s");
                // Often shorter than a replacement takes, so that passes and jobs overlap.
                let pause = Duration::from_millis(self.rng.u64(300..10_000));
                let options = MaintainOptions { cyclic: Some(pause), ..MaintainOptions::default() };
                let (stop, faults) = (stop.clone(), self.rng.u8(0..4));
                Box::pin(async move {
                    let disturbed = async {
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
                    let maintained = fakes.engine.maintain("test", options, run);
                    let (ended, ()) = tokio::join!(maintained, disturbed);
                    describe_outcome(ended.map(|status| status.state))
                })
            }
            12 => {
                let suspend = self.rng.bool();
                what += if suspend { "suspend" } else { "resume" };
                Box::pin(async move {
                    let engine = &fakes.engine;
                    describe_outcome(if suspend { engine.suspend("test").await } else { engine.resume("test").await })
                })
            }
            0..=3 => {
                if self.rng.u8(0..4) == 0 {
                    self.graph = changed(&mut self.rng, &self.graph);
                    self.note_limits();
                }
                let on_failure = if self.rng.bool() { OnFailure::Rollback } else { OnFailure::Keep };
                let renew = Rollout { changed: self.rng.bool(), dependents: self.rng.bool() };
                what += &format!("build ({on_failure:?}, {renew:?})");
                let request = BuildRequest {
                    id: Some("test".into()),
                    on_failure,
                    rollout: renew,
                    ..BuildRequest::new(self.graph.clone())
                };
                Box::pin(
                    async move { describe_outcome(fakes.engine.build(request, run).await.map(|status| status.state)) },
                )
            }
            4..=6 => {
                what += "maintain";
                Box::pin(async move {
                    describe_outcome(
                        fakes.engine.maintain("test", MaintainOptions::default(), run).await.map(|status| status.state),
                    )
                })
            }
            7 | 8 => {
                let at = self.rng.usize(0..self.graph.nodes.len());
                let name = self.graph.nodes[at].name.clone();
                let scale =
                    if self.rng.bool() { Scale::By(self.rng.i32(-2..3)) } else { Scale::To(self.rng.u32(0..5)) };
                what += &format!("scale {name} {scale:?}");
                let (wanted, more) = self.highest_target.entry(name.clone()).or_default();
                match scale {
                    Scale::By(change) => *more += u32::try_from(change).unwrap_or_default(),
                    Scale::To(number) => *wanted = number.max(*wanted),
                    Scale::Remove(_) => {}
                }
                Box::pin(async move { describe_outcome(fakes.engine.scale("test", &name, scale).await) })
            }
            _ => {
                what += "destroy";
                Box::pin(async move {
                    describe_outcome(fakes.engine.destroy("test", run).await.map(|report| report.left.len()))
                })
            }
        };
        let ended = match self.rng.u8(0..6) {
            0 => {
                let number = self.rng.u64(1..12);
                let crash = if self.rng.bool() { Crash::Before(number) } else { Crash::After(number) };
                what += &format!(", dies {crash:?}");
                let dead = self.fakes.store.crash(crash);
                let ended = tokio::select! { biased; () = dead.cancelled() => None, ended = command => Some(ended) };
                self.fakes.store.revive();
                ended
            }
            1 => {
                let after = Duration::from_millis(if self.rng.bool() { 0 } else { self.rng.u64(0..6000) });
                // While time stands still, each turn lets every task go on to its next `await`.
                let turns = self.rng.u32(0..80);
                what += &format!(", dies after {after:?} and {turns} turns");
                let death = async {
                    tokio::time::sleep(after).await;
                    for _ in 0..turns {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! { biased; () = death => None, ended = command => Some(ended) }
            }
            2 => {
                let after = Duration::from_millis(self.rng.u64(0..6000));
                what += &format!(", interrupted after {after:?}");
                let interrupt = async {
                    tokio::time::sleep(after).await;
                    stop.request();
                    std::future::pending::<()>().await;
                };
                tokio::select! { biased; ended = command => Some(ended), () = interrupt => None }
            }
            3 if self.idempotent => {
                let after = Duration::from_millis(self.rng.u64(0..6000));
                let (rival, graph) = (self.fakes.clone(), self.graph.clone());
                let takes_over = async {
                    tokio::time::sleep(after).await;
                    // A lease ends when its owner was silent for long, and what it had sent has arrived by then. A call
                    // that is on its way for longer than that can leave an orphan, which only a sweep finds.
                    loop {
                        // What is about to be sent at this very moment is sent first.
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
                let (ended, taken) = tokio::join!(command, takes_over);
                what += &format!(", after {after:?} another takes over ({taken})");
                Some(ended)
            }
            _ => Some(command.await),
        };
        let died = ended.is_none();
        self.log(format!("{what}: {}", ended.unwrap_or_else(|| "died".to_owned())));
        if died && self.rng.bool() {
            // Who died is seen to be dead on the same machine: what it has sent may still be on its way.
            self.fakes.store.end_leases();
            let removed = describe_outcome(self.fakes.destroy().await.map(|report| report.left.len()));
            self.log(format!("destroyed at once: {removed}"));
        }
        if self.rng.bool() {
            // Otherwise the next one meets the lease of the dead.
            tokio::time::sleep(Duration::from_secs(16)).await;
        }
    }

    /// At every moment: no machine twice, and none without a record.
    async fn check_always(&self) {
        // What was sent when the process died may still arrive.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let machines = self.fakes.cloud.machines();
        let instances: HashSet<_> = machines.iter().map(|machine| machine.instance.as_str()).collect();
        assert_eq!(instances.len(), machines.len(), "a machine was made twice");
        let keys = self.fakes.store.keys();
        for instance in instances {
            assert!(keys.contains(&format!("infra/test/instance/{instance}")), "{instance} is an orphan");
        }
        assert!(self.fakes.cloud.calls().len() < MAX_CALLS, "too many calls");
        assert!(!self.fakes.store.values_as_text().contains(SECRET), "a secret is stored");
        let Ok(status) = self.fakes.engine.status("test", false).await else { return };
        for node in &status.nodes {
            let dead = [InstanceState::Failed, InstanceState::Destroying];
            let alive = node.instances.iter().filter(|instance| !dead.contains(&instance.state)).count();
            // One more while it is renewed.
            let most = self.highest_limit.get(&node.name).copied().unwrap_or_default() as usize + 1;
            assert!(alive <= most, "{} has {alive} instances, at most {most} are allowed", node.name);
        }
    }

    /// Without faults, the same command again leads to what is described.
    async fn converge(&mut self) {
        tokio::time::sleep(Duration::from_secs(20)).await;
        let renew = Rollout { changed: true, dependents: true };
        let request = BuildRequest { id: Some("test".into()), rollout: renew, ..BuildRequest::new(self.graph.clone()) };
        let built = self.fakes.engine.build(request, RunHandle::new().0).await;
        for event in self.fakes.events().await.expect("events") {
            eprintln!("EV {} {event}  {:?}", event.time, event.kind);
        }
        let status = built.unwrap_or_else(|error| panic!("does not settle: {error}"));
        assert!(status.is_ready(), "not ready: {status:?}");
        self.check_always().await;
        let status = self.fakes.engine.status("test", false).await.expect("status");
        let mut machines = BTreeMap::new();
        for machine in self.fakes.cloud.machines() {
            *machines.entry(machine.node).or_insert(0_u32) += 1;
        }
        for described in &self.graph.nodes {
            let number = machines.remove(&described.name).unwrap_or_default();
            let (min, max) = (described.scaling.min, described.scaling.max);
            assert!((min..=max).contains(&number), "{} has {number} machines of {min} to {max}", described.name);
            // Nothing but the description and requests makes a node larger.
            let (wanted, more) = self.highest_target[&described.name];
            let wanted = wanted + more;
            assert!(number <= wanted, "{} has {number} machines, {wanted} were wanted at most", described.name);
            let known = status.nodes.iter().find(|node| node.name == described.name).expect("the node");
            assert_eq!((known.instances.len(), known.target), (number as usize, number), "{}", described.name);
            assert!(known.instances.iter().all(|instance| instance.state == InstanceState::Ready));
            let differs = known.instances.iter().any(|it| !it.changed.is_empty() || !it.stale.is_empty());
            assert!(!differs, "not all is renewed: {known:?}");
        }
        assert!(machines.is_empty(), "machines of nodes that are not described: {machines:?}");
        self.check_order().await;
    }

    /// The first instance of a node was not begun before what it needs was ready.
    async fn check_order(&self) {
        let needs: HashMap<_, _> = self.graph.nodes.iter().map(|node| (node.name.as_str(), &node.depends_on)).collect();
        let (mut begun, mut ready) = (HashSet::new(), HashSet::new());
        for event in self.fakes.events().await.expect("events") {
            match event.kind {
                EventKind::NodeCreated { node_name, .. } => drop(ready.insert(node_name)),
                EventKind::NodeCreating { node_name, .. } if begun.insert(node_name.clone()) => {
                    for needed in needs.get(node_name.as_str()).into_iter().copied().flatten() {
                        assert!(ready.contains(needed), "{node_name} began before {needed} was ready");
                    }
                }
                _ => {}
            }
        }
    }

    /// Nothing is left, in the cloud or in the store.
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

/// Up to six nodes, each needing some of those before it.
fn graph(rng: &mut Rng) -> Infrastructure {
    let names = ["a", "b", "c", "d", "e", "f"];
    let count = rng.usize(1..=names.len());
    let nodes = (0..count).map(|at| {
        let needs: Vec<_> = names[..at].iter().copied().filter(|_| rng.u8(0..3) == 0).collect();
        let mut node = node(names[at], rng.u32(1..4), &needs);
        node.scaling.max = node.scaling.min + rng.u32(0..3);
        node.variables = json!({"tell": needs.first()});
        node
    });
    infrastructure(nodes.collect())
}

/// The same with one node less, or with other limits. The needs stay, so that the order of events can be judged.
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
