//! The README's requests to the service, sent as they are.

use std::path::Path;
use std::process::{Command, Stdio};

use occopus_tests::service::Service;
use occopus_tests::wait::eventually;
use occopus_tests::{has_python, skip};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// Returns the lines of the README that begin with `curl`.
fn requests() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    readme.lines().filter(|line| line.starts_with("curl ")).map(str::to_owned).collect()
}

#[test]
fn the_requests_of_the_readme_do_what_it_says() {
    if !Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return skip("readme", "there is no curl");
    }
    if !has_python("readme") {
        return;
    }
    let service = Service::start();
    let (mut id, mut answers) = (String::new(), Vec::new());
    for request in requests() {
        let address = service.address.to_string();
        let mut line = request.replace("127.0.0.1:5000", &address).replace("/ID", &format!("/{id}"));
        if line.contains("-N") {
            // The stream has no end.
            line = line.replacen("curl", "curl --max-time 2 -H 'Last-Event-ID: 0'", 1);
        }
        let output = Command::new("sh").args(["-c", &line]).current_dir(root()).output().expect("a shell");
        let answer = String::from_utf8(output.stdout).expect("UTF-8");
        if id.is_empty() {
            let accepted: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
            id = accepted["infraid"].as_str().expect("an id").to_owned();
            eventually("it is ready", || {
                service.get(&format!("/infrastructures/{id}/status")).json()["state"] == "ready"
            });
        }
        if line.contains("scaleto") {
            eventually("there are two instances", || {
                let nodes = service.get(&format!("/infrastructures/{id}")).json();
                nodes["server"]["instances"].as_object().is_some_and(|instances| instances.len() == 2)
            });
        }
        answers.push(answer);
    }
    let [_, list, nodes, scaled, events, destroyed] = answers.as_slice() else { panic!("{answers:?}") };
    assert!(list.contains(&id), "{list}");
    assert!(nodes.contains("\"server\":{\"instances\":{"), "{nodes}");
    assert!(scaled.contains("\"method\":\"scaleto\""), "{scaled}");
    assert!(events.contains("event: infrastart") && events.contains("event: infraready"), "{events}");
    assert_eq!(*destroyed, format!("{{\"infraid\":\"{id}\"}}"));
    assert_eq!(service.get(&format!("/infrastructures/{id}")).status, 404);
}
