//! Events of the service: by the page, and as a stream.

use occopus_tests::processes::unique_sleep_seconds;
use occopus_tests::service::{Service, StreamEvent, document};
use serde_json::{Value, json};

/// Returns a description of many nodes in a few layers, so that a build takes a while.
fn large(mark: &str) -> String {
    let nodes: Vec<_> =
        (0..12).map(|at| format!("{{name: n{at}, type: sleeper, scaling: {{min: 2, max: 4}}}}")).collect();
    let nodes: Vec<_> = nodes.iter().map(String::as_str).collect();
    let dependencies: String = (3..12).map(|at| format!("- [n{at}, n{}]\n", at - 3)).collect();
    document(&nodes, mark, 9).replacen("node_def:", &format!("dependencies:\n{dependencies}node_def:"), 1)
}

fn ids(events: &[StreamEvent]) -> Vec<u64> {
    events.iter().filter_map(|event| event.id).collect()
}

/// Returns all events, by the page.
fn pages(service: &Service, id: &str, limit: usize) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), 0);
    loop {
        let page = service.get(&format!("/infrastructures/{id}/events?after={after}&limit={limit}")).expect(200).json();
        let found = page["events"].as_array().expect("events");
        assert!(found.len() <= limit);
        events.extend(found.clone());
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => return events,
        }
    }
}

#[test]
fn nothing_is_lost_or_told_twice_over_reconnections_while_it_builds() {
    let service = Service::start();
    let mark = unique_sleep_seconds(121);
    let path = "/infrastructures/large/events";
    service.get(path).problem(404, "engine.unknown-infrastructure");
    let accepted = service.request("PUT", "/infrastructures/large").send(large(&mark)).expect(202);
    // One client stays connected, one reconnects again and again.
    let steady = service.stream(&format!("{path}?after=0"), None);
    let mut received = Vec::new();
    let mut reconnections = 0;
    'all: loop {
        let stream = service.stream(&format!("{path}?after=0"), ids(&received).last().copied());
        reconnections += 1;
        for _ in 0..7 {
            let next = stream.next().expect("the build goes on");
            let is_last = next.name == "infraready";
            received.push(next);
            if is_last {
                break 'all;
            }
        }
    }
    assert!(reconnections > 10, "{reconnections}");
    assert_eq!(service.wait_for_operation(&accepted)["state"], "done");
    let all = steady.until("infraready");
    assert_eq!(received, all, "a client that reconnects gets the same");
    let numbers = ids(&all);
    assert!(
        numbers.len() == all.len() && numbers.is_sorted_by(|one, other| one < other),
        "in their order: {numbers:?}"
    );
    let created = all.iter().filter(|event| event.name == "nodecreated").count();
    assert_eq!((created, all[0].name.as_str()), (24, "infrastart"));
    for event in &all {
        assert_eq!((event.data["id"].as_u64(), event.data["event"].as_str()), (event.id, Some(event.name.as_str())));
        assert_eq!(event.data["infra_id"], "large");
    }
    let paged = pages(&service, "large", 7);
    let streamed: Vec<_> = all.iter().map(|event| event.data.clone()).collect();
    assert_eq!(paged[..streamed.len()], streamed, "and so does who reads pages");
    let printed = service.home.ok(["events", "-i", "large", "--output", "json"]).stdout;
    assert!(printed.contains("infraready"));

    // Without another position, the stream begins now.
    let from_now = service.stream(path, None);
    let beyond = service.stream(path, Some(1_000_000));
    assert_eq!(beyond.until("infraready").len(), all.len(), "a number that was not reached is of another life");
    let removal =
        service.request("DELETE", "/infrastructures/large").header("prefer", "respond-async").send("").expect(202);
    let last = from_now.until("infradrop");
    assert!(last[0].id > numbers.last().copied(), "{:?}", last[0]);
    assert_eq!(from_now.next(), None);
    // None is missing, although they are gone with the infrastructure before they could be read from the store.
    let dropped = ids(&last);
    assert_eq!(dropped, (dropped[0]..dropped[0] + dropped.len() as u64).collect::<Vec<_>>());
    assert_eq!(last.iter().filter(|event| event.name == "nodedropped").count(), 24, "{last:#?}");
    for stream in [steady, beyond] {
        let rest = stream.until("infradrop");
        assert_eq!((rest.last().and_then(|event| event.id), stream.next()), (None, None), "then it ends");
    }
    assert_eq!(service.wait_for_operation(&removal)["state"], "done");
    service.get(path).problem(404, "engine.unknown-infrastructure");
}

#[test]
fn pages_have_limits() {
    let service = Service::start();
    service.build("paged", &document(&["{name: a, type: sleeper}"], &unique_sleep_seconds(122), 9));
    let at = |query: &str| service.get(&format!("/infrastructures/paged/events?{query}"));
    let page = at("limit=2").expect(200).json();
    assert_eq!((page["events"].as_array().unwrap().len(), &page["next"]), (2, &page["events"][1]["id"]));
    assert_eq!(at("after=9000000000000000").expect(200).json(), json!({"events": [], "next": null}));
    for query in ["limit=0", "limit=1001", "limit=x", "after=-1", "after=x", "from=1"] {
        at(query).problem(400, "request.query");
    }
    service.destroy("paged");
}

#[test]
fn a_stream_ends_with_its_token_and_with_the_service() {
    let mut service = Service::start();
    service.build("watched", &document(&["{name: a, type: sleeper}"], &unique_sleep_seconds(123), 9));
    let path = "/infrastructures/watched/events";
    let anybody = service.stream(path, None);
    let token = service.new_token("watcher", "read", &["watched"]);
    let other = service.new_token("boss", "admin", &[]);
    assert_eq!(anybody.next(), None, "from now on a token is needed");
    service.get(path).problem(401, "access.unauthenticated");
    service.token = Some(token);
    let watched = service.stream(path, None);
    service.home.ok(["token", "revoke", "watcher"]);
    assert_eq!(watched.next(), None, "the token is no good any more");
    service.token = Some(other);
    let watched = service.stream(path, None);
    assert!(service.stop(), "in good order: {}", service.log());
    assert_eq!(watched.next(), None);
}

#[test]
fn who_comes_back_to_another_infrastructure_of_the_same_id_misses_nothing_of_it() {
    let service = Service::start();
    let mark = unique_sleep_seconds(124);
    let path = "/infrastructures/again/events";
    let one = document(&["{name: a, type: sleeper}"], &mark, 9);
    service.build("again", &one);
    let first = pages(&service, "again", 100);
    let last = first.last().and_then(|event| event["id"].as_u64()).expect("a number");
    service.destroy("again");
    // It has more events than the first one had, so that its numbers would be larger if they began anew.
    service.build("again", &large(&mark).replace("min: 2", "min: 1"));
    let events = service.stream(path, Some(last)).until("infraready");
    assert_eq!(events[0].name, "infrastart", "from its beginning");
    let read = service.get(&format!("{path}?after={last}&limit=1")).expect(200).json();
    assert_eq!(read["events"][0]["event"], "infrastart");
    service.destroy("again");
}
