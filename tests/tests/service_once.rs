//! Concurrent and repeated requests: one wins, and everything is done once.

use std::collections::BTreeSet;

use occopus_tests::processes::{processes_with, unique_sleep_seconds};
use occopus_tests::service::{Answer, Service, definitions, document};
use occopus_tests::wait::eventually;
use serde_json::Value;

const ONE: [&str; 1] = ["{name: db, type: sleeper}"];
const WEB: [&str; 1] = ["{name: web, type: sleeper, scaling: {min: 1, max: 9}}"];
/// Number of concurrent clients.
const CONCURRENT_CLIENTS: usize = 8;

/// Sends a request of each client at once, and returns the responses.
fn concurrently(send: impl Fn(usize) -> Answer + Sync) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let send = &send;
        let threads: Vec<_> = (0..CONCURRENT_CLIENTS).map(|client| scope.spawn(move || send(client))).collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    })
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    statuses
}

#[test]
fn of_several_who_change_what_they_have_seen_one_wins() {
    let service = Service::start();
    let mark = unique_sleep_seconds(171);
    let described =
        |name: &str| document(&ONE, &mark, 9).replace("infra_name: sleepers", &format!("infra_name: {name}"));
    let path = "/infrastructures/contested";
    let mut one_and_others = vec![412; CONCURRENT_CLIENTS - 1];
    one_and_others.insert(0, 202);
    for round in 0..3 {
        let tag = match round {
            0 => None,
            _ => Some(service.get(&format!("{path}/description")).expect(200).header("etag").to_owned()),
        };
        let answers = concurrently(|client| {
            let ask = match &tag {
                None => service.request("PUT", path).header("if-none-match", "*"),
                Some(tag) => service.request("PUT", path).header("if-match", tag),
            };
            ask.send(described(&format!("round-{round}-of-{client}")))
        });
        assert_eq!(statuses(&answers), one_and_others, "round {round}");
        let (winner, won) = answers.iter().enumerate().find(|(_, answer)| answer.status == 202).expect("one");
        // Readers see the accepted description at once, also before the operation has begun.
        let promised = service.get(&format!("{path}/description")).expect(200).json();
        let expected = format!("round-{round}-of-{winner}");
        assert_eq!(promised["infra_name"], expected);
        assert_eq!(service.wait_for_operation(won)["state"], "done");
        assert_eq!(service.get(&format!("{path}/description")).expect(200).json()["infra_name"], expected);
        for lost in answers.iter().filter(|answer| answer.status == 412) {
            lost.problem(412, "description.changed");
        }
    }
    service.request("DELETE", path).send("").expect(200);
}

#[test]
fn a_removal_that_was_promised_is_superseded_by_nothing() {
    let service = Service::start();
    let mark = unique_sleep_seconds(172);
    let text = document(&ONE, &mark, 9);
    for round in 0..6 {
        let path = format!("/infrastructures/going-{round}");
        service.build(&format!("going-{round}"), &text);
        let answers = concurrently(|client| match client {
            0 => service.request("DELETE", &path).header("prefer", "respond-async").send(""),
            1 => service.post(&format!("{path}/maintain")),
            2 => service.post(&format!("{path}/attach")),
            3 => service.request("DELETE", &path).header("prefer", "respond-async").send(""),
            _ => service.request("PUT", &path).send(&text),
        });
        for removal in [&answers[0], &answers[3]].into_iter().filter(|answer| answer.status == 202) {
            let ended = service.wait_for_operation_at(removal.json()["operation"].as_str().expect("a path"));
            assert_eq!((&ended["kind"], &ended["state"]), (&"destroy".into(), &"done".into()), "{ended:#}");
        }
        for answer in &answers {
            assert!([200, 202, 404, 409].contains(&answer.status), "{}: {}", answer.status, answer.text());
        }
    }
    // Some were created again after their removal had ended.
    for round in 0..6 {
        let path = format!("/infrastructures/going-{round}");
        let gone = service.request("DELETE", &path).send("").status;
        assert!([200, 404].contains(&gone), "{gone}");
    }
    assert_eq!(processes_with(&mark), 0);
}

/// A request for each route that changes something, each with an effect of its own: on the infrastructure `once`, or on another
/// one. The test fails if a new route is missing here.
fn requests(text: &str, types: &str, instance: &str) -> Vec<(&'static str, String, String)> {
    let list = types.lines().skip(1).take_while(|line| !line.starts_with("node_def:"));
    let list = list.map(|line| format!("{line}\n")).collect::<String>();
    let on = |route: &str| format!("/infrastructures/once{route}");
    let all: [(&str, String, &str); 19] = [
        ("POST /infrastructures", "/infrastructures".into(), text),
        ("PUT /infrastructures/{id}", on(""), text),
        ("POST /infrastructures/{id}/plan", on("/plan"), text),
        ("POST /validate", "/validate".into(), text),
        ("POST /infrastructures/{id}/detach", on("/detach"), ""),
        ("POST /infrastructures/{id}/attach", on("/attach"), ""),
        ("POST /infrastructures/{id}/suspend", on("/suspend"), ""),
        ("POST /infrastructures/{id}/resume", on("/resume"), ""),
        ("POST /infrastructures/{id}/notify", on("/notify"), ""),
        ("POST /infrastructures/{id}/maintain", on("/maintain"), ""),
        ("POST /infrastructures/{id}/scaleup/{node}", on("/scaleup/web"), ""),
        ("POST /infrastructures/{id}/scaleup/{node}/{count}", on("/scaleup/web/2"), ""),
        ("POST /infrastructures/{id}/scaledown/{node}", on("/scaledown/web"), ""),
        ("POST /infrastructures/{id}/scaledown/{node}/{instance}", on(&format!("/scaledown/web/{instance}")), ""),
        ("POST /infrastructures/{id}/scaleto/{node}/{count}", on("/scaleto/web/4"), ""),
        ("DELETE /infrastructures/{id}", on(""), ""),
        ("POST /definitions", "/definitions".into(), types),
        ("PUT /definitions/{type}", "/definitions/other".into(), &list),
        ("DELETE /definitions/{type}", "/definitions/other".into(), ""),
    ];
    all.into_iter().map(|(route, path, body)| (route, path, body.to_owned())).collect()
}

#[test]
fn every_request_that_changes_something_is_done_once_under_its_key() {
    let service = Service::start();
    let mark = unique_sleep_seconds(173);
    let (text, types) = (document(&WEB, &mark, 9), definitions(&mark, 9));
    service.build("once", &text.replace("min: 1", "min: 2"));
    let nodes = service.get("/infrastructures/once").expect(200).json();
    let instance = nodes["web"]["instances"].as_object().expect("instances").keys().next().expect("one").clone();
    let requests = requests(&text, &types, &instance);

    let document = service.get("/openapi.json").expect(200).json();
    let mut routes = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in
            operations.as_object().expect("operations").iter().filter(|(method, _)| *method != "get")
        {
            routes.insert(format!("{} {path}", method.to_uppercase()));
            let parameters = operation["parameters"].as_array().expect("parameters");
            assert!(parameters.iter().any(|one| one["name"] == "Idempotency-Key"), "{method} {path}");
        }
    }
    let known: BTreeSet<_> = requests.iter().map(|(route, ..)| (*route).to_owned()).collect();
    assert_eq!(known, routes, "each route that changes something is tried here");

    let target = || service.get("/infrastructures/once").json()["web"]["scaling"]["target"].as_u64();
    for (route, path, body) in &requests {
        let method = route.split(' ').next().expect("a method");
        let ask = |path: &str, body: &str| {
            service.request(method, path).header("idempotency-key", &format!("key of {route}")).send(body)
        };
        let before = target();
        let first = ask(path, body);
        assert!((200..300).contains(&first.status), "{route}: {}", first.text());
        assert_eq!(first.header("idempotency-replayed"), "", "{route}");
        for _ in 0..2 {
            let again = ask(path, body);
            let answer = |answer: &Answer| (answer.status, answer.text(), answer.header("location").to_owned());
            assert_eq!(answer(&again), answer(&first), "{route}");
            assert_eq!(again.header("idempotency-replayed"), "true", "{route}");
        }
        // Another request under the same key is rejected.
        ask(&format!("{path}?other=1"), body).problem(422, "request.key-reused");
        ask(path, &format!("{body}# other")).problem(422, "request.key-reused");
        let changed = |by: i64| before.and_then(|before| before.checked_add_signed(by));
        match *route {
            "POST /infrastructures/{id}/scaleup/{node}" => assert_eq!(target(), changed(1), "{route}"),
            "POST /infrastructures/{id}/scaleup/{node}/{count}" => assert_eq!(target(), changed(2), "{route}"),
            "POST /infrastructures/{id}/scaledown/{node}" => assert_eq!(target(), changed(-1), "{route}"),
            "POST /infrastructures" | "PUT /infrastructures/{id}" => {
                service.wait_for_operation(&first);
            }
            _ => {}
        }
        if *route == "POST /infrastructures" {
            let made = service.get("/infrastructures").json()["infrastructures"].as_array().map(Vec::len);
            assert_eq!(made, Some(2));
            let id = first.json()["infraid"].as_str().expect("an id").to_owned();
            service.destroy(&id);
        }
    }
    assert_eq!(processes_with(&mark), 0);
}

#[test]
fn a_key_is_good_for_one_request_at_once_and_after_the_service_was_killed() {
    let mut service = Service::start();
    let mark = unique_sleep_seconds(174);
    service.build("scaled", &document(&WEB, &mark, 9));
    let up = "/infrastructures/scaled/scaleup/web";
    let other = service.start_second();
    // Concurrently, at two services.
    let answers = concurrently(|client| {
        let service = if client % 2 == 0 { &service } else { &other };
        service.request("POST", up).header("idempotency-key", "one more").send("")
    });
    for answer in &answers {
        assert_eq!((answer.status, answer.text()), (200, answers[0].text()));
    }
    eventually("one more", || processes_with(&mark) == 2);
    service.kill();
    let again = other.request("POST", up).header("idempotency-key", "one more").send("").expect(200);
    assert_eq!(again.text(), answers[0].text());
    let web = other.get("/infrastructures/scaled").expect(200).json()["web"].clone();
    assert_eq!((web["scaling"]["target"].as_u64(), processes_with(&mark)), (Some(2), 2), "and no more");
    // A failed request may be repeated under its key.
    let beyond =
        || other.request("POST", "/infrastructures/scaled/scaleto/web/10").header("idempotency-key", "beyond").send("");
    beyond().problem(409, "engine.limits");
    beyond().problem(409, "engine.limits");
    let audit = other.get("/audit?limit=1000").expect(200).json();
    let count = |action: &str| {
        let entries = audit["entries"].as_array().expect("entries");
        entries.iter().filter(|entry| entry["action"].as_str().is_some_and(|found| found == action)).count()
    };
    assert_eq!(count("POST /infrastructures/{id}/scaleup/{node}"), CONCURRENT_CLIENTS + 1, "each of them has an event");
    other.destroy("scaled");
    let none: Value = other.get("/infrastructures").expect(200).json();
    assert_eq!(none["infrastructures"], serde_json::json!([]));
}
