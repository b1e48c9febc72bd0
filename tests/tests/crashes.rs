//! `kill -9` of the real program, again and again, at any moment of whatever it does: nothing is lost, nothing is doubled.
//!
//! `OCCOPUS_KILLS=1000 cargo test -p occopus-tests --test crashes` kills more often; `OCCOPUS_SEED=17` begins elsewhere.
#![expect(clippy::print_stderr, reason = "says how often it was killed, and the seed when it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fastrand::Rng;
use occopus_tests::processes::{instances_with, kill_instance, mark, signal};
use occopus_tests::{Docker, Occopus};
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
/// The least that there are when it is built.
const NODES: usize = 20;

/// What a cloud has.
trait Cloud {
    /// Machines of each instance, by the instance's id.
    fn machines(&self, id: &str) -> BTreeMap<String, usize>;
    /// Something outside removes an instance's machine.
    fn lose(&self, instance: &str);
    /// What was sent when a process died has arrived after so long.
    fn settle(&self) -> Duration;
}

struct Local {
    mark: String,
}

impl Cloud for Local {
    fn machines(&self, _: &str) -> BTreeMap<String, usize> {
        instances_with(&self.mark).into_iter().map(|(instance, processes)| (instance, processes.len())).collect()
    }

    fn lose(&self, instance: &str) {
        kill_instance(instance);
    }

    fn settle(&self) -> Duration {
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

    fn lose(&self, instance: &str) {
        let container =
            self.run(&["ps", "--all", "--quiet", "--filter", &format!("label=occopus.instance={instance}")]);
        self.run(&["rm", "--force", &container]);
    }

    fn settle(&self) -> Duration {
        Duration::from_millis(500)
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// As often as the issue of it asks for in CI, less on a machine where somebody waits.
fn kills() -> u64 {
    let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    number("OCCOPUS_KILLS").unwrap_or(if in_ci { 100 } else { 25 })
}

/// Ids of all instances that have a record; none when there is no infrastructure.
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

fn survive(occopus: &Occopus, cloud: &dyn Cloud, id: &str) {
    let seed = number("OCCOPUS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut rng = Rng::with_seed(seed);
    let began = Instant::now();
    occopus.ok(["build", "-i", id, "infra.yaml", "--yes"]);
    let whole = began.elapsed();
    assert_eq!(cloud.machines(id).len(), NODES);
    // How long each command took when it was last let be.
    let mut took = BTreeMap::new();
    let (mut killed, mut rounds) = (0, 0);
    while killed < kills() {
        rounds += 1;
        let mut words: Vec<String> = match rng.u8(0..10) {
            0..=3 => vec!["build".into(), "infra.yaml".into(), "--yes".into()],
            4 => vec!["build".into(), "infra.yaml".into(), "--replace".into(), "changed".into()],
            5 | 6 => vec!["maintain".into()],
            7 | 8 => {
                let node = *rng.choice(&["store", "app", "cache", "web", "edge"]).expect("some");
                vec!["scale".into(), "-n".into(), node.into(), "-c".into(), format!("{}", rng.i32(-2..=2).max(-2) | 1)]
            }
            _ => vec!["destroy".into()],
        };
        words.extend(["-i".into(), id.into()]);
        if rng.bool() {
            let machines: Vec<_> = cloud.machines(id).into_keys().collect();
            machines.iter().filter(|_| rng.u8(0..10) == 0).for_each(|instance| cloud.lose(instance));
        }
        if rng.u8(0..6) == 0 {
            // Then there is something to renew.
            let greeting = rng.u32(..);
            occopus.write("infra.yaml", format!("variables: {{greeting: {greeting}}}\n{DESCRIPTION}"));
        }
        let what = format!("seed {seed}, round {rounds}, {}", words.join(" "));
        let mut program = occopus.command(&words).spawn().expect("starts");
        let (began, usual) = (Instant::now(), took.entry(words[0].clone()).or_insert(whole));
        let moment = usual.mul_f64(rng.f64() * 1.1);
        loop {
            if program.try_wait().expect("a process").is_some() {
                *usual = began.elapsed();
                break;
            }
            if began.elapsed() >= moment {
                signal(program.id(), "KILL");
                program.wait().expect("ended");
                killed += 1;
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(cloud.settle());
        nothing_lost_nothing_doubled(occopus, cloud, id, &what);
    }
    // Undisturbed, the same commands lead to what is described.
    let what = format!("seed {seed}, at the end");
    occopus.ok(["build", "-i", id, "infra.yaml", "--yes"]);
    let machines = nothing_lost_nothing_doubled(occopus, cloud, id, &what);
    assert_eq!(machines.keys().cloned().collect::<BTreeSet<_>>(), recorded(occopus, id), "{what}");
    assert!(machines.len() >= NODES, "{what}: {} of {NODES}", machines.len());
    occopus.ok(["destroy", "-i", id]);
    assert!(cloud.machines(id).is_empty(), "{what}: nothing is left");
    assert!(recorded(occopus, id).is_empty(), "{what}");
    eprintln!("seed {seed}: killed {killed} times in {rounds} rounds, {:.0} s", began.elapsed().as_secs_f64());
}

#[test]
fn on_local() {
    let occopus = Occopus::new();
    let cloud = Local { mark: mark(41) };
    occopus.write("infra.yaml", DESCRIPTION);
    let definitions = format!(
        "'node_def:sleeper':\n- resource: {{type: local}}\n  contextualisation:\n    type: basic\n    attributes:\n      \
         command: [sleep, '{}']\n  health_check: {{ping: false}}\n",
        cloud.mark
    );
    occopus.write("nodes/node_definitions.yaml", definitions);
    survive(&occopus, &cloud, "crashes");
}

#[test]
fn on_docker() {
    let Some(docker) = Docker::connect("on_docker") else { return };
    let occopus = Occopus::new();
    occopus.write("infra.yaml", DESCRIPTION);
    let definitions = format!(
        "'node_def:sleeper':\n- resource:\n    type: docker\n    endpoint: {}\n    origin: local\n    \
         image: occopus-test-busybox\n    tag: '1'\n  contextualisation:\n    type: docker\n    env: []\n    command: sleep 100000\n  \
         health_check: {{ping: false}}\n",
        docker.endpoint
    );
    occopus.write("nodes/node_definitions.yaml", definitions);
    survive(&occopus, &docker, &format!("crashes-{}", std::process::id()));
}
