//! `kill -9` of the real program, again and again, at any moment of any command: no machine is lost, none is doubled.
//!
//! Docker and EC2 are behind a proxy that breaks one request in eight: cuts, lost, late and half answers, throttling, foreign
//! answers, old lists, requests that arrive twice, or long after their sender died.
//!
//! `OCCOPUS_KILLS=1000 cargo test -p occopus-tests --test crashes` kills more often; `OCCOPUS_SEED=17` sets the first seed.
#![expect(clippy::print_stderr, reason = "says how often it was killed, and the seed when it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use occopus_tests::processes::{instances_with, kill_instance, unique_sleep_seconds};
use occopus_tests::wait::pause;
use occopus_tests::{Chaos, Docker, Moto, Occopus, Proxy};
use serde_json::Value;

/// Nodes of the deployment: four layers, with more than one instance in two of them.
const DESCRIPTION: &str = "infra_name: crashes
user_id: tester
nodes:
- {name: db, type: sleeper}
- {name: queue, type: sleeper}
- {name: store, type: sleeper, scaling: {min: 3, max: 5}}
- {name: app, type: sleeper, scaling: {min: 6, max: 9}}
- {name: cache, type: sleeper, scaling: {min: 2, max: 4}}
- {name: web, type: sleeper, scaling: {min: 4, max: 6}}
- {name: edge, type: sleeper, scaling: {min: 2, max: 3}}
- {name: watch, type: sleeper}
dependencies:
- [store, db]
- [app, store]
- [app, queue]
- [web, app]
- [web, cache]
- [edge, web]
";
/// Number of instances of a complete build, by the lower limits.
const MIN_NODES: usize = 20;

/// Nodes of the deployment on slow clouds.
const SMALL: &str = "infra_name: crashes
user_id: tester
nodes:
- {name: db, type: sleeper}
- {name: store, type: sleeper, scaling: {min: 2, max: 3}}
- {name: app, type: sleeper, scaling: {min: 3, max: 5}}
- {name: web, type: sleeper, scaling: {min: 2, max: 4}}
dependencies:
- [store, db]
- [app, store]
- [web, app]
";
const MIN_SMALL_NODES: usize = 8;

/// Share of the requests to a cloud that get a fault.
const FAULT_RATIO: f64 = 0.12;
/// Number of instances that a command adds at most.
const MAX_SCALE_STEP: u64 = 3;
/// Number of repetitions of a command behind faults, before the network recovers.
const MAX_REPAIR_ATTEMPTS: u32 = 3;

/// Machines of a cloud.
trait Cloud {
    /// Returns the machines of each instance, by the instance's id.
    fn machines(&self, id: &str) -> BTreeMap<String, usize>;
    /// Removes an instance's machine, from outside.
    fn remove_machine(&self, instance: &str);
    /// Time after which requests of a process that died have arrived.
    fn settle_time(&self) -> Duration;
}

struct Local {
    mark: String,
}

impl Cloud for Local {
    fn machines(&self, _: &str) -> BTreeMap<String, usize> {
        instances_with(&self.mark).into_iter().map(|(instance, processes)| (instance, processes.len())).collect()
    }

    fn remove_machine(&self, instance: &str) {
        kill_instance(instance);
    }

    fn settle_time(&self) -> Duration {
        Duration::from_millis(100)
    }
}

impl Cloud for Docker {
    fn machines(&self, id: &str) -> BTreeMap<String, usize> {
        let filter = format!("label=occopus.infrastructure={id}");
        let format = "{{.Label \"occopus.instance\"}}";
        let listed = self.run(&["ps", "--all", "--filter", &filter, "--format", format]);
        let mut machines = BTreeMap::new();
        listed.lines().for_each(|instance| *machines.entry(instance.to_owned()).or_default() += 1);
        machines
    }

    fn remove_machine(&self, instance: &str) {
        let container =
            self.run(&["ps", "--all", "--quiet", "--filter", &format!("label=occopus.instance={instance}")]);
        self.run(&["rm", "--force", &container]);
    }

    fn settle_time(&self) -> Duration {
        Duration::from_millis(500)
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Returns the number of kills. Fewer outside of CI, and on slow clouds.
fn kills(usual: u64) -> u64 {
    let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    number("OCCOPUS_KILLS").unwrap_or(if in_ci { usual } else { usual.div_ceil(4) })
}

fn seed() -> u64 {
    number("OCCOPUS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000))
}

/// Returns the ids of all instances that have a record; none if there is no infrastructure.
fn recorded(occopus: &Occopus, id: &str) -> BTreeSet<String> {
    let status = occopus.run(["status", "-i", id, "--output", "json"]);
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    let nodes = status["nodes"].as_array().into_iter().flatten();
    let instances = nodes.flat_map(|node| node["instances"].as_array().into_iter().flatten());
    instances.map(|instance| instance["id"].as_str().expect("an id").to_owned()).collect()
}

fn nothing_lost_nothing_doubled(occopus: &Occopus, cloud: &dyn Cloud, id: &str, what: &str) -> BTreeMap<String, usize> {
    let machines = cloud.machines(id);
    let recorded = recorded(occopus, id);
    for (instance, count) in &machines {
        assert_eq!(*count, 1, "{what}: {instance} is doubled");
        assert!(recorded.contains(instance), "{what}: {instance} is lost");
    }
    machines
}

/// A cloud behind a faulty network.
struct FaultyNetwork {
    proxy: Proxy,
    chaos: Arc<Chaos>,
}

impl FaultyNetwork {
    fn before(server: &str, seed: u64) -> Self {
        let (proxy, chaos) = Chaos::in_front_of(server, seed, FAULT_RATIO).expect("a proxy");
        Self { proxy, chaos }
    }
}

/// Records before a command.
struct StateBefore {
    instances: BTreeSet<String>,
    targets: BTreeMap<String, u64>,
}

/// A deployment on a cloud, and the number of kills.
struct Trial<'a> {
    occopus: &'a Occopus,
    cloud: &'a dyn Cloud,
    network: Option<FaultyNetwork>,
    id: &'a str,
    description: &'a str,
    nodes: usize,
    kills: u64,
    seed: u64,
}

impl Trial<'_> {
    fn run(&self, words: &[&str]) -> Option<i32> {
        self.occopus.run(words.iter().chain(&["-i", self.id])).code
    }

    /// Returns one of the commands that change something, with what may go wrong outside meanwhile.
    fn words(&self, rng: &mut Rng) -> Vec<String> {
        let words: Vec<String> = match rng.u8(0..10) {
            0..=3 => vec!["build".into(), "infra.yaml".into(), "--yes".into()],
            4 => vec!["build".into(), "infra.yaml".into(), "--replace".into(), "changed".into()],
            5 | 6 => vec!["maintain".into()],
            7 | 8 => {
                let node = *rng.choice(&["store", "app", "web"]).expect("some");
                vec!["scale".into(), "-n".into(), node.into(), "-c".into(), format!("{}", rng.i32(-2..=2) | 1)]
            }
            _ => vec!["destroy".into()],
        };
        if rng.bool() {
            let machines: Vec<_> = self.cloud.machines(self.id).into_keys().collect();
            machines.iter().filter(|_| rng.u8(0..10) == 0).for_each(|instance| self.cloud.remove_machine(instance));
        }
        if rng.u8(0..6) == 0 {
            // Then instances have drifted.
            let greeting = rng.u32(..);
            let rest = self.description.trim_start_matches("variables: {greeting: 0}\n");
            self.occopus.write("infra.yaml", format!("variables: {{greeting: {greeting}}}\n{rest}"));
        }
        words
    }

    /// Waits until all requests have arrived.
    fn settle(&self) {
        pause("only a proxy knows when a request of a dead process has arrived", self.cloud.settle_time());
        if let Some(network) = &self.network {
            assert!(network.proxy.wait_until_idle(Duration::from_secs(60)), "a request is on its way for ever");
        }
    }

    /// Repeats the command behind the same faults, and without faults if it does not succeed.
    fn repair(&self, words: &[String], what: &str) {
        let mut repair: Vec<&str> = words.iter().map(String::as_str).collect();
        for attempt in 0..2 * MAX_REPAIR_ATTEMPTS {
            if let Some(network) = self.network.as_ref().filter(|_| attempt == MAX_REPAIR_ATTEMPTS) {
                network.chaos.set_paused(true);
            }
            let code = self.run(&repair);
            // A destroyed infrastructure cannot be destroyed again.
            if code == Some(0) && repair[0] != "maintain" || repair[0] == "destroy" && self.recorded().is_empty() {
                self.settle();
                return;
            }
            // It may have scaled, and healing reports the state by its exit status.
            if ["scale", "maintain"].contains(&repair[0]) {
                repair = vec!["build", "infra.yaml", "--yes"];
            }
        }
        let last = self.occopus.run(repair.iter().chain(&["-i", self.id]));
        panic!("{what}: `{}` does not succeed any more: {}", repair.join(" "), last.stderr);
    }

    fn recorded(&self) -> BTreeSet<String> {
        recorded(self.occopus, self.id)
    }

    /// Returns the instances in the store, and the target of each node.
    fn known(&self) -> StateBefore {
        let status = self.occopus.run(["status", "-i", self.id, "--output", "json"]);
        let status: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        let targets = nodes.iter().map(|node| {
            let target = node["target"].as_u64().max(node["min"].as_u64()).expect("a number");
            (node["name"].as_str().expect("a name").to_owned(), target)
        });
        StateBefore { instances: self.recorded(), targets: targets.collect() }
    }

    /// Asserts that after a repair there is what is described and nothing else: nothing forgotten, and nothing left over.
    fn nothing_forgotten_nothing_left_over(&self, before: &StateBefore, words: &[String], what: &str) {
        let machines = self.cloud.machines(self.id);
        let recorded = self.recorded();
        for instance in machines.keys() {
            let was_known = if before.instances.contains(instance) { "forgotten" } else { "lost" };
            assert!(recorded.contains(instance), "{what}: {instance} is {was_known}");
        }
        if recorded.is_empty() {
            return;
        }
        let status = self.occopus.status(self.id);
        for node in status["nodes"].as_array().into_iter().flatten() {
            let name = node["name"].as_str().expect("a name");
            let there = node["instances"].as_array().map_or(0, Vec::len) as u64;
            let least = node["min"].as_u64().expect("a number");
            // The command and its repetition may both have scaled.
            let scaled = if words.iter().any(|word| word == name) { 2 * MAX_SCALE_STEP } else { 0 };
            let most = before.targets.get(name).copied().unwrap_or(least).max(least) + scaled;
            assert!(
                there <= most,
                "{what}: a surplus of {name}: {there} instances, at most {most} allowed: {status:#}"
            );
        }
    }

    fn survive(&self) {
        let Self { occopus, cloud, id, seed, .. } = *self;
        let mut rng = Rng::with_seed(seed);
        let began = Instant::now();
        let calm = |calm: bool| self.network.iter().for_each(|network| network.chaos.set_paused(calm));
        occopus.write("infra.yaml", self.description);
        calm(true);
        occopus.ok(["build", "-i", id, "infra.yaml", "--yes"]);
        let whole = began.elapsed();
        assert_eq!(cloud.machines(id).len(), self.nodes);
        // Duration of each command when it was not killed last.
        let mut took = BTreeMap::new();
        let (mut killed, mut rounds) = (0, 0);
        while killed < self.kills {
            rounds += 1;
            let words = self.words(&mut rng);
            let what = format!("seed {seed}, round {rounds}, {}", words.join(" "));
            calm(false);
            let known = self.known();
            let usual = took.entry(words[0].clone()).or_insert(whole);
            let moment = usual.mul_f64(rng.f64() * 1.1);
            match occopus.kill_after(words.iter().map(String::as_str).chain(["-i", id]), moment) {
                Some(duration) => *usual = duration,
                None => killed += 1,
            }
            self.settle();
            if self.network.is_none() {
                nothing_lost_nothing_doubled(occopus, cloud, id, &what);
            }
            // Each repair behind faults; elsewhere a repair that is killed in its turn is the better test.
            if self.network.is_some() || rng.u8(0..4) == 0 {
                self.repair(&words, &what);
                nothing_lost_nothing_doubled(occopus, cloud, id, &what);
                self.nothing_forgotten_nothing_left_over(&known, &words, &what);
            }
        }
        calm(true);
        // Without kills and faults, the same commands lead to the description.
        let what = format!("seed {seed}, at the end");
        occopus.ok(["build", "-i", id, "infra.yaml", "--yes"]);
        let machines = nothing_lost_nothing_doubled(occopus, cloud, id, &what);
        assert_eq!(machines.keys().cloned().collect::<BTreeSet<_>>(), self.recorded(), "{what}");
        assert!(machines.len() >= self.nodes, "{what}: {} of {}", machines.len(), self.nodes);
        occopus.ok(["destroy", "-i", id]);
        assert!(cloud.machines(id).is_empty(), "{what}: nothing is left");
        assert!(self.recorded().is_empty(), "{what}");
        let faults = self.network.as_ref().map_or(0, |network| network.chaos.fault_count());
        let seconds = began.elapsed().as_secs();
        eprintln!("seed {seed}: killed {killed} times in {rounds} rounds, {faults} faults, {seconds} s");
    }
}

#[test]
fn on_local() {
    let occopus = &Occopus::new();
    let cloud = &Local { mark: unique_sleep_seconds(41) };
    let definitions = format!(
        "'node_def:sleeper':\n- resource: {{type: local}}\n  contextualisation:\n    type: basic\n    attributes:\n      \
         command: [sleep, '{}']\n  health_check: {{ping: false, min_ready_seconds: 0}}\n",
        cloud.mark
    );
    occopus.write("nodes/node_definitions.yaml", definitions);
    let (kills, seed) = (kills(100), seed());
    let id = "crashes";
    Trial { occopus, cloud, network: None, id, description: DESCRIPTION, nodes: MIN_NODES, kills, seed }.survive();
}

#[test]
fn on_docker() {
    let Some(docker) = &Docker::connect("on_docker") else { return };
    let occopus = &Occopus::new();
    let seed = seed();
    let network = FaultyNetwork::before(docker.server(), seed);
    let definitions = format!(
        "'node_def:sleeper':\n- resource:\n    type: docker\n    endpoint: tcp://{}\n    origin: local\n    \
         image: occopus-test-busybox\n    tag: '1'\n  contextualisation:\n    type: docker\n    env: []\n    command: sleep 100000\n  \
         health_check: {{ping: false}}\n",
        network.proxy.address
    );
    occopus.write("nodes/node_definitions.yaml", definitions);
    let (network, kills, id) = (Some(network), kills(20), &format!("crashes-{}", std::process::id()));
    Trial { occopus, cloud: docker, network, id, description: SMALL, nodes: MIN_SMALL_NODES, kills, seed }.survive();
}

impl Cloud for Moto {
    fn machines(&self, id: &str) -> BTreeMap<String, usize> {
        let mut machines = BTreeMap::new();
        let tagged = self.tagged("occopus.infrastructure", id).into_iter();
        tagged.for_each(|(_, tags)| *machines.entry(tags["occopus.instance"].clone()).or_default() += 1);
        machines
    }

    fn remove_machine(&self, instance: &str) {
        self.tagged("occopus.instance", instance).keys().for_each(|machine| self.terminate(machine));
    }

    fn settle_time(&self) -> Duration {
        Duration::from_millis(200)
    }
}

#[test]
fn on_ec2() {
    let Some(moto) = &Moto::start_open("on_ec2") else { return };
    let occopus = &Occopus::new();
    let seed = seed();
    let network = FaultyNetwork::before(&moto.address, seed);
    let definitions = format!(
        "'node_def:sleeper':\n- resource:\n    type: ec2\n    endpoint: http://{}\n    regionname: eu-west-1\n    \
         image_id: ami-03cf127a\n    instance_type: t3.small\n  contextualisation:\n    type: cloudinit\n    context_template: |\n      \
         #cloud-config\n      runcmd: [echo {{{{variables.greeting}}}}]\n  health_check: {{ping: false}}\n",
        network.proxy.address
    );
    occopus.write("nodes/node_definitions.yaml", definitions);
    occopus.write(
        "home/auth_data.yaml",
        "resource:\n- type: ec2\n  auth_data: {accesskey: anybody, secretkey: whatever}\n",
    );
    let description = &format!("variables: {{greeting: 0}}\n{SMALL}");
    let (network, kills) = (Some(network), kills(20));
    Trial { occopus, cloud: moto, network, id: "crashes", description, nodes: MIN_SMALL_NODES, kills, seed }.survive();
}
