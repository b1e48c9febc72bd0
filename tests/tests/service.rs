//! The REST service: the life of an infrastructure, and every route on the way.

use std::net::TcpListener;
use std::sync::Arc;

use occopus_tests::processes::{instances_with, kill_instance, processes_with, unique_sleep_seconds};
use occopus_tests::service::{NO_RATE_LIMITS, Service, definitions, document, free_port, is_stored};
use occopus_tests::{Occopus, collect};
use serde_json::{Value, json};

/// Two nodes, of which one can be scaled.
const PAIR: [&str; 2] = ["{name: db, type: sleeper}", "{name: web, type: sleeper, scaling: {min: 1, max: 3}}"];

fn pair(mark: &str) -> String {
    document(&PAIR, mark, 9)
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["infrastructures"].as_array().expect("ids").iter().filter_map(Value::as_str).collect()
}

#[test]
fn an_infrastructure_from_beginning_to_end() {
    let service = Service::start();
    let mark = unique_sleep_seconds(101);
    let accepted = service.request("POST", "/infrastructures/").send(pair(&mark)).expect(202);
    let (id, operation) = (accepted.json()["infraid"].clone(), accepted.json()["operation"].clone());
    let id = id.as_str().expect("an id");
    assert_eq!(accepted.header("location"), operation);
    let known = service.get(&format!("/infrastructures/{id}"));
    assert_eq!(known.status, 200, "it can be asked for as soon as it was accepted");
    let ended = service.wait_for_operation(&accepted);
    assert_eq!((&ended["state"], &ended["kind"], &ended["error"]), (&json!("done"), &json!("build"), &Value::Null));
    assert_eq!(ended["infraid"], id);
    assert!(ended["by"].is_string() && ended["requested"].is_string() && ended["ended"].is_string(), "{ended}");
    assert_eq!(processes_with(&mark), 2);

    // The shape of the Python service.
    let nodes = service.get(&format!("/infrastructures/{id}")).expect(200);
    for (node, max) in [("db", 1), ("web", 3)] {
        let node = &nodes.json()[node];
        assert_eq!(node["scaling"], json!({"actual": 1, "target": 1, "min": 1, "max": max}));
        let instance = node["instances"].as_object().expect("instances").values().next().expect("an instance").clone();
        assert_eq!(instance["state"], "ready");
        assert!(instance["resource_address"].as_str().expect("one address").starts_with("127."), "{instance}");
    }
    let slashed = service.get(&format!("/infrastructures/{id}/")).expect(200);
    assert_eq!(slashed.text(), nodes.text(), "a slash at the end changes nothing");

    // An unchanged response is not sent again.
    for path in ["", "/status", "/description"] {
        let path = format!("/infrastructures/{id}{path}");
        let first = service.get(&path).expect(200);
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag.len() > 10, "{path}: {tag}");
        for sent in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
            let again = service.request("GET", &path).header("if-none-match", &sent).send("").expect(304);
            assert_eq!((again.header("etag"), again.text().as_str()), (tag.as_str(), ""));
        }
        service.request("GET", &path).header("if-none-match", "\"other\"").send("").expect(200);
    }
    let status = service.get(&format!("/infrastructures/{id}/status")).expect(200).json();
    let here = service.home.status(id);
    assert_eq!(status["nodes"], here["nodes"], "as the command line shows it");
    let fresh = service.get(&format!("/infrastructures/{id}/status?refresh=true")).expect(200).json();
    assert_eq!(fresh["state"], "ready");
    let cost = service.get(&format!("/infrastructures/{id}/cost")).expect(200).json();
    assert_eq!(cost["totalcost"], 0);
    assert_eq!(cost["db"].as_object().expect("costs").len(), 1);
    let drawing = service.get(&format!("/infrastructures/{id}/graph.svg")).expect(200);
    assert_eq!(drawing.header("content-type"), "image/svg+xml");
    assert!(drawing.text().contains("<svg") && drawing.text().contains("web"));

    let gone = service.destroy(id);
    assert_eq!(gone.json(), json!({"infraid": id}));
    assert_eq!(processes_with(&mark), 0);
    for path in ["", "/status", "/description", "/cost", "/graph.svg", "/events"] {
        let problem =
            service.get(&format!("/infrastructures/{id}{path}")).problem(404, "engine.unknown-infrastructure");
        assert_eq!(problem["status_code"], 300, "as the existing service says it");
    }
    assert_eq!(service.get(operation.as_str().expect("a path")).expect(200).json(), ended, "it is still known");
    let operations = service.get(&format!("/infrastructures/{id}/operations")).expect(200).json();
    let kinds: Vec<_> = operations["operations"].as_array().unwrap().iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(kinds, ["destroy", "build"], "the newest first");
    service.request("DELETE", &format!("/infrastructures/{id}")).send("").problem(404, "engine.unknown-infrastructure");
}

#[test]
fn lists_are_filtered_and_come_in_pages() {
    let service = Service::start();
    assert_eq!(service.get("/infrastructures").expect(200).json()["infrastuctures"], json!([]));
    let mark = unique_sleep_seconds(102);
    for id in ["one", "two", "three"] {
        let name = format!("infra_name: name-of-{id}");
        service.build(id, &document(&PAIR[..1], &mark, 9).replace("infra_name: sleepers", &name));
    }
    let all = service.get("/infrastructures/").expect(200).json();
    assert_eq!(all["infrastuctures"], all["infrastructures"]);
    assert_eq!(ids(&all), ["one", "two", "three"], "the oldest first");
    let item = &all["items"][1];
    assert_eq!((&item["id"], &item["name"], &item["state"]), (&json!("two"), &json!("name-of-two"), &json!("ready")));
    assert_eq!((&item["suspended"], &item["attached"]), (&json!(false), &json!(true)));
    assert!(item["created"].is_string());
    service.eventually("it is maintained", || {
        service.get("/infrastructures").json()["items"][1]["owner"]["holder"].is_string()
    });

    let page = service.get("/infrastructures?limit=2").expect(200).json();
    assert_eq!(ids(&page), ["one", "two"]);
    let next = page["next"].as_str().expect("there are more");
    // The last event of the page may be removed in the meantime.
    service.destroy("two");
    let rest = service.get(&format!("/infrastructures?limit=2&after={next}")).expect(200).json();
    assert_eq!((ids(&rest), &rest["next"]), (vec!["three"], &Value::Null));
    let by_name = service.get("/infrastructures?name=of-t").expect(200).json();
    assert_eq!(ids(&by_name), ["three"]);
    let ready = service.get("/infrastructures?state=ready&name=one").expect(200).json();
    assert_eq!(ids(&ready), ["one"]);
    assert_eq!(service.get("/infrastructures?state=destroying").expect(200).json()["infrastructures"], json!([]));
    for query in ["limit=0", "limit=1001", "limit=-1", "limit=x", "state=happy", "after=nothing", "other=1"] {
        service.get(&format!("/infrastructures?{query}")).problem(400, "request.query");
    }
}

#[test]
fn a_change_is_planned_made_on_what_it_was_planned_for_and_nothing_else() {
    let service = Service::start();
    let mark = unique_sleep_seconds(103);
    let path = "/infrastructures/changing";
    let planned = service.request("POST", "/infrastructures/changing/plan").send(pair(&mark)).expect(200).json();
    assert_eq!(planned["actions"].as_array().expect("actions").len(), 2, "it need not exist: {planned}");
    let dry = service.request("PUT", &format!("{path}?dry_run=true")).send(pair(&mark)).expect(200).json();
    assert_eq!(dry, planned);
    service.get(path).problem(404, "engine.unknown-infrastructure");

    let made = service.request("PUT", path).header("if-none-match", "*").send(pair(&mark)).expect(202);
    assert_eq!(made.json()["infraid"], "changing");
    assert_eq!(service.wait_for_operation(&made)["state"], "done");
    service.request("PUT", path).header("if-none-match", "*").send(pair(&mark)).problem(412, "description.changed");

    // Its own description can be posted again, and changes nothing.
    let description = service.get("/infrastructures/changing/description").expect(200);
    assert_eq!(description.header("content-type"), "application/json");
    assert!(description.json()["node_def:sleeper"].is_array(), "with its definitions: {}", description.text());
    let plan = service.request("POST", "/infrastructures/changing/plan").send(description.text()).expect(200).json();
    let actions = plan["actions"].as_array().expect("actions");
    assert!(actions.len() == 2 && actions.iter().all(|action| action["kind"] == "check"), "{plan}");
    let before = service.ready_instances("changing", "db");
    service.build("changing", &description.text());
    let again = service.get("/infrastructures/changing/description").expect(200);
    assert_eq!((again.text(), again.header("etag")), (description.text(), description.header("etag")));

    // One more node, in a change of the description that was read.
    let larger = pair(&mark).replace("nodes:\n", "nodes:\n- {name: extra, type: sleeper}\n");
    let tag = description.header("etag");
    let changed = service.request("PUT", path).header("if-match", tag).send(&larger).expect(202);
    assert_eq!(service.wait_for_operation(&changed)["state"], "done");
    assert_eq!((processes_with(&mark), service.ready_instances("changing", "db")), (3, before.clone()));
    service.request("PUT", path).header("if-match", tag).send(pair(&mark)).problem(412, "description.changed");
    assert_eq!(processes_with(&mark), 3, "what came too late has changed nothing");
    // Drifted instances are replaced only on request.
    let other = format!("variables: {{greeting: hello}}\n{larger}")
        .replace("attributes: {command:", "attributes: {env: ['G={{variables.greeting}}'], command:");
    service.build("changing", &other);
    assert_eq!(service.ready_instances("changing", "db"), before);
    let other = other.replace("hello", "goodbye");
    let renewed = service.request("PUT", &format!("{path}?replace=changed,dependents")).send(&other).expect(202);
    assert_eq!(service.wait_for_operation(&renewed)["state"], "done");
    assert_ne!(service.ready_instances("changing", "db"), before);
    service.request("PUT", &format!("{path}?replace=all")).send(&other).problem(400, "request.query");
    service.destroy("changing");
}

#[test]
fn scaling_up_down_and_to_within_limits() {
    let service = Service::start();
    let mark = unique_sleep_seconds(104);
    service.build("scaled", &pair(&mark));
    let at = |path: &str| format!("/infrastructures/scaled/{path}");
    let web = |count: usize| {
        service.eventually(&format!("{count} instances of web"), || {
            service.ready_instances("scaled", "web").len() == count && processes_with(&mark) == count + 1
        });
        service.ready_instances("scaled", "web")
    };
    // The scripts of the autoscaling tutorials send an empty body, and ignore the answer.
    let answer = service.request("POST", &at("scaleup/web")).header("content-length", "0").send("").expect(200).json();
    assert_eq!(answer, json!({"method": "scaleup", "infraid": "scaled", "nodename": "web", "count": 1}));
    web(2);
    let answer = service.post(&at("scaleup/web/1")).expect(200).json();
    assert_eq!(answer["count"], 1);
    let three = web(3);
    let beyond = service.post(&at("scaleup/web")).problem(409, "engine.limits");
    assert_eq!(beyond["status_code"], 400, "{beyond}");
    service.post(&at("scaleto/web/4")).problem(409, "engine.limits");
    assert_eq!(web(3), three);

    // One of them, by its id and by its address.
    let answer = service.post(&at(&format!("scaledown/web/{}", three[0]))).expect(200).json();
    assert_eq!(answer, json!({"method": "scaledown", "infraid": "scaled", "nodename": "web", "nodeid": three[0]}));
    let two = web(2);
    assert!(!two.contains(&three[0]), "this one and no other");
    let nodes = service.get("/infrastructures/scaled").json();
    let address = nodes["web"]["instances"][&two[1]]["resource_address"].as_str().expect("an address").to_owned();
    service.post(&at(&format!("scaledown/web/{address}"))).expect(200);
    assert_eq!(web(1), two[..1]);
    service.post(&at("scaledown/web")).problem(409, "engine.limits");
    let answer = service.post(&at("scaleto/web/3")).expect(200).json();
    assert_eq!(answer, json!({"method": "scaleto", "infraid": "scaled", "nodename": "web", "count": 3}));
    web(3);
    let answer = service.post(&at("scaledown/web")).expect(200).json();
    assert_eq!(answer["nodeid"], Value::Null);
    web(2);
    service.post(&at("scaleup/web/0")).expect(200);

    assert_eq!(service.post(&at("scaleup/nothing")).problem(404, "engine.unknown-node")["status_code"], 300);
    service.post(&at("scaledown/web/nothing")).problem(404, "engine.unknown-instance");
    for wrong in ["scaleup/web/x", "scaleto/web/-1", "scaleto/web/4294967296", "scaleup/web/1.5"] {
        service.post(&at(wrong)).problem(400, "request.path");
    }
    service.post("/infrastructures/nothing/scaleup/web").problem(404, "engine.unknown-infrastructure");
    service.destroy("scaled");
}

#[test]
fn a_hold_is_ended_by_whoever_asks_for_it() {
    let service = Service::start();
    let mark = unique_sleep_seconds(176);
    service.build("held", &document(&["{name: db, type: sleeper, scaling: {min: 3, max: 3}}"], &mark, 9));
    service.post("/infrastructures/held/detach").expect(200);
    let runs = || instances_with(&mark).into_keys().collect::<Vec<_>>();
    for victim in runs().iter().take(2) {
        kill_instance(victim);
    }
    let maintain =
        |query: &str| service.wait_for_operation(&service.post(&format!("/infrastructures/held/maintain{query}")));
    let state = || service.get("/infrastructures/held/status").json()["state"].clone();
    assert_eq!((maintain("")["state"].clone(), state(), runs().len()), (json!("done"), json!("held"), 1));
    assert_eq!((maintain("?release=true")["state"].clone(), state()), (json!("done"), json!("ready")));
    assert_eq!(runs().len(), 3);
    service.post("/infrastructures/held/maintain?release=perhaps").problem(400, "request.query");
    service.destroy("held");
}

#[test]
fn attached_is_healed_and_detached_or_suspended_is_left_alone() {
    let service = Service::start();
    let (mark, other_mark) = (unique_sleep_seconds(105), unique_sleep_seconds(113));
    // Each is lost once: the second loss of a node would cost a pause.
    let nodes = ["a", "b", "c", "d"];
    let described = nodes.map(|name| format!("{{name: {name}, type: sleeper}}"));
    service.build("kept", &document(&described.each_ref().map(String::as_str), &mark, 9));
    service.build("other", &document(&PAIR, &other_mark, 9));
    let at = |path: &str| format!("/infrastructures/kept/{path}");
    let runs = || instances_with(&mark).into_keys().collect::<Vec<_>>();
    let lose = || {
        let victim = runs().remove(0);
        kill_instance(&victim);
        victim
    };
    // A process that runs is not enough: once it is ready, its healing has ended, and nothing interrupts that any more.
    let heals = |victim: &str| {
        service.eventually("it is replaced", || {
            let mut ready = nodes.map(|node| service.ready_instances("kept", node)).concat();
            ready.sort();
            ready.len() == nodes.len() && ready == runs() && !ready.iter().any(|id| id == victim)
        });
    };
    // By the time that an instance which was lost later is replaced, this one would be replaced, too.
    let stays_lost = |later: &str| {
        service.lose_and_heal("other", later);
        assert_eq!(runs().len(), nodes.len() - 1, "nobody replaces it: {}", service.log());
    };
    heals(&lose());
    for _ in 0..2 {
        assert_eq!(service.post(&at("attach")).expect(200).json(), json!({"infraid": "kept"}), "again is no mistake");
    }
    for _ in 0..2 {
        assert_eq!(service.post(&at("detach")).expect(200).json(), json!({"infraid": "kept"}));
    }
    service.eventually("it has no owner", || {
        let item = service.get("/infrastructures").json()["items"][0].clone();
        item["attached"] == false && item["owner"].is_null()
    });
    let victim = lose();
    stays_lost("db");
    // One pass, on request.
    let looked = service.post(&at("maintain")).expect(202);
    assert_eq!(service.wait_for_operation(&looked)["kind"], "maintain");
    heals(&victim);
    service.post(&at("attach")).expect(200);
    heals(&lose());

    assert_eq!(service.post(&at("suspend")).expect(200).json(), json!({"infraid": "kept", "suspended": true}));
    assert_eq!(service.get(&at("status")).json()["suspended"], true);
    let victim = lose();
    stays_lost("web");
    assert_eq!(service.post(&at("resume")).expect(200).json(), json!({"infraid": "kept", "suspended": false}));
    heals(&victim);

    let accepted = service
        .request("POST", &at("notify"))
        .send(r#"{"type": "fcm", "fcm": {"api_key": "k3y-that-nobody-keeps", "reg_id": 1}}"#);
    assert_eq!(accepted.expect(200).json(), json!({"infraid": "kept"}));
    assert!(!is_stored(&service.home.home(), "k3y-that-nobody-keeps"), "nothing of it is kept");
    for action in ["attach", "detach", "maintain", "suspend", "resume", "notify"] {
        let unknown = service.post(&format!("/infrastructures/nothing/{action}"));
        assert_eq!(unknown.problem(404, "engine.unknown-infrastructure")["status_code"], 300, "{action}");
    }
    service.destroy("kept");
    service.destroy("other");
}

#[test]
fn a_build_that_fails_is_rolled_back_and_says_why_and_where() {
    let service = Service::start();
    let mark = unique_sleep_seconds(106);
    let text = document(&["{name: db, type: sleeper}", "{name: web, type: sick}"], &mark, 9)
        .replace("timeout: 60", "timeout: 2");
    let accepted = service.request("POST", "/infrastructures/").send(&text).expect(202);
    let ended = service.wait_for_operation(&accepted);
    let error = &ended["error"];
    assert_eq!(ended["state"], "failed");
    assert!(error["detail"].as_str().expect("why").contains("web"), "{error:#}");
    let line = text.lines().position(|line| line.contains("node_def:sick")).expect("a line") as u64 + 1;
    let problem = &error["problems"][0];
    assert!(problem["line"].as_u64().is_some_and(|found| found > line), "in its definition: {error:#}");
    assert_eq!((processes_with(&mark), error["help"].as_str()), (0, Some("everything that this run made was removed")));
    let id = ended["infraid"].as_str().expect("an id");
    service.get(&format!("/infrastructures/{id}")).problem(404, "engine.unknown-infrastructure");
    assert_eq!(service.get("/infrastructures").json()["infrastructures"], json!([]));

    // The page shows it, its events, and its text.
    let page = |path: &str| service.request("GET", path).header("accept", "text/html").send("");
    let list = page("/").expect(200).text();
    assert!(list.contains("Could not be built") && list.contains(&format!("/ui/infrastructures/{id}\"")), "{list}");
    let failed = page(&format!("/ui/infrastructures/{id}")).expect(410).text();
    for text in
        ["sleepers", "could not be built", "web: failed", "not healthy", "rolling back 2 instances", "/change?tried"]
    {
        assert!(failed.contains(text), "{text}: {failed}");
    }
    let change = page(&format!("/ui/infrastructures/{id}/change?tried")).expect(200).text();
    assert!(change.contains("- {name: web, type: sick}") && change.contains("data-etag=\"\""), "{change}");
    // With a correct description, it is built under the same id, and is not reported as failed any more.
    let mended = text.replace("type: sick", "type: sleeper");
    let again = service.request("PUT", &format!("/infrastructures/{id}")).header("if-none-match", "*").send(&mended);
    assert_eq!(service.wait_for_operation(&again.expect(202))["state"], "done");
    assert!(page("/").expect(200).text().contains("id=\"part-failed\" aria-labelledby=\"failed-title\" hidden"));
    // A change that fails leaves what there was, and its text.
    let worse = mended.replace("node_def:sleeper", "- {name: more, type: sick}\nnode_def:sleeper");
    let worse = service.request("PUT", &format!("/infrastructures/{id}")).send(&worse).expect(202);
    assert_eq!(service.wait_for_operation(&worse)["state"], "failed");
    let shown = page(&format!("/ui/infrastructures/{id}")).expect(200).text();
    assert!(shown.contains("The last build has failed") && shown.contains("/change?tried"), "{shown}");
    let tried = page(&format!("/ui/infrastructures/{id}/change?tried")).expect(200).text();
    let current = page(&format!("/ui/infrastructures/{id}/change")).expect(200).text();
    assert!(tried.contains("- {name: more, type: sick}") && !current.contains("type: sick"), "{tried}\n{current}");
    service.destroy(id);

    // Instances of a failed build can be kept, for inspection.
    let accepted = service.request("PUT", "/infrastructures/broken?on_failure=keep").send(&text).expect(202);
    assert_eq!(service.wait_for_operation(&accepted)["state"], "failed");
    assert_eq!(service.ready_instances("broken", "db").len(), 1);
    service.destroy("broken");
    assert_eq!(processes_with(&mark), 0);
}

#[test]
fn mistakes_are_told_with_their_lines_and_nothing_is_done() {
    let service = Service::start();
    let text = pair(&unique_sleep_seconds(107)).replace("type: sleeper, scaling", "type: sleeepr, scaling");
    for (method, path) in [
        ("POST", "/infrastructures/"),
        ("POST", "/validate"),
        ("PUT", "/infrastructures/wrong"),
        ("PUT", "/infrastructures/wrong?dry_run=true"),
        ("POST", "/infrastructures/wrong/plan"),
    ] {
        let problem = service.request(method, path).send(&text).problem(400, "files.invalid");
        let first = &problem["problems"][0];
        assert_eq!((&first["line"], &first["severity"]), (&json!(5), &json!("error")), "{method} {path}: {problem:#}");
        assert_eq!(problem["status_code"], 400);
    }
    assert_eq!(service.get("/infrastructures").json()["infrastructures"], json!([]));
    let valid = service.request("POST", "/validate").send(pair("1")).expect(200).json();
    assert_eq!(valid["valid"], true);
    let doubtful = service.request("POST", "/validate").send(pair("1").replace("user_id: tester\n", "")).json();
    assert!(doubtful["warnings"].is_array() || doubtful["problems"].is_array(), "{doubtful}");
    service.post("/infrastructures/").problem(400, "body.empty");
}

/// Returns the initial text of a new description on the page.
fn starter(service: &Service) -> String {
    let html = service.request("GET", "/ui/new").header("accept", "text/html").send("").expect(200).text();
    let text = html.split_once("<textarea").and_then(|(_, rest)| rest.split_once(">\n")).expect("a text").1;
    let text = text.split_once("</textarea>").expect("an end").0;
    let escaped = [("&#34;", "\""), ("&#39;", "'"), ("&#60;", "<"), ("&#62;", ">"), ("&#38;", "&")];
    escaped.into_iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[test]
fn what_a_new_description_begins_with_can_be_built() {
    let service = Service::start();
    service.build("starter", &starter(&service));
    assert_eq!(service.ready_instances("starter", "client").len(), 2);
    service.destroy("starter");
    drop(service);
    // Without permission for processes on the machine of the service, and with a list of endpoints.
    for (more, endpoint) in
        [("", "unix:///var/run/docker.sock"), ("endpoints: ['https://x', 'tcp://engine:2375']", "tcp://engine:2375")]
    {
        let service = Service::in_home(Arc::new(Occopus::new()), &format!("service: {{{more}}}\n"));
        let text = starter(&service);
        assert!(text.contains(&format!("endpoint: {endpoint}\n")), "{text}");
        assert_eq!(service.request("POST", "/validate").send(&text).expect(200).json()["valid"], true);
    }
}

#[test]
fn a_build_can_be_given_up_or_overtaken() {
    let service = Service::start();
    let (mark, port) = (unique_sleep_seconds(108), free_port());
    let slow = document(&["{name: db, type: sleeper}", "{name: web, type: sick}"], &mark, port);
    let first = service.request("PUT", "/infrastructures/slow").send(&slow).expect(202);
    service.eventually("both run", || processes_with(&mark) == 2);
    let waiting = service.get(first.json()["operation"].as_str().unwrap()).json();
    assert_eq!(waiting["state"], "running");
    // Another request replaces it.
    let second = service.request("PUT", "/infrastructures/slow").send(document(&PAIR[..1], &mark, port)).expect(202);
    assert_eq!(service.wait_for_operation(&first)["state"], "superseded");
    assert_eq!(service.wait_for_operation(&second)["state"], "done");
    service.eventually("the other node is gone", || processes_with(&mark) == 1);
    // And a removal ends it.
    let third = service.request("PUT", "/infrastructures/slow").send(&slow).expect(202);
    service.eventually("both run again", || processes_with(&mark) == 2);
    let removal =
        service.request("DELETE", "/infrastructures/slow").header("prefer", "respond-async").send("").expect(202);
    assert_eq!(removal.header("location"), removal.json()["operation"]);
    service.request("PUT", "/infrastructures/slow").send(&slow).problem(409, "engine.destroying");
    assert_eq!(service.wait_for_operation(&removal)["state"], "done");
    assert_eq!(service.wait_for_operation(&third)["state"], "superseded");
    assert_eq!(processes_with(&mark), 0);
    service.get("/infrastructures/slow").problem(404, "engine.unknown-infrastructure");

    // A client chooses how long it waits.
    service.build("slow", &document(&PAIR[..1], &mark, port));
    let gone = service.request("DELETE", "/infrastructures/slow").header("prefer", "wait=30").send("").expect(200);
    assert_eq!(gone.json()["infraid"], "slow");
}

#[test]
fn a_request_with_a_key_is_done_once() {
    let service = Service::start();
    let mark = unique_sleep_seconds(109);
    let post =
        |text: &str| service.request("POST", "/infrastructures/").header("idempotency-key", "the-one").send(text);
    let text = document(&PAIR[..1], &mark, 9);
    let first = post(&text).expect(202);
    let again = post(&text).expect(202);
    assert_eq!((again.json(), again.header("location")), (first.json(), first.header("location")));
    service.wait_for_operation(&first);
    assert_eq!(post(&text).expect(202).json(), first.json(), "also when it has ended");
    post(&pair(&mark)).problem(422, "request.key-reused");
    assert_eq!(processes_with(&mark), 1);
    // Concurrently, too.
    let many: Vec<_> = std::thread::scope(|scope| {
        let one = || {
            let request = service.request("POST", "/infrastructures/").header("idempotency-key", "another");
            request.send(&text).expect(202).json()["infraid"].as_str().unwrap().to_owned()
        };
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(many.iter().all(|id| *id == many[0]), "{many:?}");
    assert_eq!(ids(&service.get("/infrastructures").json()).len(), 2);
    for id in ids(&service.get("/infrastructures").json()) {
        service.destroy(id);
    }
    assert_eq!(processes_with(&mark), 0);
}

#[test]
fn definitions_are_kept_for_descriptions_that_have_none() {
    let service = Service::start();
    let mark = unique_sleep_seconds(110);
    let bare = "infra_name: bare\nuser_id: tester\nnodes:\n- {name: db, type: sleeper}\n";
    service.request("POST", "/validate").send(bare).problem(400, "files.invalid");
    let imported = service.request("POST", "/definitions").send(definitions(&mark, 9)).expect(200).json();
    assert_eq!(imported, json!({"imported": ["sleeper", "sick"]}));
    let listed = service.get("/definitions").expect(200).json();
    let kept = listed["definitions"].as_array().expect("types");
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().any(|one| one["type"] == "sleeper" && one["implementations"] == 1), "{listed}");
    service.build("bare", bare);
    assert_eq!(processes_with(&mark), 1);

    let sleeper = service.get("/definitions/sleeper").expect(200);
    let list = sleeper.json()["node_def:sleeper"].clone();
    assert_eq!(list[0]["resource"]["type"], "local");
    let put = service.request("PUT", "/definitions/other").send(list.to_string()).expect(200).json();
    assert_eq!(put, json!({"imported": ["other"]}));
    let other = service.get("/definitions/other").expect(200).json()["node_def:other"].clone();
    assert_eq!(other, list);
    service.request("POST", "/definitions").send(sleeper.text()).expect(200);
    service.request("DELETE", "/definitions/other").send("").expect(204);
    service.request("DELETE", "/definitions/other").send("").problem(404, "type.unknown");
    service.get("/definitions/other").problem(404, "type.unknown");
    service.request("POST", "/definitions").send("- 1").problem(400, "files.invalid");
    service.request("PUT", "/definitions/x").send("[]").problem(400, "files.invalid");
    service.destroy("bare");
}

#[test]
fn the_service_tells_of_itself() {
    let mut service = Service::start();
    let mark = unique_sleep_seconds(111);
    service.build("known", &pair(&mark));
    let plugins = service.get("/plugins").expect(200).json();
    let local =
        plugins["plugins"].as_array().unwrap().iter().find(|plugin| plugin["keyword"] == "local").expect("local");
    assert!(local["schema"].is_object() && local["version"].is_string() && local["origin"] == "bundled", "{local}");

    let info = |query: &str| service.get(&format!("/info/{query}"));
    assert_eq!(info("infrastructure.name?infra_id=known").expect(200).json(), json!({"result": "sleepers"}));
    assert_eq!(info("infrastructure.started?infra_id=known").expect(200).json(), json!({"result": true}));
    let address = info("node.address?infra_id=known&name=db").expect(200).json();
    assert!(address["result"].as_str().expect("an address").starts_with("127."));
    assert_eq!(info("infrastructure.state?infra_id=known").json()["result"]["db"]["scaling"]["actual"], 1);
    info("infrastructure.name").problem(400, "info.argument");
    info("infrastructure.name?infra_id=nothing").problem(404, "engine.unknown-infrastructure");
    for key in ["backends.auth_data", "node.find", "synch.site_available?url=http://127.0.0.1", "node.definition", "x"]
    {
        info(key).problem(404, "info.unknown");
    }
    let anyone = service.get("/whoami").expect(200).json();
    assert_eq!((&anyone["scope"], &anyone["infrastructures"]), (&json!("admin"), &Value::Null));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(service.get(path).expect(200).json()["status"], "ok");
    }
    let metrics = service.get("/metrics").expect(200);
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    for line in
        [r#"occopus_infrastructures{state="ready"} 1"#, r#"occopus_events_total{event="nodecreated"} 2"#, "# EOF"]
    {
        assert!(metrics.text().contains(line), "{line}: {}", metrics.text());
    }
    let openapi = service.get("/openapi.json").expect(200).json();
    assert_eq!(openapi["openapi"], "3.1.0");
    assert!(openapi["paths"].as_object().expect("paths").len() > 25);
    let docs = service.get("/docs").expect(200);
    assert!(docs.header("content-type").starts_with("text/html") && docs.text().contains("/infrastructures/{id}"));

    // From now on a token is required.
    let admin = service.new_token("boss", "admin", &[]);
    let limited = service.new_token("limited", "operate", &["other"]);
    for path in ["/healthz", "/readyz", "/openapi.json", "/docs"] {
        service.get(path).expect(200);
    }
    service.eventually("tokens are needed", || service.get("/whoami").status == 401);
    let refused = service.get("/infrastructures");
    refused.problem(401, "access.unauthenticated");
    assert!(refused.header("www-authenticate").starts_with("Bearer"));
    service.token = Some(limited);
    let who = service.get("/whoami").expect(200).json();
    assert_eq!(who, json!({"name": "limited", "scope": "operate", "infrastructures": ["other"]}));
    assert_eq!(service.get("/infrastructures").expect(200).json()["infrastructures"], json!([]));
    service.get("/infrastructures/known").problem(403, "access.infrastructure");
    service.get("/audit").problem(403, "access.scope");
    service.token = Some(admin.clone());
    service.destroy("known");

    let mut entries = Vec::new();
    let mut next = Value::Null;
    loop {
        let after = next.as_str().map(|next| format!("&after={next}")).unwrap_or_default();
        let page = service.get(&format!("/audit?limit=2{after}")).expect(200).json();
        entries.extend(page["entries"].as_array().expect("entries").clone());
        next = page["next"].clone();
        if next.is_null() {
            break;
        }
    }
    let done: Vec<_> =
        entries.iter().map(|entry| (entry["action"].as_str().unwrap(), entry["outcome"].as_u64())).collect();
    assert!(done.contains(&("PUT /infrastructures/{id}", Some(202))), "{done:?}");
    let last = entries.last().expect("an entry");
    assert_eq!(
        (&last["who"], &last["infraid"], &last["address"]),
        (&json!("boss"), &json!("known"), &json!("127.0.0.1"))
    );
    assert!(
        !json!(entries).to_string().contains(&admin) && !service.log().contains(&admin),
        "tokens are never disclosed"
    );
}

#[test]
fn webhooks_are_told_of_what_the_service_does() {
    let home = Arc::new(Occopus::new());
    let mark = unique_sleep_seconds(112);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    home.write_private("home/auth_data.yaml", "webhook:\n- auth_data: {secret: s3cr3t-of-the-hook}\n");
    let configuration = NO_RATE_LIMITS.replacen('{', &format!("{{webhooks: ['{url}'], "), 1);
    let service = Service::in_home(home, &configuration);
    let posted = collect(listener, &["500 Broken"]);
    let hook = format!("webhooks:\n- url: {url}\n  events: [infrastart, nodecreated, infraready, infradrop]\nnodes:\n");
    service.build("told", &document(&PAIR[..1], &mark, 9).replacen("nodes:\n", &hook, 1));
    let names = || -> Vec<String> {
        let posted = posted.lock().unwrap();
        let event = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()["event"].as_str().unwrap().to_owned();
        posted.iter().map(|post| event(&post.body)).collect()
    };
    service.eventually("the events are delivered", || names() == ["infrastart", "nodecreated", "infraready"]);
    assert!(posted.lock().unwrap().iter().all(|post| post.headers["webhook-signature"].starts_with("v1,")));
    service.destroy("told");
    service.eventually("the end is delivered", || names().last().is_some_and(|name| name == "infradrop"));
    assert_eq!(names().len(), 4, "no event is delivered twice");
    let (log, secret) = (service.log(), "s3cr3t-of-the-hook");
    assert!(!log.contains(secret) && !is_stored_but_for_credentials(&service, secret));
}

#[test]
fn webhooks_from_the_network_stay_out_of_it() {
    let service = Service::start();
    for (url, code) in [
        ("http://127.0.0.1:9/hook", "service.webhook"),
        ("http://localhost:9/", "service.webhook"),
        ("http://0x7f.1/", "service.webhook"),
        ("http://[::ffff:127.0.0.1]/", "service.webhook"),
        ("http://10.1.2.3/", "service.webhook"),
        ("https://[fd12::1]/", "service.webhook"),
        ("http://169.254.169.254/latest", "webhook.url"),
        ("http://host:99999/", "webhook.url"),
        ("https://", "webhook.url"),
        ("unix:///run/docker.sock", "webhook.url"),
    ] {
        let text = document(&PAIR[..1], "1", 9);
        let text = text.replacen("nodes:\n", &format!("webhooks:\n- url: '{url}'\nnodes:\n"), 1);
        for (method, path) in [("POST", "/validate"), ("PUT", "/infrastructures/hooked")] {
            let answer = service.request(method, path).send(&text).expect(400).json();
            assert_eq!(answer["problems"][0]["code"], code, "{url}: {answer}");
        }
    }
}

#[test]
fn a_contextualiser_gets_by_no_list_of_endpoints() {
    let home = Arc::new(Occopus::new());
    for name in ["impostor.wasm", "redirector.wasm"] {
        let plugin = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/plugins").join(name);
        home.write(&format!("home/plugins/{name}"), std::fs::read(plugin).expect("the plugin"));
    }
    let allowed = "https://cloud.example.com:5000/v3";
    let configuration = NO_RATE_LIMITS.replacen('{', &format!("{{endpoints: ['{allowed}'], "), 1);
    let service = Service::in_home(home, &configuration);
    let text = |endpoint: &str, changes: &str| {
        format!(
            "infra_name: cloud\nuser_id: tester\nvariables: {{where: evil}}\nnodes: [{{name: a, type: machine}}]\n\
             node_def:machine:\n- resource: {{type: impostor, endpoint: '{endpoint}'}}\n  \
               contextualisation: {{type: redirector, resource: {{{changes}}}}}\n  health_check: {{ping: false}}\n"
        )
    };
    for path in ["/validate", "/infrastructures/"] {
        let post = |endpoint: &str, changes: &str| {
            service.request("POST", path).send(text(endpoint, changes)).expect(400).text()
        };
        assert!(post(allowed, "endpoint: 'http://127.0.0.1:9/v3'").contains("contextualiser.not-its-own"));
        assert!(post("http://127.0.0.1:9/v3", "").contains("service.endpoint"));
        assert!(post("https://{{variables.where}}.example.com:5000/v3", "").contains("service.endpoint"));
    }
    service.request("POST", "/validate").send(text(allowed, "")).expect(200);
}

#[test]
fn a_config_manager_reaches_nothing_for_those_who_only_look() {
    let home = Arc::new(Occopus::new());
    let plugin = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/plugins/talker.wasm");
    home.write("home/plugins/talker.wasm", std::fs::read(plugin).expect("the plugin"));
    home.write_private("home/auth_data.yaml", "config_management:\n- auth_data: {password: s3cr3t-of-the-manager}\n");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let posted = collect(listener, &[]);
    let service = Service::in_home(home, NO_RATE_LIMITS);
    let text = document(&PAIR[..1], "1", 9);
    let managed = format!("  config_management: {{type: talker, endpoint: 'http://{address}/'}}\n  health_check:");
    let text = text.replace("  health_check:", &managed);
    assert!(text.contains("talker"));
    service.request("POST", "/validate").send(&text).expect(200);
    assert!(posted.lock().unwrap().is_empty());
    assert!(!service.log().contains("s3cr3t-of-the-manager"));
}

fn is_stored_but_for_credentials(service: &Service, secret: &str) -> bool {
    std::fs::remove_file(service.home.home().join("auth_data.yaml")).expect("the credentials");
    is_stored(&service.home.home(), secret)
}
