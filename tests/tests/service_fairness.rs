//! Fairness of the service: one caller does what it can to block all others, and they hardly notice.
#![expect(clippy::print_stderr, reason = "says how long the others waited")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use occopus_tests::Occopus;
use occopus_tests::processes::{signal, unique_sleep_seconds};
use occopus_tests::service::{NO_RATE_LIMITS, Service, document, free_port};
use occopus_tests::wait::{eventually, pause};
use serde_json::json;

/// Configuration with the default limits.
const DEFAULT_LIMITS: &str = "service: {allow_processes: true}\n";
/// Duration of the load.
const ATTACK_DURATION: Duration = Duration::from_secs(12);

/// Returns a description with this number of types, whose templates take long.
fn heavy(types: usize) -> String {
    let template = "{% for a in range(1000) %}{% for b in range(1000) %}{{ a }}{{ b }}{% endfor %}{% endfor %}";
    let names: Vec<_> = (0..types).map(|at| format!("{{name: n{at}, type: t{at}}}")).collect();
    let mut text = format!("infra_name: x\nuser_id: y\nnodes: [{}]\n", names.join(", "));
    for at in 0..types {
        let _ = write!(
            text,
            "node_def:t{at}:\n- resource: {{type: local}}\n  contextualisation:\n    type: basic\n    \
             attributes: {{command: [sleep, '{template}']}}\n  health_check: {{ping: false}}\n"
        );
    }
    text
}

/// Returns a description of many nodes.
fn large(nodes: usize) -> String {
    let names: Vec<_> = (0..nodes).map(|at| format!("{{name: n{at}, type: sleeper}}")).collect();
    let list = document(&["{name: a, type: sleeper}"], "77", 9);
    list.replace("- {name: a, type: sleeper}", &format!("- {}", names.join("\n- ")))
}

/// Returns the highest resident memory of a process so far, in MB.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

/// Returns the time within which nine of ten ended.
fn percentile_90(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 9 / 10]
}

#[test]
fn a_reading_token_at_full_strength_keeps_nobody_waiting() {
    let service = Service::in_home(Arc::new(Occopus::new()), DEFAULT_LIMITS);
    let small = document(&["{name: a, type: sleeper}"], &unique_sleep_seconds(181), 9);
    // Plugins are compiled before clients wait for them.
    service.request("POST", "/validate").send(&small).expect(200);
    service.build("one", &small);
    let [reader, operator] = ["read", "operate"].map(|scope| service.new_token(scope, scope, &[]));
    eventually("tokens are needed", || service.get("/whoami").status == 401);
    let (reader, operator) = (format!("Bearer {reader}"), format!("Bearer {operator}"));
    let wrong = format!("{}x", &reader[..reader.len() - 1]);
    let (heavy, large, huge) = (
        heavy(300),
        large(8000),
        small.replace("type: sleeper}", "type: sleeper, scaling: {min: 4000000000, max: 4000000000}}"),
    );
    let long = format!("/infrastructures/{}/attach", "x".repeat(60_000));
    let posts = [
        ("/validate", &heavy),
        ("/validate", &heavy),
        ("/infrastructures/one/plan", &heavy),
        ("/validate", &large),
        ("/infrastructures/one/plan", &large),
        ("/infrastructures/one/plan", &huge),
        (long.as_str(), &small),
        ("/infrastructures/one/attach", &small),
    ];
    let gets = ["/ui/infrastructures/one?before=18446744073709551615", "/infrastructures/one/graph.svg"];
    let stop = AtomicBool::new(false);
    let (mut health, mut checks) = (Vec::new(), Vec::new());
    let mut streams = Vec::new();
    let ask = |method: &str, path: &str, token: &str| service.request(method, path).header("authorization", token);
    let again = |method: &str, path: &str, token: &str, body: &str| {
        while !stop.load(Ordering::Relaxed) {
            // The response is of no interest.
            let _ = ask(method, path, token).try_send(body.as_bytes());
        }
    };
    std::thread::scope(|scope| {
        let (ask, again) = (&ask, &again);
        for (path, body) in posts {
            let reader = &reader;
            scope.spawn(move || again("POST", path, reader, body));
        }
        for path in gets {
            let reader = &reader;
            scope.spawn(move || again("GET", path, reader, ""));
        }
        for _ in 0..3 {
            let wrong = &wrong;
            scope.spawn(move || again("GET", "/whoami", wrong, ""));
        }
        for _ in 0..400 {
            let mut stream = service.connect();
            let head = format!(
                "GET /infrastructures/one/events HTTP/1.1\r\nHost: {}\r\nAuthorization: {reader}\r\nAccept: text/event-stream\r\n\r\n",
                service.address
            );
            std::io::Write::write_all(&mut stream, head.as_bytes()).expect("sent");
            streams.push(stream);
        }
        let began = Instant::now();
        while began.elapsed() < ATTACK_DURATION {
            let timed = |path: &str, method: &str, token: &str, body: &str| {
                let began = Instant::now();
                ask(method, path, token).send(body).expect(200);
                began.elapsed()
            };
            health.push(timed("/healthz", "GET", "", ""));
            checks.push(timed("/validate", "POST", &operator, &small));
            pause("other clients send now and then", Duration::from_millis(100));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (health, checks, memory) = (percentile_90(health), percentile_90(checks), peak_memory(service.pid()));
    eprintln!("/healthz within {health:?}, a small description checked within {checks:?}, {memory} MB");
    assert!(health < Duration::from_millis(200), "{health:?}");
    assert!(checks < Duration::from_secs(1), "{checks:?}");
    assert!(memory < 300, "{memory} MB");
    assert!(!service.log().contains("panicked"), "{}", service.log());
    drop(streams);
    // Refused requests are in the audit, in few and short entries.
    for path in ["/infrastructures/one/attach", &long].repeat(100) {
        let status = service.request("POST", path).header("authorization", &reader).send("").status;
        assert!([403, 404, 429].contains(&status), "{status}");
    }
    let admin = format!("Bearer {}", service.new_token("admin", "admin", &[]));
    let audit = service.request("GET", "/audit?limit=1000").header("authorization", &admin).send("").expect(200);
    let entries = audit.json()["entries"].as_array().expect("entries").clone();
    let of_reader = entries.iter().filter(|entry| entry["who"] == "read").count();
    assert!((1..=70).contains(&of_reader), "{of_reader} entries");
    assert!(entries.iter().all(|entry| entry.to_string().len() < 500), "{entries:#?}");
}

#[test]
fn no_more_instances_are_promised_than_are_allowed_and_the_line_is_told() {
    let service = Service::in_home(
        Arc::new(Occopus::new()),
        &format!("instances: {{per_node: 5, per_infrastructure: 8}}\n{NO_RATE_LIMITS}"),
    );
    let mark = unique_sleep_seconds(182);
    let of = |nodes: &[&str]| document(nodes, &mark, 9);
    let wide = "{name: a, type: sleeper, scaling: {min: 6, max: 9}}";
    for (method, path) in [
        ("POST", "/infrastructures/"),
        ("PUT", "/infrastructures/x"),
        ("POST", "/validate"),
        ("POST", "/infrastructures/x/plan"),
    ] {
        let problem = service.request(method, path).send(of(&[wide])).problem(400, "files.invalid");
        let found = &problem["problems"][0];
        assert_eq!((&found["code"], &found["line"]), (&json!("scaling.too-many"), &json!(4)), "{problem:#}");
        let many = ["a", "b", "c"].map(|name| wide.replace("a,", &format!("{name},")).replace('6', "3"));
        let problem = service.request(method, path).send(of(&many.each_ref().map(String::as_str)));
        let problem = problem.problem(400, "files.invalid");
        assert_eq!(problem["problems"][0]["line"], 6, "{problem:#}");
    }
    service
        .build("x", &of(&["{name: a, type: sleeper, scaling: {min: 1, max: 4000000000}}", "{name: b, type: sleeper}"]));
    service.post("/infrastructures/x/scaleto/a/4000000000").problem(409, "engine.too-many");
    service.post("/infrastructures/x/scaleup/a/5").problem(409, "engine.too-many");
    service.post("/infrastructures/x/scaleup/a").expect(200);
    service.destroy("x");
}

#[test]
fn an_operation_over_which_services_die_is_set_aside_and_can_be_asked_for_again() {
    let home = Arc::new(Occopus::new());
    let (mark, port) = (unique_sleep_seconds(183), free_port());
    let text = document(&["{name: a, type: sick}"], &mark, port);
    let mut service = Service::in_home(home.clone(), NO_RATE_LIMITS);
    let promised = service.request("PUT", "/infrastructures/fatal").send(&text).expect(202).json();
    let path = promised["operation"].as_str().expect("a path").to_owned();
    // It waits for something that does not happen: the machine runs, and nothing changes any more.
    for death in 0..3 {
        let owner = format!("process {} ", service.pid());
        service.eventually("this service waits for it", || {
            let status = service.get("/infrastructures/fatal/status").json();
            status["owner"]["holder"].as_str().is_some_and(|holder| holder.starts_with(&owner))
                && status["nodes"][0]["instances"][0]["state"] == "running"
        });
        assert_eq!(service.get(&path).json()["state"], "running", "after {death} deaths");
        signal(service.pid(), "KILL");
        service = Service::in_home(home.clone(), NO_RATE_LIMITS);
    }
    let ended = service.wait_for_operation_at(&path);
    assert_eq!(
        (&ended["state"], &ended["error"]["code"]),
        (&json!("failed"), &json!("operation.set-aside")),
        "{ended:#}"
    );
    assert!(service.log().contains("set aside"), "{}", service.log());
    let listed = service.get("/infrastructures").json();
    assert_eq!(listed["items"][0]["attached"], json!(false), "{listed:#}");
    // Later requests are carried out.
    let _well = std::net::TcpListener::bind(("0.0.0.0", port)).expect("a port");
    service.build("fatal", &text);
    let listed = service.get("/infrastructures").json();
    assert_eq!(listed["items"][0]["attached"], json!(true), "{listed:#}");
    service.destroy("fatal");
}
