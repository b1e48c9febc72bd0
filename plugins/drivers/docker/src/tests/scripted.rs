//! Recorded answers of Docker 20.10 (API 1.41), in the order of the requests.

use std::collections::VecDeque;
use std::sync::Mutex;

use occopus_sdk::http::{HttpError, HttpErrorKind, Request, Response};
use occopus_sdk::testing::{self, DriverHarness, FakeHost};
use occopus_sdk::{Fault, Handle, Phase, Reaction};
use serde_json::{Value, json};

use crate::Docker;
use crate::identity::Reference;

const ID: &str = "dfd44c8185e1a69f410f009b51f3ec79feb24ee647d22bb09c2c7bdf48795c7a";
const VERSION: (&str, &str, u16, &str) = ("GET", "/version", 200, r#"{"ApiVersion":"1.41","MinAPIVersion":"1.12"}"#);
const INFO: (&str, &str, u16, &str) = ("GET", "/v1.41/info", 200, r#"{"ID":"ENGINE:1"}"#);
const OTHER_INFO: (&str, &str, u16, &str) = ("GET", "/v1.41/info", 200, r#"{"ID":"ENGINE:2"}"#);
/// Answers that are not the engine's, to any request.
const FOREIGN_ANSWERS: [(u16, &str); 9] = [
    (404, "<!DOCTYPE html><h1>Not Found</h1>"),
    (404, r#"{"message": "no Route matched with those values"}"#),
    (404, "{}"),
    (404, "\"no such container\""),
    (404, "[]"),
    (200, "<!DOCTYPE html><h1>It works!</h1>"),
    (200, r#"{"status": "ok"}"#),
    (200, r#"[{"name": "somebody"}]"#),
    (502, "bad gateway"),
];
const LOST_ANSWER: u16 = 0;
const NO_CONNECTION: u16 = 1;

/// Answers each request by the next line, and checks that it is the expected one.
fn script(section: Value, lines: &[(&str, &str, u16, &str)]) -> DriverHarness<Docker> {
    let lines: VecDeque<_> = lines
        .iter()
        .map(|(method, path, status, body)| ((*method).to_owned(), (*path).to_owned(), *status, (*body).to_owned()))
        .collect();
    let lines = Mutex::new(lines);
    let host = FakeHost::default().http(move |request: &Request| {
        let next = lines.lock().unwrap().pop_front();
        let (method, path, status, body) =
            next.unwrap_or_else(|| panic!("not expected: {} {}", request.method, request.url));
        let asked = request.url.strip_prefix("http://engine:2375").expect("the engine's address");
        assert!(
            request.method == method && asked.starts_with(&path),
            "{} {asked}, not {method} {path}",
            request.method
        );
        let broken = |kind| Err(HttpError { kind, message: "connection broken".to_owned() });
        match status {
            LOST_ANSWER => broken(HttpErrorKind::MaybeSent),
            NO_CONNECTION => broken(HttpErrorKind::NotSent),
            _ => Ok(Response { status, headers: Vec::new(), body: body.into_bytes() }),
        }
    });
    testing::driver::<Docker>(host, section).unwrap()
}

/// Returns the handle of a container that was created on the first engine.
fn handle(id: impl Into<String>) -> Handle {
    Reference { container: id.into(), engine: Some("ENGINE:1".to_owned()) }.handle()
}

fn absent(id: &str) -> String {
    refused(&format!("No such container: {id}"))
}

fn inspected(status: &str, exit_code: i64) -> String {
    json!({
        "Id": ID, "State": {"Status": status, "ExitCode": exit_code}, "Config": {"Labels": {"occopus.instance": "i1"}},
    })
    .to_string()
}

fn section() -> Value {
    json!({"type": "docker", "endpoint": "tcp://engine:2375", "origin": "local", "image": "beds/busybox", "tag": "1"})
}

fn with_origin(origin: &str) -> Value {
    let mut section = section();
    section["origin"] = json!(origin);
    section
}

fn attributes() -> Value {
    json!({"command": "sh -c 'sleep 9'", "env": {"A": "1"}, "connections": []})
}

fn asked() -> usize {
    testing::host(|host| host.requests.len())
}

fn created() -> String {
    json!({"Id": ID, "Warnings": []}).to_string()
}

fn listed(state: &str) -> String {
    json!([{
        "Id": ID, "Names": ["/occopus-i1"], "Image": "beds/busybox:1", "State": state, "Status": "Exited (3) 1 second ago",
        "Labels": {"occopus.instance": "i1", "occopus.infrastructure": "f1"},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2", "GlobalIPv6Address": ""}}},
    }])
    .to_string()
}

fn refused(words: &str) -> String {
    json!({"message": words}).to_string()
}

fn points_at(fault: &Fault, pointer: &str) -> bool {
    fault.details.iter().any(|detail| detail.pointer == pointer)
}

#[test]
fn create_is_two_requests_and_a_look() {
    let (created, listed) = (created(), listed("running"));
    let docker = script(
        section(),
        &[
            VERSION,
            INFO,
            ("POST", "/v1.41/containers/create?name=occopus-", 201, &created),
            ("POST", &format!("/v1.41/containers/{ID}/start"), 204, ""),
            ("GET", "/v1.41/containers/json?all=true&filters=%7B%22id%22", 200, &listed),
        ],
    );
    let observed = docker.create("i1", attributes()).unwrap();
    assert_eq!(observed.phase, Phase::Running);
    assert_eq!(observed.handle, handle(ID));
    assert_eq!(observed.addresses[0].value, "172.17.0.2");
    let body: Value = testing::host(|host| serde_json::from_slice(&host.requests[2].body).unwrap());
    assert_eq!(body["Image"], "beds/busybox:1");
    assert_eq!(body["Cmd"], json!(["sh", "-c", "sleep 9"]));
    assert_eq!(body["Env"], json!(["A=1"]));
    assert_eq!(body["Labels"]["occopus.instance"], "i1");
    assert_eq!(body["Labels"]["occopus.container"], "occopus-infra-infra-1-node-i1");
    assert_eq!(asked(), 5);
}

#[test]
fn a_name_of_the_users_begins_the_containers_name() {
    let mut section = section();
    section["name"] = json!("my web");
    let docker =
        script(section, &[VERSION, INFO, ("POST", "/v1.41/containers/create?name=my-web-i1", LOST_ANSWER, "")]);
    assert_eq!(docker.create("i1", attributes()).unwrap_err().reaction, Reaction::UnknownOutcome);
}

#[test]
fn a_second_create_takes_the_first_container() {
    let inspected =
        json!({"Id": ID, "State": {"Status": "running"}, "Config": {"Labels": {"occopus.instance": "i1"}}}).to_string();
    let (taken, listed) = (refused("Conflict. The container name is already in use"), listed("running"));
    for status in [409, 500] {
        let docker = script(
            section(),
            &[
                VERSION,
                INFO,
                ("POST", "/v1.41/containers/create", status, &taken),
                ("GET", "/v1.41/containers/occopus-", 200, &inspected),
                ("GET", "/v1.41/containers/json", 200, &listed),
            ],
        );
        assert_eq!(docker.create("i1", attributes()).unwrap().handle, handle(ID));
    }
}

#[test]
fn a_container_of_someone_else_is_left_alone() {
    let inspected = json!({"Id": ID, "State": {"Status": "running"}, "Config": {"Labels": {}}}).to_string();
    let taken = refused("Conflict. The container name is already in use");
    let docker = script(
        section(),
        &[
            VERSION,
            INFO,
            ("POST", "/v1.41/containers/create", 409, &taken),
            ("GET", "/v1.41/containers/occopus-", 200, &inspected),
        ],
    );
    assert_eq!(docker.create("i1", attributes()).unwrap_err().reaction, Reaction::Conflict);
}

#[test]
fn a_lost_answer_is_an_unknown_outcome() {
    let docker = script(section(), &[VERSION, INFO, ("POST", "/v1.41/containers/create", LOST_ANSWER, "")]);
    assert_eq!(docker.create("i1", attributes()).unwrap_err().reaction, Reaction::UnknownOutcome);

    let created = created();
    for lost in [LOST_ANSWER, NO_CONNECTION] {
        let docker = script(
            section(),
            &[
                VERSION,
                INFO,
                ("POST", "/v1.41/containers/create", 201, &created),
                ("POST", &format!("/v1.41/containers/{ID}/start"), lost, ""),
            ],
        );
        let fault = docker.create("i1", attributes()).unwrap_err();
        assert_eq!(fault.reaction, Reaction::UnknownOutcome, "the container is there: {fault}");
    }

    // Before anything was sent there is nothing to find.
    let docker = script(section(), &[VERSION, INFO, ("POST", "/v1.41/containers/create", NO_CONNECTION, "")]);
    let fault = docker.create("i1", attributes()).unwrap_err();
    assert_eq!(fault.reaction, Reaction::Retry);
    assert!(fault.message.contains("tcp://engine:2375") && points_at(&fault, "/endpoint"), "{fault:?}");
}

#[test]
fn find_finishes_what_was_interrupted() {
    let (new, running, start) = (listed("created"), listed("running"), format!("/v1.41/containers/{ID}/start"));
    let find = "/v1.41/containers/json?all=true&filters=%7B%22label%22%3A%5B%22occopus.instance%3Di1%22";
    let look = "/v1.41/containers/json?all=true&filters=%7B%22id%22";
    let docker = script(
        section(),
        &[VERSION, ("GET", find, 200, &new), INFO, ("POST", &start, 204, ""), ("GET", look, 200, &running)],
    );
    let found = docker.find("i1").unwrap().unwrap();
    assert_eq!((found.phase, found.handle), (Phase::Running, handle(ID)));

    let words =
        refused("failed to create shim task: OCI runtime create failed: exec: \"nosuch\": executable file not found");
    let docker = script(section(), &[VERSION, ("GET", find, 200, &new), INFO, ("POST", &start, 400, &words)]);
    let observed = docker.find("i1").unwrap().unwrap();
    assert_eq!(observed.phase, Phase::Failed);
    assert!(observed.message.unwrap().contains("nosuch"));
}

#[test]
fn nothing_is_found_only_when_the_engine_says_so_twice() {
    let (find, listed) = ("/v1.41/containers/json", listed("running"));
    let docker = script(
        section(),
        &[VERSION, ("GET", find, 200, "[]"), INFO, ("GET", find, 200, &listed), ("GET", find, 200, &listed)],
    );
    assert!(docker.find("i1").unwrap().is_some());
    let docker = script(section(), &[VERSION, ("GET", find, 200, "[]"), INFO, ("GET", find, 200, "[]")]);
    assert!(docker.find("i1").unwrap().is_none());
    for (status, body) in FOREIGN_ANSWERS {
        let docker = script(section(), &[VERSION, ("GET", find, status, body)]);
        assert_eq!(docker.find("i1").unwrap_err().reaction, Reaction::Retry, "{status} {body}");
        let docker = script(section(), &[VERSION, ("GET", find, 200, "[]"), ("GET", "/v1.41/info", status, body)]);
        assert_eq!(docker.find("i1").unwrap_err().reaction, Reaction::Retry, "{status} {body}");
    }
}

#[test]
fn another_engine_does_not_know_what_became_of_a_creation() {
    let find = "/v1.41/containers/json";
    let docker = script(
        section(),
        &[
            VERSION,
            INFO,
            ("POST", "/v1.41/containers/create", LOST_ANSWER, ""),
            ("GET", find, 200, "[]"),
            OTHER_INFO,
            ("GET", find, 200, "[]"),
            INFO,
            ("GET", find, 200, "[]"),
        ],
    );
    assert_eq!(docker.create("i1", attributes()).unwrap_err().reaction, Reaction::UnknownOutcome);
    let fault = docker.find("i1").unwrap_err();
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Retry, "docker.other-engine"));
    assert!(docker.find("i1").unwrap().is_none());
}

#[test]
fn of_two_containers_with_one_id_the_older_stays() {
    let younger = "aa".repeat(32);
    let entry = |id: &str, name: &str, created: u64| {
        json!({
            "Id": id, "Names": [format!("/{name}")], "State": "running", "Created": created,
            "Labels": {"occopus.instance": "i1", "occopus.container": name},
        })
    };
    let mut copy = entry(&"bb".repeat(32), "copy", 1);
    copy["Labels"]["occopus.container"] = json!("web-i1");
    let both = Value::Array(vec![entry(&younger, "web-i1", 20), copy, entry(ID, "app-i1", 10)]).to_string();
    let (gone, listed) = (absent(&younger), listed("running"));
    let docker = script(
        section(),
        &[
            VERSION,
            ("GET", "/v1.41/containers/json?all=true&filters=%7B%22label", 200, &both),
            INFO,
            ("DELETE", &format!("/v1.41/containers/{younger}?"), 204, ""),
            ("GET", &format!("/v1.41/containers/{younger}/json"), 404, &gone),
            ("GET", "/v1.41/containers/json?all=true&filters=%7B%22id", 200, &listed),
        ],
    );
    assert_eq!(docker.find("i1").unwrap().unwrap().handle, handle(ID));
}

#[test]
fn a_command_that_does_not_start_leaves_nothing_behind() {
    let created = created();
    let words = refused(
        "OCI runtime create failed: unable to start container process: exec: \"nosuch\": executable file not found in $PATH",
    );
    let (start, remove) =
        (format!("/v1.41/containers/{ID}/start"), format!("/v1.41/containers/{ID}?force=true&v=true"));
    let (look, gone) = (format!("/v1.41/containers/{ID}/json"), absent(ID));
    let lines = |removal| {
        [
            VERSION,
            INFO,
            ("POST", "/v1.41/containers/create", 201, created.as_str()),
            ("POST", &start, 400, &words),
            ("DELETE", &remove, removal, ""),
            ("GET", &look, 404, &gone),
        ]
    };
    let fault = script(section(), &lines(204)).create("i1", attributes()).unwrap_err();
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::GiveUp, "docker.start-failed"));
    assert!(fault.message.contains("nosuch"));
    assert!(fault.details.iter().any(|detail| detail.message.contains("`command`")), "{fault:?}");

    let fault = script(section(), &lines(LOST_ANSWER)).create("i1", attributes()).unwrap_err();
    assert_eq!(fault.reaction, Reaction::UnknownOutcome, "it may still be there");
}

#[test]
fn images_are_fetched_only_when_they_are_missing() {
    let (no_image, created, listed) = (refused("No such image: beds/busybox:1"), created(), listed("running"));
    let create = "/v1.41/containers/create";
    for (origin, path) in [
        ("dockerhub", "/v1.41/images/create?fromImage=beds%2Fbusybox&tag=1"),
        ("", "/v1.41/images/create?fromImage=beds%2Fbusybox&tag=1"),
        ("http://h/a.tar", "/v1.41/images/create?fromSrc=http%3A%2F%2Fh%2Fa.tar&repo=beds%2Fbusybox&tag=1"),
    ] {
        let docker = script(
            with_origin(origin),
            &[
                VERSION,
                INFO,
                ("POST", create, 404, &no_image),
                ("POST", path, 200, "{\"status\":\"done\"}\r\n"),
                ("POST", create, 201, &created),
                ("POST", &format!("/v1.41/containers/{ID}/start"), 204, ""),
                ("GET", "/v1.41/containers/json", 200, &listed),
            ],
        );
        docker.create("i1", attributes()).unwrap();
        assert_eq!(testing::host(|host| host.progress.len()), 1, "the user is told why it takes longer");
    }

    let docker = script(section(), &[VERSION, INFO, ("POST", create, 404, &no_image)]);
    let fault = docker.create("i1", attributes()).unwrap_err();
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::GiveUp, "docker.no-such-image"));
    assert!(fault.message.contains("beds/busybox:1") && points_at(&fault, "/image"), "{fault:?}");
}

#[test]
fn failures_to_fetch_are_told_apart() {
    let no_image = refused("No such image: beds/busybox:1");
    let denied =
        refused("pull access denied for nosuch/image, repository does not exist or may require 'docker login'");
    let absent = refused("failed to GET http://h/a.tar with status 404 File not found");
    let lookup = refused("Get \"http://h/a.tar\": dial tcp: lookup h: no such host");
    let scheme = refused("Get \"ftp://h/a.tar\": unsupported protocol scheme \"ftp\"");
    let broken = "{\"status\":\"Importing\"}\r\n{\"errorDetail\":{\"message\":\"unexpected EOF\"},\"error\":\"unexpected EOF\"}\r\n";
    let full = "{\"error\":\"write /x: no space left on device\"}";
    for (origin, status, body, reaction, pointer) in [
        ("dockerhub", 404, denied.as_str(), Reaction::Denied, "/image"),
        ("dockerhub", 500, &lookup, Reaction::Retry, "/image"),
        ("dockerhub", 200, broken, Reaction::Retry, "/image"),
        ("dockerhub", 200, full, Reaction::NoCapacity, "/image"),
        ("http://h/a.tar", 404, &absent, Reaction::GiveUp, "/origin"),
        ("http://h/a.tar", 500, &lookup, Reaction::Retry, "/origin"),
        ("ftp://h/a.tar", 500, &scheme, Reaction::GiveUp, "/origin"),
        ("http://h/a.tar", 200, broken, Reaction::GiveUp, "/origin"),
        ("dockerhub", LOST_ANSWER, "", Reaction::Retry, "/endpoint"),
    ] {
        let docker = script(
            with_origin(origin),
            &[
                VERSION,
                INFO,
                ("POST", "/v1.41/containers/create", 404, &no_image),
                ("POST", "/v1.41/images/create", status, body),
            ],
        );
        let fault = docker.create("i1", attributes()).unwrap_err();
        assert_eq!(fault.reaction, reaction, "{origin} {body}");
        assert!(points_at(&fault, pointer), "{fault:?}");
    }
}

#[test]
fn an_origin_that_is_none_is_refused_before_anything_else() {
    let fault = script(with_origin("dokcerhub"), &[]).create("i1", attributes()).unwrap_err();
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::GiveUp, "docker.bad-origin"));
    assert!(points_at(&fault, "/origin"));
}

#[test]
fn many_are_observed_in_few_requests() {
    let (running, witness) = (listed("running"), absent(&format!("{:064x}", 1)));
    let find = "/v1.41/containers/json?all=true&filters=%7B%22id%22";
    let later = |n: usize| absent(&format!("{:064x}", 1 + 100 * n));
    let (second, third) = (later(1), later(2));
    let inspect = |n: usize| format!("/v1.41/containers/{:064x}/json", 1 + 100 * n);
    let (a, b, c) = (inspect(0), inspect(1), inspect(2));
    let docker = script(
        section(),
        &[
            VERSION,
            ("GET", find, 200, &running),
            ("GET", find, 200, "[]"),
            ("GET", find, 200, "[]"),
            INFO,
            ("GET", find, 200, "[]"),
            ("GET", &a, 404, &witness),
            ("GET", find, 200, "[]"),
            ("GET", &b, 404, &second),
            ("GET", find, 200, "[]"),
            ("GET", &c, 404, &third),
        ],
    );
    let handles: Vec<Handle> =
        std::iter::once(ID.to_owned()).chain((1..300).map(|n| format!("{n:064x}"))).map(handle).collect();
    let observed = docker.observe(&handles).unwrap();
    assert_eq!(observed.len(), 300);
    assert_eq!(observed[0].phase, Phase::Running);
    assert!(
        observed[1..].iter().zip(&handles[1..]).all(|(seen, asked)| seen.phase == Phase::Gone && seen.handle == *asked)
    );
    assert_eq!(asked(), 11);
    assert!(testing::host(|host| host.requests.iter().all(|request| request.url.len() < 8000)));

    assert!(script(section(), &[]).observe(&[]).unwrap().is_empty());
}

#[test]
fn a_container_is_gone_only_when_its_own_engine_says_so() {
    let (list, look, gone) = ("/v1.41/containers/json", format!("/v1.41/containers/{ID}/json"), absent(ID));
    let observe = |lines: &[(&str, &str, u16, &str)], handle: Handle| script(section(), lines).observe(&[handle]);
    let proven = [VERSION, ("GET", list, 200, "[]"), INFO, ("GET", &look, 404, &gone)];
    for handle in [handle(ID), Handle::new(1, ID)] {
        assert_eq!(observe(&proven, handle.clone()).unwrap()[0].phase, Phase::Gone);
        assert_eq!(testing::host(|host| host.requests.len()), 4);
    }

    let fault = observe(&[VERSION, ("GET", list, 200, "[]"), OTHER_INFO], handle(ID)).unwrap_err();
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Retry, "docker.other-engine"));
    let denied = observe(&[VERSION, ("GET", list, 200, "[]"), ("GET", "/v1.41/info", 403, "")], handle(ID));
    assert_eq!(denied.unwrap_err().reaction, Reaction::Denied);
    let there = inspected("running", 0);
    let fault = observe(&[VERSION, ("GET", list, 200, "[]"), INFO, ("GET", &look, 200, &there)], handle(ID));
    assert_eq!(fault.unwrap_err().code, "docker.still-there", "one answer is not enough");
    for (status, body) in FOREIGN_ANSWERS {
        for lines in [
            vec![VERSION, ("GET", list, status, body)],
            vec![VERSION, ("GET", list, 200, "[]"), ("GET", "/v1.41/info", status, body)],
            vec![VERSION, ("GET", list, 200, "[]"), INFO, ("GET", &look, status, body)],
        ] {
            let fault = observe(&lines, handle(ID)).unwrap_err();
            assert_eq!(fault.reaction, Reaction::Retry, "{status} {body} {fault:?}");
        }
    }
}

#[test]
fn what_is_seen_is_told_although_another_engine_has_the_rest() {
    let (list, running) = ("/v1.41/containers/json", listed("running"));
    let docker = script(section(), &[VERSION, ("GET", list, 200, &running), INFO]);
    let elsewhere = Reference { container: "ab".repeat(32), engine: Some("ENGINE:2".to_owned()) }.handle();
    let observed = docker.observe(&[handle(ID), elsewhere.clone()]).unwrap();
    assert_eq!(observed[0].phase, Phase::Running);
    assert_eq!((observed[1].phase, &observed[1].handle), (Phase::Unknown, &elsewhere));
    assert!(observed[1].message.as_ref().unwrap().contains("ENGINE:2"));
}

#[test]
fn the_end_of_a_container_is_explained() {
    let (exited, ended) = (listed("exited"), inspected("exited", 3));
    let docker = script(
        section(),
        &[
            VERSION,
            ("GET", "/v1.41/containers/json", 200, &exited),
            ("GET", &format!("/v1.41/containers/{ID}/json"), 200, &ended),
        ],
    );
    let observed = docker.observe(&[handle(ID)]).unwrap();
    assert_eq!(observed[0].phase, Phase::Stopped);
    assert_eq!(observed[0].message.as_deref(), Some("the container ended (exit status 3)"));
}

#[test]
fn output_is_handed_over() {
    let logs = format!("/v1.41/containers/{ID}/logs?stdout=true&stderr=true&tail=20");
    let stream = "\u{2}\0\0\0\0\0\0\u{7}reason\n";
    let docker = script(section(), &[VERSION, ("GET", &logs, 200, stream)]);
    assert_eq!(docker.tail(&handle(ID), 20).unwrap(), "reason\n");
    for (status, words, reaction) in [
        (404, absent(ID), Reaction::NotFound),
        (404, refused("no Route matched with those values"), Reaction::Retry),
        (501, refused("configured logging driver does not support reading"), Reaction::Unsupported),
        (500, refused("configured logging driver does not support reading"), Reaction::Unsupported),
    ] {
        let docker = script(section(), &[VERSION, ("GET", &logs, status, &words)]);
        assert_eq!(docker.tail(&handle(ID), 20).unwrap_err().reaction, reaction, "{status} {words}");
    }
}

#[test]
fn destroy_confirms_what_it_claims() {
    let (delete, look) = (format!("/v1.41/containers/{ID}?force=true&v=true"), format!("/v1.41/containers/{ID}/json"));
    let (gone, there) = (absent(ID), inspected("running", 0));
    let destroy = |lines: &[(&str, &str, u16, &str)], handle: Handle| {
        script(section(), lines).destroy(&handle).err().map(|fault| fault.reaction)
    };
    let removed = ("DELETE", delete.as_str(), 204, "");
    let unknown = ("DELETE", delete.as_str(), 404, gone.as_str());
    let (proof, denial) = (("GET", look.as_str(), 404, gone.as_str()), ("GET", look.as_str(), 200, there.as_str()));
    for handle in [handle(ID), Handle::new(1, ID)] {
        assert_eq!(destroy(&[VERSION, removed, proof], handle.clone()), None);
        assert_eq!(destroy(&[VERSION, removed, denial], handle.clone()), Some(Reaction::Retry));
        assert_eq!(destroy(&[VERSION, unknown, INFO, proof], handle.clone()), None);
        assert_eq!(destroy(&[VERSION, unknown, INFO, denial], handle), Some(Reaction::Retry));
    }
    assert_eq!(destroy(&[VERSION, unknown, OTHER_INFO], handle(ID)), Some(Reaction::Retry));
    let busy = refused("removal of container x is already in progress");
    assert_eq!(destroy(&[VERSION, ("DELETE", &delete, 409, &busy), INFO, proof], handle(ID)), None);
    assert_eq!(destroy(&[VERSION, ("DELETE", &delete, 409, &busy), INFO, denial], handle(ID)), Some(Reaction::Retry));
    for (status, body) in FOREIGN_ANSWERS.into_iter().chain([(204, "")]) {
        let lines = [VERSION, ("DELETE", delete.as_str(), status, body), denial];
        let reaction = destroy(&lines, handle(ID));
        assert!(matches!(reaction, Some(Reaction::Retry | Reaction::UnknownOutcome)), "{status} {body} {reaction:?}");
    }
}

#[test]
fn refusals_to_destroy_are_told_apart() {
    for (status, words, expected) in [
        (409, refused("something else"), Reaction::Retry),
        (500, refused("could not kill"), Reaction::Retry),
        (429, String::new(), Reaction::Retry),
        (LOST_ANSWER, String::new(), Reaction::UnknownOutcome),
        (NO_CONNECTION, String::new(), Reaction::Retry),
        (401, String::new(), Reaction::Denied),
        (403, refused("no"), Reaction::Denied),
    ] {
        let docker = script(
            section(),
            &[VERSION, ("DELETE", &format!("/v1.41/containers/{ID}?force=true&v=true"), status, &words)],
        );
        assert_eq!(docker.destroy(&handle(ID)).unwrap_err().reaction, expected, "{status} {words}");
    }
}

#[test]
fn a_creation_that_a_stranger_answers_is_no_creation() {
    let create = "/v1.41/containers/create";
    for (status, body) in FOREIGN_ANSWERS {
        for lines in
            [vec![VERSION, ("GET", "/v1.41/info", status, body)], vec![VERSION, INFO, ("POST", create, status, body)]]
        {
            let fault = script(section(), &lines).create("i1", attributes()).unwrap_err();
            let fine = matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome);
            assert!(fine && fault.code != "docker.no-such-image", "{status} {body} {fault:?}");
        }
    }
    for id in ["", " ", "../images/prune", &"a".repeat(5000)] {
        let answer = json!({"Id": id, "Warnings": []}).to_string();
        let fault = script(section(), &[VERSION, INFO, ("POST", create, 201, &answer)]).create("i1", attributes());
        assert_eq!(fault.unwrap_err().reaction, Reaction::UnknownOutcome, "{id:.20}");
    }
    // A gateway that gave up waiting may have passed it on.
    let docker = script(section(), &[VERSION, INFO, ("POST", create, 504, "timeout")]);
    assert_eq!(docker.create("i1", attributes()).unwrap_err().reaction, Reaction::UnknownOutcome);
}

#[test]
fn a_section_is_checked_without_an_engine() {
    let pointers = |change: Value, attributes: Value| -> Vec<String> {
        let mut section = section();
        section.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let found = script(section, &[]).check(attributes).unwrap();
        assert!(found.iter().all(|detail| !detail.message.is_empty()));
        found.into_iter().map(|detail| detail.pointer).collect()
    };
    let none = Vec::<String>::new();
    assert_eq!(pointers(json!({}), attributes()), none);
    for endpoint in ["unix:///var/run/docker.sock", "unix://var/run/docker.sock", "http://h:2375", "h:2375"] {
        assert_eq!(pointers(json!({"endpoint": endpoint}), attributes()), none, "{endpoint}");
    }
    for endpoint in ["unix://", "unix:/a", "unix:///a/../b", "replace_with_your_docker_endpoint"] {
        assert_eq!(pointers(json!({"endpoint": endpoint}), attributes()), ["/endpoint"], "{endpoint}");
    }
    assert_eq!(pointers(json!({"image": "a:1", "tag": "2"}), attributes()), ["/tag"]);
    assert_eq!(pointers(json!({"image": "No Such Image", "origin": "dokcerhub"}), attributes()), ["/image", "/origin"]);
    assert_eq!(pointers(json!({}), json!({"command": "it's"})), [""]);
}

#[test]
fn the_inventory_comes_in_pages_and_survives_a_lost_place() {
    let entry = |n: usize| {
        json!({
            "Id": format!("{n:064x}"), "Names": [format!("/a-i{n}")], "State": "running",
            "Labels": {"occopus.instance": format!("i{n}")},
        })
    };
    let full = Value::Array((0..500).map(entry).collect()).to_string();
    let rest = Value::Array((500..502).map(entry).collect()).to_string();
    let lost = refused("no such container 01f3");
    let list = "/v1.41/containers/json?all=true&limit=500&filters=";
    let docker = script(
        section(),
        &[
            VERSION,
            ("GET", list, 200, &full),
            INFO,
            ("GET", list, 200, &rest),
            ("GET", list, 500, &lost),
            ("GET", "/v1.41/containers/json?all=true&filters=", 200, &full),
        ],
    );
    let first = docker.list_owned(None).unwrap();
    assert_eq!(first.machines.len(), 500);
    let cursor = first.cursor.unwrap();
    let second = docker.list_owned(Some(&cursor)).unwrap();
    assert_eq!((second.machines.len(), second.cursor), (2, None));
    let again = docker.list_owned(Some(&cursor)).unwrap();
    assert_eq!((again.machines.len(), again.cursor), (500, None));
}

#[test]
fn an_empty_inventory_is_the_engines_word() {
    let list = "/v1.41/containers/json";
    let page = script(section(), &[VERSION, ("GET", list, 200, "[]"), INFO, ("GET", list, 200, "[]")]).list_owned(None);
    assert!(page.unwrap().machines.is_empty());
    for (status, body) in FOREIGN_ANSWERS {
        for lines in [
            vec![VERSION, ("GET", list, status, body)],
            vec![VERSION, ("GET", list, 200, "[]"), ("GET", "/v1.41/info", status, body)],
        ] {
            let fault = script(section(), &lines).list_owned(None).unwrap_err();
            assert_eq!(fault.reaction, Reaction::Retry, "{status} {body}");
        }
    }
}

#[test]
fn the_version_is_agreed_on_and_remembered() {
    for (newest, oldest, agreed) in
        [("1.41", "1.12", "1.41"), ("1.52", "1.44", "1.44"), ("1.60", "1.50", "1.50"), ("1.47", "1.24", "1.44")]
    {
        let version = json!({"ApiVersion": newest, "MinAPIVersion": oldest}).to_string();
        let (list, handles) = (format!("/v{agreed}/containers/json"), [handle(ID)]);
        let listed = listed("running");
        let docker = script(
            section(),
            &[("GET", "/version", 200, &version), ("GET", &list, 200, &listed), ("GET", &list, 200, &listed)],
        );
        docker.observe(&handles).unwrap();
        docker.observe(&handles).unwrap();
    }
}

#[test]
fn what_is_no_engine_is_said_so_and_asked_again() {
    for (status, body) in FOREIGN_ANSWERS.into_iter().chain([(429, ""), (503, ""), (200, "{\"ApiVersion\":\"new\"}")]) {
        let fault = script(section(), &[("GET", "/version", status, body)]).observe(&[handle(ID)]).unwrap_err();
        assert_eq!(fault.reaction, Reaction::Retry, "{status} {body}");
        assert!(points_at(&fault, "/endpoint") || status >= 429, "{fault:?}");
    }
    for status in [401, 403] {
        let fault = script(section(), &[("GET", "/version", status, "")]).observe(&[handle(ID)]).unwrap_err();
        assert_eq!(fault.reaction, Reaction::Denied);
    }
    let fault = script(section(), &[("GET", "/version", NO_CONNECTION, "")]).find("i1").unwrap_err();
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Retry, "docker.unreachable"));
}

#[test]
fn the_schema_names_what_is_needed() {
    let schema = testing::section_schema::<crate::Section>();
    assert_eq!(schema["required"], json!(["endpoint", "image"]));
    assert_eq!(schema["additionalProperties"], json!(false));
}
