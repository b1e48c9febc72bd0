//! The service dies and starts again: `kill -9` under load, a shutdown in order, a stop beyond its lease, and another service on
//! the same store.
//!
//! `OCCOPUS_KILLS=300 cargo test -p occopus-tests --test service_crashes` kills more often; `OCCOPUS_SEED=17` sets the first
//! seed.
#![expect(clippy::print_stderr, reason = "says how often it was killed, and the seed when it fails")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use occopus_tests::processes::{instances_with, kill_instance, processes_with, unique_sleep_seconds};
use occopus_tests::service::{NO_RATE_LIMITS, Service, document, free_port, is_stored};
use occopus_tests::wait::{eventually, pause, wait_for};
use occopus_tests::{Occopus, collect};
use serde_json::Value;

const IDS: [&str; 4] = ["one", "two", "three", "four"];
/// Id of an infrastructure that becomes ready only when a test wants.
const SLOW_ID: &str = "slow";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn kills() -> u64 {
    let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    number("OCCOPUS_KILLS").unwrap_or(if in_ci { 40 } else { 8 })
}

/// Returns a description of nodes in three layers; the greeting is a variable to change.
fn layers(mark: &str, greeting: u32) -> String {
    let nodes = [
        "{name: db, type: sleeper}",
        "{name: store, type: sleeper, scaling: {min: 2, max: 4}}",
        "{name: app, type: sleeper, scaling: {min: 3, max: 6}}",
        "{name: web, type: sleeper, scaling: {min: 2, max: 5}}",
    ];
    let text = document(&nodes, mark, 9);
    let text = text.replacen("node_def:", "dependencies:\n- [store, db]\n- [app, store]\n- [web, app]\nnode_def:", 1);
    let text = text.replace("attributes: {command", "attributes: {env: ['G={{variables.greeting}}'], command");
    format!("variables: {{greeting: {greeting}}}\n{text}")
}
/// Number of instances of [`layers`].
const MIN_NODES: usize = 8;

/// Returns the ids of the instances that have a record, of all infrastructures, read from the store.
fn recorded(home: &Occopus) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for id in IDS.iter().chain([&SLOW_ID]) {
        let status = home.run(["status", "-i", *id, "--output", "json"]);
        let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
        let nodes = status["nodes"].as_array().into_iter().flatten();
        let instances = nodes.flat_map(|node| node["instances"].as_array().into_iter().flatten());
        ids.extend(instances.map(|instance| instance["id"].as_str().expect("an id").to_owned()));
    }
    ids
}

/// Asserts that every process is the only one of its instance, and has a record.
#[track_caller]
fn nothing_lost_nothing_doubled(home: &Occopus, mark: &str, what: &str) {
    let processes = instances_with(mark);
    let recorded = recorded(home);
    for (instance, pids) in &processes {
        assert_eq!(pids.len(), 1, "{what}: {instance} is doubled");
        assert!(recorded.contains(instance), "{what}: {instance} is lost");
    }
}

/// Changes one infrastructure all the time. Returns the paths of the accepted operations.
fn keep_changing(service: &Service, id: &str, mark: &str, mut rng: Rng, stop: &AtomicBool) -> Vec<String> {
    let mut promised = Vec::new();
    let path = format!("/infrastructures/{id}");
    while !stop.load(Ordering::Relaxed) {
        let (method, path, body) = match rng.u8(0..10) {
            0..=3 => ("PUT", path.clone(), layers(mark, rng.u32(0..3))),
            4 => ("PUT", format!("{path}?replace=changed"), layers(mark, rng.u32(..))),
            5 | 6 => ("POST", format!("{path}/scaleto/app/{}", rng.u8(3..=6)), String::new()),
            7 => ("POST", format!("{path}/maintain"), String::new()),
            8 => ("POST", format!("{path}/scaleup/web"), String::new()),
            _ => ("DELETE", path.clone(), String::new()),
        };
        let request = service.request(method, &path).header("prefer", "respond-async");
        // The service was killed meanwhile.
        let Ok(answer) = request.try_send(body.as_bytes()) else { return promised };
        match answer.status {
            202 => promised.push(answer.json()["operation"].as_str().expect("a path").to_owned()),
            200 | 404 | 409 => {}
            other => panic!("{method} {path}: {other}: {}", answer.text()),
        }
        pause("a client sends now and then", Duration::from_millis(rng.u64(0..600)));
    }
    promised
}

/// Asserts that, without faults, all accepted operations end, and all infrastructures are maintained and can be removed.
fn all_ends_well(service: &Service, promised: &BTreeMap<&str, Vec<String>>, mark: &str, seed: u64) {
    let home = &service.home;
    let number: usize = promised.values().map(Vec::len).sum();
    assert!(number > 0, "seed {seed}: nothing was promised");
    for (id, promised) in promised {
        // The latest first: two clients have created them, and their ids are ordered by time.
        let in_time: BTreeSet<&String> = promised.iter().collect();
        for (at, path) in in_time.into_iter().rev().enumerate() {
            // Many operations of each infrastructure are kept, but not all.
            if at < 10 {
                assert_eq!(service.get(path).status, 200, "seed {seed}: {id}: the promise {path} is forgotten");
            }
            service.eventually(&format!("seed {seed}: {id}: {path} ends"), || {
                let operation = service.get(path);
                operation.status == 404 || !["pending", "running"].map(Value::from).contains(&operation.json()["state"])
            });
        }
    }
    for id in IDS {
        service.build(id, &layers(mark, 7));
    }
    service.eventually("all of them are there", || instances_with(mark).len() >= IDS.len() * MIN_NODES);
    nothing_lost_nothing_doubled(home, mark, &format!("seed {seed}, at the end"));
    // All are maintained again.
    for id in IDS {
        service.lose_and_heal(id, "db");
    }
    for id in IDS {
        service.destroy(id);
    }
    assert_eq!((processes_with(mark), recorded(home).len()), (0, 0), "seed {seed}: nothing is left");
    assert_eq!(service.get("/infrastructures").json()["infrastructures"], serde_json::json!([]));
}

#[test]
fn killed_again_and_again_under_load_it_comes_back_to_what_was_wanted() {
    let seed = number("OCCOPUS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut rng = Rng::with_seed(seed);
    let mark = unique_sleep_seconds(161);
    let home = Arc::new(Occopus::new());
    let mut promised = BTreeMap::<&str, Vec<String>>::new();
    let began = Instant::now();
    for round in 0..kills() {
        let what = format!("seed {seed}, round {round}");
        let service = Service::in_home(home.clone(), NO_RATE_LIMITS);
        let pid = service.pid();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let wishes: Vec<_> = IDS
                .iter()
                .map(|id| {
                    let (service, mark, stop, rng) = (&service, &mark, &stop, rng.fork());
                    (*id, scope.spawn(move || keep_changing(service, id, mark, rng, stop)))
                })
                .collect();
            pause("any moment", Duration::from_millis(rng.u64(300..3000)));
            // A process is killed from outside.
            let processes = instances_with(&mark);
            if let Some(pid) = processes.values().flatten().nth(rng.usize(0..20)) {
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            }
            pause("any moment", Duration::from_millis(rng.u64(0..1500)));
            occopus_tests::processes::signal(pid, "KILL");
            stop.store(true, Ordering::Relaxed);
            for (id, wish) in wishes {
                promised.entry(id).or_default().extend(wish.join().unwrap_or_else(|_| panic!("{what}: {id}")));
            }
        });
        drop(service);
        pause("a child that was just started shows its argument a moment later", Duration::from_millis(200));
        nothing_lost_nothing_doubled(&home, &mark, &what);
    }
    eprintln!("seed {seed}: killed {} times in {:.0} s", kills(), began.elapsed().as_secs_f64());

    let service = Service::in_home(home.clone(), NO_RATE_LIMITS);
    all_ends_well(&service, &promised, &mark, seed);
}

/// Returns what seems lost or doubled while services work: work in progress looks so for a moment.
fn suspects(home: &Occopus, mark: &str) -> BTreeSet<String> {
    let processes = instances_with(mark);
    let recorded = recorded(home);
    let is_suspect = |(instance, pids): &(String, Vec<u32>)| pids.len() > 1 || !recorded.contains(instance);
    processes.into_iter().filter(is_suspect).map(|(instance, _)| instance).collect()
}

/// Time for which a service is stopped, so that its leases expire.
const STOP_BEYOND_LEASE: Duration = Duration::from_secs(18);

#[test]
fn of_two_services_one_is_stopped_beyond_its_lease_or_killed_or_ended_and_nothing_is_lost() {
    let seed = number("OCCOPUS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut rng = Rng::with_seed(seed);
    let mark = unique_sleep_seconds(166);
    let home = Arc::new(Occopus::new());
    let mut services = [Service::in_home(home.clone(), NO_RATE_LIMITS), Service::in_home(home.clone(), NO_RATE_LIMITS)];
    let mut promised = BTreeMap::<&str, Vec<String>>::new();
    let (began, rounds) = (Instant::now(), kills().div_ceil(4).max(3));
    for round in 0..rounds {
        let what = format!("seed {seed}, round {round}");
        let victim = rng.usize(0..2);
        let stop = AtomicBool::new(false);
        let signals: &[&str] =
            [["STOP", "CONT"].as_slice(), &["KILL"], &["TERM"]][usize::try_from(round % 3).unwrap_or(0)];
        std::thread::scope(|scope| {
            let wishes: Vec<_> = IDS
                .iter()
                .flat_map(|id| services.iter().map(move |service| (*id, service)))
                .map(|(id, service)| {
                    let (mark, stop, rng) = (&mark, &stop, rng.fork());
                    (id, scope.spawn(move || keep_changing(service, id, mark, rng, stop)))
                })
                .collect();
            pause("any moment", Duration::from_millis(rng.u64(300..3000)));
            let processes = instances_with(&mark);
            if let Some(pid) = processes.values().flatten().nth(rng.usize(0..20)) {
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            }
            for name in signals {
                occopus_tests::processes::signal(services[victim].pid(), name);
                if *name == "STOP" {
                    pause("leases expire by the clock", STOP_BEYOND_LEASE);
                }
            }
            pause("any moment", Duration::from_millis(rng.u64(0..1500)));
            stop.store(true, Ordering::Relaxed);
            for (id, wish) in wishes {
                promised.entry(id).or_default().extend(wish.join().unwrap_or_else(|_| panic!("{what}: {id}")));
            }
        });
        if signals[0] != "STOP" {
            services[victim].stop();
            services[victim] = Service::in_home(home.clone(), NO_RATE_LIMITS);
        }
        let wrong = RefCell::new(suspects(&home, &mark));
        wait_for(
            &format!("{what}, {signals:?}: nothing is lost or doubled"),
            || format!("{:?}", wrong.borrow()),
            || {
                wrong.borrow_mut().retain(|instance| suspects(&home, &mark).contains(instance));
                wrong.borrow().is_empty().then_some(())
            },
        );
    }
    eprintln!("seed {seed}: {rounds} rounds in {:.0} s", began.elapsed().as_secs_f64());
    let [first, second] = services;
    drop(second);
    all_ends_well(&first, &promised, &mark, seed);
}

#[test]
fn what_was_attached_is_kept_alive_after_a_crash_and_what_was_not_is_not() {
    let mark = unique_sleep_seconds(162);
    let mut service = Service::start();
    for id in IDS {
        service.build(id, &document(&["{name: a, type: sleeper}"], &mark, 9));
    }
    service.post("/infrastructures/two/detach").expect(200);
    service.post("/infrastructures/three/suspend").expect(200);
    service.post("/infrastructures/four/scaleup/a").problem(409, "engine.limits");
    service.kill();
    let home = service.home.clone();
    drop(service);
    let victims: Vec<_> = instances_with(&mark).into_keys().collect();
    victims.iter().for_each(|victim| kill_instance(victim));
    let service = Service::in_home(home, NO_RATE_LIMITS);
    let is_healed = |id: &str| service.ready_instances(id, "a").iter().any(|instance| !victims.contains(instance));
    service.eventually("two of them are healed", || is_healed("one") && is_healed("four"));
    // By the time that what was lost later is replaced, the others would be replaced, too.
    service.lose_and_heal("one", "a");
    assert_eq!((is_healed("two"), is_healed("three"), processes_with(&mark)), (false, false, 2), "{}", service.log());
    for id in IDS {
        service.destroy(id);
    }
    assert_eq!(processes_with(&mark), 0);
}

#[test]
fn a_build_that_the_end_of_the_service_interrupts_is_finished_by_the_next() {
    let (mark, port) = (unique_sleep_seconds(163), free_port());
    let home = Arc::new(Occopus::new());
    let mut service = Service::with(home.clone(), NO_RATE_LIMITS, &["--grace", "2"]);
    let text = document(&["{name: a, type: sleeper}", "{name: b, type: sick, scaling: {min: 2, max: 2}}"], &mark, port);
    let accepted = service.request("PUT", "/infrastructures/slow").send(&text).expect(202);
    eventually("all run", || processes_with(&mark) == 3);
    let before = instances_with(&mark);
    let began = Instant::now();
    assert!(service.stop(), "it ends well: {}", service.log());
    assert!(began.elapsed() < Duration::from_secs(15), "after {:?}", began.elapsed());
    assert_eq!(instances_with(&mark), before, "nothing is taken back");
    drop(service);

    let service = Service::in_home(home, NO_RATE_LIMITS);
    let operation = accepted.json()["operation"].as_str().expect("a path").to_owned();
    eventually("it is taken up", || service.get(&operation).expect(200).json()["state"] == "running");
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port");
    assert_eq!(service.wait_for_operation(&accepted)["state"], "done");
    assert_eq!(instances_with(&mark), before, "with the same processes");
    drop(listener);
    service.destroy("slow");
    assert_eq!(processes_with(&mark), 0);
}

#[test]
fn two_services_on_one_store_share_the_work_and_one_takes_over_when_the_other_dies() {
    let (mark, port) = (unique_sleep_seconds(164), free_port());
    let mut first = Service::start();
    let second = first.start_second();
    // All at once, at both services.
    let accepted: Vec<_> = std::thread::scope(|scope| {
        let wishes: Vec<_> = IDS
            .iter()
            .flat_map(|id| [(*id, &first), (*id, &second)])
            .map(|(id, service)| {
                let text = layers(&mark, 1);
                scope.spawn(move || service.request("PUT", &format!("/infrastructures/{id}")).send(text).expect(202))
            })
            .collect();
        wishes.into_iter().map(|wish| wish.join().expect("an answer")).collect()
    });
    for accepted in &accepted {
        let ended = second.wait_for_operation(accepted);
        assert!(["done", "superseded"].map(Value::from).contains(&ended["state"]), "{ended:#}");
    }
    nothing_lost_nothing_doubled(&first.home, &mark, "both have built");
    assert_eq!(processes_with(&mark), IDS.len() * MIN_NODES);
    let holders = |service: &Service| -> BTreeMap<String, String> {
        let items = service.get("/infrastructures").expect(200).json()["items"].as_array().expect("items").clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        items.iter().map(|item| (text(&item["id"]), text(&item["owner"]["holder"]))).collect()
    };
    eventually("each is maintained by one", || holders(&second).values().all(|holder| !holder.is_empty()));
    // The request may go to either service, and is carried out by the owner.
    for (at, id) in IDS.iter().enumerate() {
        let service = if at % 2 == 0 { &first } else { &second };
        service.post(&format!("/infrastructures/{id}/scaleto/app/5")).expect(200);
    }
    eventually("all are scaled", || processes_with(&mark) == IDS.len() * (MIN_NODES + 2));
    nothing_lost_nothing_doubled(&first.home, &mark, "both have scaled");

    // One dies in the middle of a build that it alone began.
    let slow = document(&["{name: b, type: sick}"], &mark, port);
    let promised = first.request("PUT", "/infrastructures/slow").send(&slow).expect(202);
    eventually("it is begun", || processes_with(&mark) == IDS.len() * (MIN_NODES + 2) + 1);
    first.kill();
    let dead = format!("process {} ", first.pid());
    eventually("the other one has all", || {
        holders(&second).values().all(|holder| !holder.is_empty() && !holder.starts_with(&dead))
    });
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port");
    assert_eq!(second.wait_for_operation(&promised)["state"], "done");
    drop(listener);
    for id in IDS {
        second.lose_and_heal(id, "db");
    }
    nothing_lost_nothing_doubled(&second.home, &mark, "one was left");
    for id in IDS.iter().chain([&SLOW_ID]) {
        second.destroy(id);
    }
    assert_eq!(processes_with(&mark), 0);
}

#[test]
fn secrets_are_told_nowhere() {
    let home = Arc::new(Occopus::new());
    let mark = unique_sleep_seconds(165);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let hook = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let _posted = collect(listener, &["500 Broken"]);
    let secrets = ["s3cr3t-of-the-hook", "acc3ss-k3y", "s3cr3t-k3y-of-the-cloud"];
    let auth = home.write_private(
        "home/auth_data.yaml",
        format!(
            "webhook:\n- auth_data: {{secret: {}}}\nresource:\n- type: ec2\n  auth_data: {{accesskey: {}, secretkey: {}}}\n",
            secrets[0], secrets[1], secrets[2]
        ),
    );
    let configuration = NO_RATE_LIMITS.replacen('{', &format!("{{webhooks: ['{hook}'], "), 1);
    let mut service = Service::with(home.clone(), &configuration, &["-v"]);
    let token = service.new_token("boss", "admin", &[]);
    let (_, hidden) = token.rsplit_once('_').expect("parts");
    service.token = Some(token.clone());
    let webhook = format!("webhooks:\n- url: {hook}\nnodes:\n");
    service.build("told", &document(&["{name: a, type: sleeper}"], &mark, 9).replacen("nodes:\n", &webhook, 1));
    // A cloud that hangs up.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("an address");
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let cloud = format!(
        "infra_name: away\nuser_id: tester\nnodes: [{{name: m, type: machine}}]\nnode_def:machine:\n- resource:\n    type: ec2\n    \
         endpoint: http://{endpoint}\n    regionname: eu-west-1\n    image_id: ami-03cf127a\n    instance_type: t3.small\n  \
         contextualisation: {{type: cloudinit, context_template: '#cloud-config'}}\n  health_check: {{ping: false}}\n"
    );
    let away = service.request("PUT", "/infrastructures/away").send(cloud).expect(202);
    service.eventually("the cloud was called again", || calls.load(Ordering::Relaxed) > 1);
    let mut answers = String::new();
    let paths = ["", "/status", "/description", "/events", "/operations", "/cost", "/graph.svg"];
    for path in ["told", "away"].iter().flat_map(|id| paths.map(|path| format!("/infrastructures/{id}{path}"))) {
        answers += &service.get(&path).text();
    }
    answers += &service.get(away.json()["operation"].as_str().expect("a path")).text();
    service.request("DELETE", "/infrastructures/away").header("prefer", "respond-async").send("").expect(202);
    for path in [
        "/audit",
        "/definitions",
        "/plugins",
        "/metrics",
        "/whoami",
        "/infrastructures",
        "/ui",
        "/info/backends.auth_data",
    ] {
        answers += &service.get(path).text();
    }
    service.destroy("told");
    service.stop();
    std::fs::remove_file(auth).expect("the credentials");
    let log = service.log();
    assert!(log.len() > 1000 && answers.len() > 1000);
    for secret in secrets.into_iter().chain([token.as_str(), hidden]) {
        assert!(!log.contains(secret), "in the log: {secret}");
        assert!(!answers.contains(secret), "in an answer: {secret}");
        assert!(!is_stored(&home.home(), secret), "in the store: {secret}");
    }
}
