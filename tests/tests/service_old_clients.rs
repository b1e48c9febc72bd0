//! Requests of clients of the Python service, verbatim: MiCADO's submitter, and scripts of the autoscaling tutorials.

use occopus_tests::processes::{processes_with, unique_sleep_seconds};
use occopus_tests::service::Service;
use occopus_tests::wait::eventually;
use serde_json::{Value, json};

/// Definition of a worker that can be scaled, as MiCADO writes it: named by its own rules, with its definitions in another file.
const DESCRIPTION: &str = "user_id: micado@occopus
infra_name: micado-worker
nodes:
- name: worker-node
  type: worker-node
  scaling: {min: 1, max: 3}
variables: {master_host_ip: 192.168.0.1}
";

fn definitions(mark: &str) -> String {
    format!(
        "'node_def:worker-node':\n- resource: {{type: local}}\n  contextualisation:\n    type: basic\n    \
         attributes: {{command: [sleep, '{mark}']}}\n  health_check: {{ping: false}}\n"
    )
}

#[test]
fn the_sequence_of_micado() {
    let service = Service::start();
    let mark = unique_sleep_seconds(131);
    // In the container of the service, with its commands.
    let home = &service.home;
    home.write("nodes.yaml", definitions(&mark));
    home.write("infra.yaml", DESCRIPTION);
    home.write("auth_data.yaml", "resource: []\n");
    let imported = home.ok(["import", "nodes.yaml"]);
    assert!(format!("{}{}", imported.stdout, imported.stderr).contains("Successfully imported"));
    let words = ["infra.yaml", "-i", "micado_worker_infra", "--auth_data_path", "auth_data.yaml", "--parallelize"];
    let built = home.ok(["build"].into_iter().chain(words));
    assert_eq!(built.id(), "micado_worker_infra");
    // The submitter reads both streams, and takes the build for failed without these words.
    assert!(format!("{}{}", built.stdout, built.stderr).contains("Submitted infrastructure: 'micado_worker_infra'"));
    assert_eq!(processes_with(&mark), 1);
    // From then on over HTTP.
    for _ in 0..2 {
        let attached = service.request("POST", "/infrastructures/micado_worker_infra/attach").send("").expect(200);
        assert_eq!(attached.json(), json!({"infraid": "micado_worker_infra"}));
    }
    let shown = service.get("/infrastructures/micado_worker_infra").expect(200).json();
    assert_eq!(shown.get("status_code"), None, "its dashboard takes such a key for an error");
    let instances = shown["worker-node"]["instances"].as_object().expect("instances");
    let (id, instance) = instances.iter().next().expect("one");
    assert_eq!((id.len(), &instance["state"]), (36, &json!("ready")));
    assert!(instance["resource_address"].is_string());
    let scaled = service.post("/infrastructures/micado_worker_infra/scaleto/worker-node/3").expect(200).json();
    let said = json!({"method": "scaleto", "infraid": "micado_worker_infra", "nodename": "worker-node", "count": 3});
    assert_eq!(scaled, said);
    eventually("three workers", || processes_with(&mark) == 3);
    let again = home.run(["build"].into_iter().chain(words));
    assert_ne!(again.code, Some(0), "two do not work on one infrastructure: the service keeps it alive");
    assert_eq!(processes_with(&mark), 3);
    let gone = service.destroy("micado_worker_infra");
    assert_eq!(gone.json(), json!({"infraid": "micado_worker_infra"}));
    assert_eq!(processes_with(&mark), 0);
    let unknown = service.get("/infrastructures/micado_worker_infra");
    assert_eq!(unknown.problem(404, "engine.unknown-infrastructure")["status_code"], 300, "so it shows no nodes");
}

/// Sends `curl -X POST http://occopus:5000/infrastructures/ID/scaleup/NODE`, and `requests.post(URL)`, byte by byte.
#[test]
fn scripts_that_scale_send_nothing_but_a_path() {
    let service = Service::start();
    let mark = unique_sleep_seconds(132);
    service.home.write("nodes.yaml", definitions(&mark));
    service.home.ok(["import", "nodes.yaml"]);
    let accepted = service.request("POST", "/infrastructures/").send(DESCRIPTION).expect(202).json();
    let id = accepted["infraid"].as_str().expect("an id").to_owned();
    eventually("it is built", || processes_with(&mark) == 1);
    let host = service.address;
    let send = |head: &str, body: &str| -> Value {
        let answer = service.raw(format!("{head}\r\n\r\n{body}").as_bytes(), std::time::Duration::from_secs(20));
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        let (_, body) = answer.text.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).expect("JSON")
    };
    let curl = format!(
        "POST /infrastructures/{id}/scaleup/worker-node HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/7.47.0\r\nAccept: */*\r\n\
         Connection: close"
    );
    assert_eq!(send(&curl, "")["method"], "scaleup");
    eventually("two workers", || processes_with(&mark) == 2);
    let requests = format!(
        "POST /infrastructures/{id}/scaledown/worker-node HTTP/1.1\r\nHost: {host}\r\nUser-Agent: python-requests/2.20.0\r\n\
         Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: close\r\nContent-Length: 0"
    );
    assert_eq!(send(&requests, "")["method"], "scaledown");
    eventually("one worker", || processes_with(&mark) == 1);
    // With a form that has no use, as `curl -d ''` sends it.
    let form =
        curl.replace("Accept:", "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\nAccept:");
    assert_eq!(send(&form, "a=b")["count"], 1);
    eventually("two workers again", || processes_with(&mark) == 2);
    // Python's own client speaks HTTP/1.0-like requests without keeping the connection.
    let old = format!("GET /infrastructures/{id} HTTP/1.0\r\nHost: {host}");
    let answer = service.raw(format!("{old}\r\n\r\n").as_bytes(), std::time::Duration::from_secs(20));
    assert!(answer.closed && answer.text.contains(" 200 "), "{}", answer.text);
    service.destroy(&id);
    assert_eq!(processes_with(&mark), 0);
}
