//! Webhooks against a faulty server: it fails at first, and is unreachable for a while.

use std::net::TcpListener;

use occopus_tests::processes::{unique_sleep_seconds, write_sleeper};
use occopus_tests::{CollectedRequests, Occopus, collect};
use serde_json::Value;

fn write(occopus: &Occopus, port: u16, test: u32) {
    let description = format!(
        "infra_name: told\nuser_id: tester\nnodes:\n- {{name: a, type: sleeper}}\nwebhooks:\n\
         - url: http://127.0.0.1:{port}/hook\n  events: [infrastart, nodecreated, infraready, infradrop]\n"
    );
    occopus.write("infra.yaml", description);
    write_sleeper(occopus, &format!("exec sleep {}", unique_sleep_seconds(test)), "ping: false");
    occopus.write_private("home/auth_data.yaml", "webhook:\n- auth_data: {secret: s3cr3t-of-the-hook}\n");
}

fn event(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("JSON")
}

fn names(posted: &CollectedRequests) -> Vec<String> {
    posted.lock().unwrap().iter().map(|post| event(&post.body)["event"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn events_are_told_signed_in_order_and_again_after_a_failure() {
    let occopus = Occopus::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    write(&occopus, listener.local_addr().expect("an address").port(), 51);
    let posted = collect(listener, &["500 Broken", "429 Too Many Requests"]);
    let id = occopus.ok(["build", "infra.yaml"]).id();
    assert_eq!(names(&posted), ["infrastart", "nodecreated", "infraready"]);
    {
        let posted = posted.lock().unwrap();
        let headers = &posted[0].headers;
        assert_eq!(event(&posted[0].body)["infra_id"], id.as_str());
        assert_eq!(headers["webhook-id"], format!("{id}.{}", event(&posted[0].body)["id"]));
        assert_eq!(headers["content-type"], "application/json");
        let signed = posted.iter().all(|post| post.headers["webhook-signature"].starts_with("v1,"));
        assert!(signed && headers["webhook-timestamp"].parse::<u64>().is_ok());
    }
    occopus.ok(["destroy", "-i", &id]);
    assert_eq!(names(&posted).last().map(String::as_str), Some("infradrop"));
    let stored = std::fs::read(occopus.home().join("store.db")).expect("the store");
    assert!(!stored.windows(18).any(|window| window == b"s3cr3t-of-the-hook"), "the secret is not stored");
}

#[test]
fn every_event_that_is_stored_can_be_asked_for() {
    let occopus = Occopus::new();
    write(&occopus, 9, 54);
    let text = std::fs::read_to_string(occopus.directory().join("infra.yaml")).expect("the description");
    for name in occopus_engine::EventKind::NAMES {
        let (before, rest) = text.split_once("events: [").expect("a list");
        let (_, after) = rest.split_once(']').expect("its end");
        occopus.write("infra.yaml", format!("{before}events: [{name}]{after}"));
        occopus.ok(["validate", "infra.yaml"]);
    }
}

#[test]
fn what_could_not_be_told_is_told_by_the_next_run() {
    let occopus = Occopus::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    write(&occopus, address.port(), 52);
    let built = occopus.ok(["build", "infra.yaml"]);
    assert!(built.stderr.contains("could not be delivered to webhooks"), "{}", built.stderr);
    let posted = collect(TcpListener::bind(address).expect("the same port"), &[]);
    occopus.ok(["maintain", "-i", &built.id()]);
    assert_eq!(names(&posted), ["infrastart", "nodecreated", "infraready"]);
    occopus.ok(["maintain", "-i", &built.id()]);
    assert_eq!(names(&posted).len(), 3, "no event is delivered twice");
    occopus.ok(["destroy", "-i", &built.id()]);
}

#[test]
fn the_url_may_be_a_secret() {
    let occopus = Occopus::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    write(&occopus, address.port(), 53);
    let text = std::fs::read_to_string(occopus.directory().join("infra.yaml")).expect("the description");
    occopus.write("infra.yaml", text.replace(&format!("url: http://{address}/hook"), "name: ops"));
    let credentials = format!("webhook:\n- name: ops\n  auth_data: {{url: 'http://{address}/services/h1dden'}}\n");
    occopus.write("home/auth_data.yaml", credentials);
    let posted = collect(listener, &["400 Bad Request"]);
    let built = occopus.ok(["build", "-v", "infra.yaml"]);
    assert_eq!(names(&posted), ["nodecreated", "infraready"], "what is refused is not repeated");
    assert!(built.stderr.contains("rejects an event") && !built.stderr.contains("h1dden"), "{}", built.stderr);
    assert_eq!(posted.lock().unwrap()[0].path, "/services/h1dden");
    occopus.ok(["destroy", "-i", &built.id()]);
    for file in ["store.db", "store.db-wal"] {
        let stored = std::fs::read(occopus.home().join(file)).unwrap_or_default();
        assert!(!stored.windows(6).any(|window| window == b"h1dden"), "{file}");
    }
}
