//! The same driver on a real engine: the one at `DOCKER_HOST`, or at the usual socket. Images are made here; no
//! registry is used.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use occopus_sdk::http::{HttpError, HttpErrorKind, Request, Response};
use occopus_sdk::testing::{self, DriverHarness, FakeHost};
use occopus_sdk::{Handle, Observed, Phase, Reaction};
use serde_json::{Value, json};

use super::bridge;
use crate::Docker;
use crate::identity::Reference;

/// Returns the handle of a container that never existed, on the engine of another one.
fn beside(handle: &Handle, container: String) -> Handle {
    Reference { container, ..Reference::read(handle).expect("a handle of this driver") }.handle()
}

/// Observes until the last one has stopped, for ten seconds at most.
fn observe_until_stopped(docker: &DriverHarness<Docker>, handles: &[Handle]) -> Vec<Observed> {
    let began = Instant::now();
    loop {
        let observed = docker.observe(handles).unwrap();
        if began.elapsed() > Duration::from_secs(10) || observed.last().is_some_and(|last| last.phase == Phase::Stopped)
        {
            return observed;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A real engine, and the label of one test in it.
struct Engine {
    endpoint: String,
    test_label: String,
}

impl Engine {
    /// Connects to the engine; prints a line and returns none if there is no engine. On CI that is an error.
    #[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
    fn connect(test: &str) -> Option<Self> {
        let endpoint = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mark = format!("occopus-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        match bridge::send(&endpoint, &request("GET", "/_ping", Vec::new())) {
            Ok(_) => Some(Self { endpoint, test_label: mark }),
            Err(error) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
                panic!("no Docker engine at {endpoint}: {error}")
            }
            Err(error) => {
                eprintln!("{test} is skipped: no Docker engine at {endpoint}: {error}");
                None
            }
        }
    }

    fn ask(&self, method: &str, path: &str, body: Vec<u8>) -> Response {
        bridge::send(&self.endpoint, &request(method, path, body)).expect("the engine answers")
    }

    /// Returns a driver whose requests reach the engine. `meddle` may break the answers.
    fn driver(
        &self,
        section: &Value,
        meddle: impl Fn(&Request, Response) -> Result<Response, HttpError> + 'static,
    ) -> DriverHarness<Docker> {
        let endpoint = self.endpoint.clone();
        let host = FakeHost::default().http(move |request| meddle(request, bridge::send(&endpoint, request)?));
        let mut section = section.clone();
        section["endpoint"] = json!(self.endpoint);
        testing::driver::<Docker>(host, section).expect("a section that fits")
    }

    fn honest(&self, section: &Value) -> DriverHarness<Docker> {
        self.driver(section, |_, response| Ok(response))
    }

    /// Imports an image with `busybox` in it, unless there is one.
    fn image(&self) -> Value {
        // Tests run at once; the second import would leave the first one's image without a name.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap();
        let image = json!({"origin": "local", "image": "occopus-test-driver", "tag": "1"});
        if self.ask("GET", "/images/occopus-test-driver:1/json", Vec::new()).status != 200 {
            let made = self.ask("POST", "/images/create?fromSrc=-&repo=occopus-test-driver&tag=1", root());
            assert!(made.is_success() && !made.text().contains("errorDetail"), "{}", made.text());
        }
        image
    }

    fn instance(&self, name: &str) -> String {
        format!("{}-{name}", self.test_label)
    }

    fn containers(&self, instance: &str) -> usize {
        let filters = format!("%7B%22label%22%3A%5B%22occopus.instance%3D{instance}%22%5D%7D");
        let listed = self.ask("GET", &format!("/containers/json?all=1&filters={filters}"), Vec::new());
        listed.json::<Vec<Value>>().expect("a list").len()
    }
}

impl Drop for Engine {
    /// Removes containers that a failed test left.
    fn drop(&mut self) {
        let ask = |method, path: &str| bridge::send(&self.endpoint, &request(method, path, Vec::new())).ok();
        let listed = ask("GET", "/containers/json?all=1").and_then(|response| response.json::<Vec<Value>>().ok());
        for container in listed.into_iter().flatten() {
            let ours =
                container["Labels"]["occopus.instance"].as_str().is_some_and(|id| id.starts_with(&self.test_label));
            if let Some(id) = container["Id"].as_str().filter(|_| ours) {
                ask("DELETE", &format!("/containers/{id}?force=true&v=true"));
            }
        }
    }
}

fn request(method: &str, path: &str, body: Vec<u8>) -> Request {
    Request {
        method: method.to_owned(),
        url: format!("http://docker{path}"),
        headers: vec![("content-type".to_owned(), "application/x-tar".to_owned())],
        body,
        connect_timeout: Duration::from_secs(10),
        answer_timeout: Duration::from_secs(60),
    }
}

/// Returns a tarball with a static busybox.
fn root() -> Vec<u8> {
    let script = "set -e; T=$(mktemp -d); trap 'rm -rf $T' EXIT; mkdir $T/bin $T/tmp; cp $(command -v busybox) $T/bin/busybox; \
                  for a in sh sleep true; do ln -s busybox $T/bin/$a; done; tar -C $T -cf - .";
    let made = std::process::Command::new("sh").args(["-c", script]).output().expect("sh runs");
    assert!(made.status.success(), "busybox-static is needed: {}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

fn sleeping() -> Value {
    json!({"command": ["/bin/sleep", "600"], "env": ["A=1"]})
}

#[test]
fn one_container_from_its_creation_to_its_end() {
    let Some(engine) = Engine::connect("one_container_from_its_creation_to_its_end") else { return };
    let (docker, id) = (engine.honest(&engine.image()), engine.instance("a"));
    let first = docker.create(&id, sleeping()).unwrap();
    assert_eq!(first.phase, Phase::Running);
    assert!(!first.addresses.is_empty());
    let second = docker.create(&id, sleeping()).unwrap();
    assert_eq!(first.handle, second.handle);
    assert_eq!(engine.containers(&id), 1, "created twice, there once");

    let found = docker.find(&id).unwrap().unwrap();
    assert_eq!(found.handle, first.handle);
    assert_eq!(found.addresses[0].value, first.addresses[0].value);
    assert!(docker.find(&engine.instance("other")).unwrap().is_none());
    let mut cursor = None;
    let mut owned = Vec::new();
    loop {
        let page = docker.list_owned(cursor.as_deref()).unwrap();
        owned.extend(page.machines);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    let owned: Vec<_> = owned.iter().filter(|owned| owned.instance_id == id).collect();
    assert_eq!((owned.len(), owned[0].infrastructure_id.is_empty()), (1, false));

    docker.destroy(&first.handle).unwrap();
    assert_eq!(engine.containers(&id), 0);
    docker.destroy(&first.handle).unwrap();
    assert!(docker.find(&id).unwrap().is_none());
    assert_eq!(docker.observe(&[first.handle]).unwrap()[0].phase, Phase::Gone);
}

#[test]
fn lost_answers_neither_lose_nor_double() {
    let Some(engine) = Engine::connect("lost_answers_neither_lose_nor_double") else { return };
    let section = engine.image();
    for (name, lost) in [("create", "/containers/create"), ("start", "/start")] {
        let id = engine.instance(name);
        let flaky = engine.driver(&section, move |request, response| {
            if request.url.contains(lost) {
                return Err(HttpError { kind: HttpErrorKind::MaybeSent, message: "connection broken".to_owned() });
            }
            Ok(response)
        });
        assert_eq!(flaky.create(&id, sleeping()).unwrap_err().reaction, Reaction::UnknownOutcome);
        let docker = engine.honest(&section);
        let found = docker.find(&id).unwrap().expect("it is there");
        assert_eq!(found.phase, Phase::Running, "and it was started");
        assert_eq!(docker.create(&id, sleeping()).unwrap().handle, found.handle);
        assert_eq!(engine.containers(&id), 1);
        docker.destroy(&found.handle).unwrap();
    }
}

#[test]
fn three_hundred_are_observed_at_once() {
    let Some(engine) = Engine::connect("three_hundred_are_observed_at_once") else { return };
    let docker = engine.honest(&engine.image());
    let running = docker.create(&engine.instance("running"), sleeping()).unwrap().handle;
    let ended = docker.create(&engine.instance("ended"), json!({"command": "sh -c 'exit 3'"})).unwrap().handle;
    let mut handles: Vec<Handle> = (0..298).map(|n| beside(&running, format!("{n:064x}"))).collect();
    handles.insert(150, running);
    handles.push(ended);
    let observed = observe_until_stopped(&docker, &handles);
    assert_eq!(observed.len(), 300);
    assert!(observed.iter().zip(&handles).all(|(seen, asked)| seen.handle == *asked));
    assert_eq!(observed[150].phase, Phase::Running);
    assert_eq!(observed[299].phase, Phase::Stopped);
    assert!(observed[299].message.as_ref().unwrap().contains("exit status 3"));
    assert_eq!(observed.iter().filter(|seen| seen.phase == Phase::Gone).count(), 298);
    docker.destroy(&handles[150]).unwrap();
    docker.destroy(&handles[299]).unwrap();
}

#[test]
fn what_can_not_run_leaves_nothing_behind() {
    let Some(engine) = Engine::connect("what_can_not_run_leaves_nothing_behind") else { return };
    let id = engine.instance("bad");
    let docker = engine.honest(&engine.image());
    for command in [json!("nosuch"), json!("/tmp"), json!(null)] {
        let fault = docker.create(&id, json!({"command": command})).unwrap_err();
        assert_eq!(fault.reaction, Reaction::GiveUp, "{fault:?}");
        assert!(fault.details.iter().any(|detail| detail.message.contains("`command`")), "{fault:?}");
        assert_eq!(engine.containers(&id), 0);
    }
    let fault = engine
        .honest(&json!({"origin": "local", "image": "occopus-no-such-image"}))
        .create(&id, sleeping())
        .unwrap_err();
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::GiveUp, "docker.no-such-image"));
    let fault =
        engine.honest(&json!({"origin": "local", "image": "No Such Image"})).create(&id, sleeping()).unwrap_err();
    assert_eq!(fault.reaction, Reaction::GiveUp);
    assert!(fault.details.iter().any(|detail| detail.pointer == "/image"), "{fault:?}");
    assert_eq!(engine.containers(&id), 0);
}

#[test]
fn an_unreachable_engine_is_named() {
    let nowhere = Engine { endpoint: "unix:///nowhere/docker.sock".to_owned(), test_label: String::new() };
    let fault = nowhere.honest(&json!({"image": "a"})).create("i1", sleeping()).unwrap_err();
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Retry, "docker.unreachable"));
    assert!(fault.message.contains("unix:///nowhere/docker.sock"), "{fault}");
}

#[test]
fn the_end_and_the_output_of_a_container_are_told() {
    let Some(engine) = Engine::connect("the_end_and_the_output_of_a_container_are_told") else { return };
    let docker = engine.honest(&engine.image());
    for (name, command, message, output) in [
        (
            "bad",
            "sh -c 'echo first; echo reason >&2; exit 3'",
            "the container ended (exit status 3)",
            "first\nreason\n",
        ),
        ("good", "true", "the container ended (exit status 0)", ""),
    ] {
        let made = docker.create(&engine.instance(name), json!({"command": command})).unwrap();
        let seen = observe_until_stopped(&docker, std::slice::from_ref(&made.handle)).remove(0);
        assert_eq!((seen.phase, seen.message.as_deref()), (Phase::Stopped, Some(message)));
        let mut told: Vec<_> = docker.tail(&made.handle, 20).unwrap().lines().map(str::to_owned).collect();
        told.sort();
        assert_eq!(told, output.lines().collect::<Vec<_>>());
        docker.destroy(&made.handle).unwrap();
    }
}

#[test]
fn one_wrong_answer_never_makes_a_container_gone() {
    let Some(engine) = Engine::connect("one_wrong_answer_never_makes_a_container_gone") else { return };
    let (section, id) = (engine.image(), engine.instance("wrong"));
    let honest = engine.honest(&section);
    let made = honest.create(&id, sleeping()).unwrap();
    let wrong = [
        (404, r#"{"message": "no Route matched with those values"}"#),
        (404, "{}"),
        (404, "<!DOCTYPE html>"),
        (200, "[]"),
        (200, "{}"),
        (204, ""),
    ];
    for (status, body) in wrong {
        for at in 0..4 {
            let meddled = || {
                let count = AtomicU64::new(0);
                engine.driver(&section, move |_, response| {
                    let is_it = count.fetch_add(1, Ordering::Relaxed) == at;
                    let wrong = || Response { status, headers: Vec::new(), body: body.into() };
                    Ok(if is_it { wrong() } else { response })
                })
            };
            let place = format!("{status} {body} at {at}");
            let seen = meddled().observe(std::slice::from_ref(&made.handle));
            assert!(seen.is_err() || seen.unwrap()[0].phase != Phase::Gone, "{place}");
            assert!(!matches!(meddled().find(&id), Ok(None)), "{place}");
        }
    }
    assert_eq!(engine.containers(&id), 1);
    honest.destroy(&made.handle).unwrap();
}

#[test]
fn a_container_of_a_committed_image_is_left_alone() {
    let Some(engine) = Engine::connect("a_container_of_a_committed_image_is_left_alone") else { return };
    let (docker, id) = (engine.honest(&engine.image()), engine.instance("committed"));
    let made = docker.create(&id, sleeping()).unwrap();
    let container = Reference::read(&made.handle).unwrap().container;
    let image = format!("{}-copy", engine.test_label);
    let post = |path: String, body: Value| {
        let mut post = request("POST", &path, body.to_string().into_bytes());
        post.headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        bridge::send(&engine.endpoint, &post).expect("the engine answers").json::<Value>().expect("JSON")
    };
    post(format!("/commit?container={container}&repo={image}&tag=1"), json!({}));
    let users = post(
        format!("/containers/create?name={}-users", engine.test_label),
        json!({"Image": format!("{image}:1"), "Cmd": ["true"]}),
    );
    let users = users["Id"].as_str().expect("an id").to_owned();
    assert_eq!(engine.containers(&id), 2, "its image carries the labels");

    let owned = docker.list_owned(None).unwrap().machines;
    let ours: Vec<_> = owned.iter().filter(|owned| owned.instance_id == id).collect();
    assert_eq!((ours.len(), &ours[0].observed.handle), (1, &made.handle));
    docker.destroy(&made.handle).unwrap();
    assert!(docker.find(&id).unwrap().is_none());
    assert_eq!(engine.containers(&id), 1, "the user's own");
    engine.ask("DELETE", &format!("/containers/{users}?force=true"), Vec::new());
    engine.ask("DELETE", &format!("/images/{image}:1?force=true"), Vec::new());
}

/// Serves `/good.tar` and `/bad.tar` on loopback, until the test's process ends.
fn serve_tarballs() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let good = root();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 2048];
            let read = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let (status, body) = match head.split(' ').nth(1) {
                Some("/good.tar") => ("200 OK", good.as_slice()),
                Some("/bad.tar") => ("200 OK", b"no tarball at all".as_slice()),
                _ => ("404 Not Found", b"nothing here".as_slice()),
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // A client that disconnects early is not an error.
            let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    format!("http://{address}")
}

#[test]
fn images_are_imported_from_a_url() {
    let Some(engine) = Engine::connect("images_are_imported_from_a_url") else { return };
    let (url, id, image) = (serve_tarballs(), engine.instance("import"), engine.test_label.clone());
    let section = |file: &str| json!({"origin": format!("{url}/{file}"), "image": image, "tag": "1"});
    for file in ["bad.tar", "missing.tar"] {
        let fault = engine.honest(&section(file)).create(&id, sleeping()).unwrap_err();
        assert_eq!(
            (fault.reaction, fault.code.as_str()),
            (Reaction::GiveUp, "docker.import-failed"),
            "{file}: {fault:?}"
        );
        assert!(fault.details.iter().any(|detail| detail.pointer == "/origin"), "{fault:?}");
        assert_eq!(engine.containers(&id), 0);
    }
    let docker = engine.honest(&section("good.tar"));
    let observed = docker.create(&id, sleeping()).unwrap();
    assert_eq!(observed.phase, Phase::Running);
    docker.destroy(&observed.handle).unwrap();

    // The image exists now, so the URL is not requested again.
    let docker = engine.honest(&section("missing.tar"));
    let observed = docker.create(&id, sleeping()).unwrap();
    docker.destroy(&observed.handle).unwrap();
    assert_eq!(engine.ask("DELETE", &format!("/images/{}:1?force=true", engine.test_label), Vec::new()).status, 200);
}
