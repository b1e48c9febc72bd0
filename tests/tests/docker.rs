//! Deployments on a real Docker engine.

use occopus_tests::{Docker, Occopus, TlsProxy, kill_builds};

/// Writes a description of two containers; the second one gets the address of the first.
fn write_pair(occopus: &Occopus, docker: &Docker) -> &'static str {
    occopus.write(
        "infra.yaml",
        "infra_name: docker-pair\n\
         user_id: tester\n\
         nodes:\n\
         - &first\n  name: first\n  type: first_node\n  variables:\n    greeting: 'Hello from the first node.'\n\
         - &second\n  name: second\n  type: second_node\n\
         dependencies:\n- [*second, *first]\n",
    );
    let node = |name: &str, env: &str| {
        format!(
            "'node_def:{name}':\n\
             - resource:\n    type: docker\n    endpoint: {}\n    origin: local\n    image: occopus-test-busybox\n    tag: '1'\n  \
               contextualisation:\n    type: docker\n    env: [\"{env}\"]\n    command: sh -c /root/start.sh\n  \
               health_check:\n    ping: False\n",
            docker.endpoint
        )
    };
    occopus.write(
        "nodes/node_definitions.yaml",
        node("first_node", "message={{variables.greeting}}")
            + node("second_node", "target_ip={{getip('first')}}").as_str(),
    );
    "infra.yaml"
}

#[test]
fn builds_maintains_and_destroys() {
    let Some(docker) = Docker::connect("builds_maintains_and_destroys") else { return };
    let occopus = Occopus::new();
    let file = write_pair(&occopus, &docker);
    occopus.ok(["validate", file]);
    let id = occopus.ok(["build", file]).id();

    let containers = docker.containers(&id);
    assert_eq!(containers.len(), 2);
    let status = occopus.status(&id);
    for (node, instance) in [("first", 0), ("second", 1)].map(|(node, at)| (node, &status["nodes"][at])) {
        assert_eq!(instance["name"], node);
        assert_eq!(instance["instances"][0]["state"], "ready", "{status:#}");
    }
    let address = status["nodes"][0]["instances"][0]["addresses"][0]["value"].as_str().expect("an address").to_owned();
    let second = docker.run(&[
        "ps",
        "-q",
        "--filter",
        &format!("label=occopus.infrastructure={id}"),
        "--filter",
        "label=occopus.node=second",
    ]);
    assert!(docker.run(&["logs", &second]).contains(&format!("target_ip={address}")));
    let first = docker.run(&[
        "ps",
        "-q",
        "--filter",
        &format!("label=occopus.infrastructure={id}"),
        "--filter",
        "label=occopus.node=first",
    ]);
    assert!(docker.run(&["logs", &first]).contains("message=Hello from the first node."));

    // Without changes, nothing is done.
    occopus.ok(["maintain", "-i", &id]);
    assert_eq!(docker.containers(&id), containers);

    // A container that vanished is replaced, the other one stays.
    docker.run(&["rm", "-f", &second]);
    occopus.ok(["maintain", "-i", &id]);
    let healed = docker.containers(&id);
    assert_eq!(healed.len(), 2);
    assert!(healed.contains(&first) && !healed.contains(&second));

    occopus.ok(["destroy", "-i", &id]);
    assert!(docker.containers(&id).is_empty());
}

#[test]
fn a_missing_image_leaves_nothing_behind() {
    let Some(docker) = Docker::connect("a_missing_image_leaves_nothing_behind") else { return };
    let occopus = Occopus::new();
    let file = write_pair(&occopus, &docker);
    let definitions = occopus.directory().join("nodes/node_definitions.yaml");
    let text = std::fs::read_to_string(&definitions).expect("the definitions");
    let (head, tail) = text.split_at(text.rfind("occopus-test-busybox").expect("the second image"));
    std::fs::write(&definitions, format!("{head}{}", tail.replacen("occopus-test-busybox", "no-such-image", 1)))
        .expect("written");

    let built = occopus.run(["build", "-i", "missing-image", file]);
    assert_eq!(built.code, Some(1), "{}", built.stderr);
    assert!(built.stderr.contains("no-such-image"), "{}", built.stderr);
    assert!(built.stderr.contains("node_definitions.yaml:"), "the user's line is named: {}", built.stderr);
    assert!(docker.containers("missing-image").is_empty());
    assert!(!occopus.ok(["maintain", "-l"]).stdout.contains("missing-image"));
}

/// Writes a description of one container that runs this command, of an image in this form.
fn write_one(occopus: &Occopus, endpoint: &str, image: &str, command: &str, health: &str) -> &'static str {
    occopus.write("infra.yaml", "infra_name: one\nuser_id: tester\nnodes:\n- {name: one, type: one}\n");
    occopus.write(
        "nodes/node_definitions.yaml",
        format!(
            "'node_def:one':\n- resource: {{type: docker, endpoint: '{endpoint}', origin: local, {image}}}\n  \
               contextualisation:\n    type: docker\n    env: []\n    command: {command}\n  health_check:\n    {health}\n"
        ),
    );
    "infra.yaml"
}

#[test]
fn a_container_that_ends_is_told_with_its_exit_status() {
    let Some(docker) = Docker::connect("a_container_that_ends_is_told_with_its_exit_status") else { return };
    let occopus = Occopus::new();
    let health = "ping: false\n    ports: [9]\n    timeout: 20";
    for status in [0, 3] {
        let command = format!("[sh, -c, 'echo reason >&2; exit {status}']");
        let file = write_one(&occopus, &docker.endpoint, "image: occopus-test-busybox, tag: '1'", &command, health);
        let built = occopus.run(["build", file]);
        assert_eq!(built.code, Some(1), "{}", built.stderr);
        assert!(built.stderr.contains(&format!("exit status {status}")), "{}", built.stderr);
        assert!(!built.stderr.contains("docker logs"), "the container is gone: {}", built.stderr);
    }
}

#[test]
fn an_image_is_named_with_its_tag_and_a_socket_with_two_slashes() {
    let test = "an_image_is_named_with_its_tag_and_a_socket_with_two_slashes";
    let Some(docker) = Docker::connect(test) else { return };
    let occopus = Occopus::new();
    let endpoint = docker.endpoint.replace("unix:///", "unix://");
    let image = "image: 'occopus-test-busybox:1'";
    let file = write_one(&occopus, &endpoint, image, "[sleep, '1000']", "ping: false");
    let id = occopus.ok(["build", file]).id();
    assert_eq!(docker.containers(&id).len(), 1);
    occopus.ok(["destroy", "-i", &id]);
    assert!(docker.containers(&id).is_empty());

    let image = "image: 'occopus-test-busybox:1', tag: '2'";
    let file = write_one(&occopus, &endpoint, image, "[sleep, '1000']", "ping: false");
    let refused = occopus.run(["build", file]);
    assert!(refused.code != Some(0) && refused.stderr.contains("given twice"), "{}", refused.stderr);
}

#[test]
fn an_engine_behind_tls_is_reached_with_the_certificates_of_the_credentials() {
    let test = "an_engine_behind_tls_is_reached_with_the_certificates_of_the_credentials";
    let Some(docker) = Docker::connect(test) else { return };
    let Some(socket) = docker.socket(test) else { return };
    let (tls, occopus) = (TlsProxy::in_front_of(socket), Occopus::new());
    let file = write_one(&occopus, &tls.endpoint, "image: 'occopus-test-busybox:1'", "[sleep, '1000']", "ping: false");
    let (certificate, key) = &tls.client;
    occopus.write("ca.pem", &tls.authority);
    occopus.write("client.pem", certificate);
    occopus.write("client.key", key);
    let credentials = |own: &str| {
        occopus.write_private("auth_data.yaml", format!("resource:\n- {{type: docker, auth_data: {{{own}}}}}\n"));
    };
    let refused = |words: &str| {
        let built = occopus.run(["build", file]);
        assert_eq!(built.code, Some(1), "{}", built.stderr);
        assert!(built.stderr.contains(words) && !built.stderr.contains("tried"), "at once: {}", built.stderr);
    };
    refused("(`ca`)");
    credentials("ca: ca.pem");
    refused("(`client_certificate`, `client_key`)");
    credentials("ca: ca.pem, client_certificate: client.pem, client_key: missing.key");
    assert!(occopus.run(["validate", file]).stderr.contains("missing.key can't be read"));
    credentials("ca: ca.pem, client_certificate: client.pem, client_key: client.key");
    let built = occopus.ok(["build", file]);
    assert_eq!(docker.containers(&built.id()).len(), 1);
    occopus.ok(["destroy", "-i", &built.id()]);
    assert!(docker.containers(&built.id()).is_empty());
}

#[test]
fn another_engine_behind_the_endpoint_removes_nothing() {
    let test = "another_engine_behind_the_endpoint_removes_nothing";
    let Some(docker) = Docker::connect(test) else { return };
    let Some(socket) = docker.socket(test) else { return };
    let occopus = Occopus::new();
    let link = occopus.directory().join("engine.sock");
    std::os::unix::fs::symlink(socket, &link).expect("a link");
    let image = "image: 'occopus-test-busybox:1'";
    let endpoint = format!("unix://{}", link.display());
    // Permanent faults are not waited for here.
    occopus.write("home/occopus_config.yaml", "unreachable_patience: 2\n");
    let file = write_one(&occopus, &endpoint, image, "[sleep, '1000']", "ping: false\n    timeout: 5");
    let id = occopus.ok(["build", file]).id();
    let containers = docker.containers(&id);
    assert_eq!(containers.len(), 1);

    // An engine that has none of our containers.
    std::fs::remove_file(&link).expect("removed");
    let listener = std::os::unix::net::UnixListener::bind(&link).expect("a socket");
    std::thread::spawn(move || answer_as_another_engine(&listener));
    for _ in 0..3 {
        occopus.run(["maintain", "-i", &id]);
    }
    assert_ne!(occopus.run(["destroy", "-i", &id]).code, Some(0));
    assert_eq!(docker.containers(&id), containers, "neither replaced nor forgotten");

    std::fs::remove_file(&link).expect("removed");
    std::os::unix::fs::symlink(socket, &link).expect("a link");
    occopus.ok(["destroy", "-i", &id]);
    assert!(docker.containers(&id).is_empty());
}

fn answer_as_another_engine(listener: &std::os::unix::net::UnixListener) {
    use std::io::{Read as _, Write as _};
    for mut stream in listener.incoming().flatten() {
        let mut head = [0; 8192];
        let read = stream.read(&mut head).unwrap_or(0);
        let head = String::from_utf8_lossy(&head[..read]).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let container = path.split("/containers/").nth(1).unwrap_or_default();
        let container = container.split(['/', '?']).next().unwrap_or_default();
        let (status, body) = match path {
            _ if path.ends_with("/version") => ("200 OK", r#"{"ApiVersion":"1.41","MinAPIVersion":"1.12"}"#.to_owned()),
            _ if path.ends_with("/info") => ("200 OK", r#"{"ID":"ANOTHER"}"#.to_owned()),
            _ if path.contains("/containers/json") => ("200 OK", "[]".to_owned()),
            _ => ("404 Not Found", format!(r#"{{"message":"No such container: {container}"}}"#)),
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n");
        // A client that disconnects early is ignored.
        let _ = write!(stream, "{answer}Content-Length: {}\r\n\r\n{body}", body.len());
    }
}

#[test]
fn an_engine_that_is_not_there_is_told_as_that_at_once() {
    let occopus = Occopus::new();
    let file = write_pair(&occopus, &Docker { endpoint: "unix:///nowhere/docker.sock".to_owned() });
    let built = occopus.run(["build", file]);
    assert_eq!(built.code, Some(1), "{}", built.stderr);
    assert!(built.stderr.contains("/nowhere/docker.sock: there is no such socket"), "{}", built.stderr);
    assert!(!built.stderr.contains("tried") && !built.stderr.contains("refused"), "{}", built.stderr);
    assert!(
        occopus.ok(["maintain", "-l"]).stdout.contains("No active infrastructure"),
        "nothing was sent, nothing is left"
    );
}

#[test]
fn kill_at_any_moment_loses_and_doubles_nothing() {
    let test = "kill_at_any_moment_loses_and_doubles_nothing";
    let Some(docker) = Docker::connect(test) else { return };
    kill_builds(&|occopus| write_pair(occopus, &docker), 2, &|id| docker.containers(id).len());
}

#[test]
fn machines_of_a_lost_store_are_swept() {
    let Some(docker) = Docker::connect("machines_of_a_lost_store_are_swept") else { return };
    let occopus = Occopus::new();
    let file = write_pair(&occopus, &docker);
    let (id, other) = (format!("lost-{}", std::process::id()), format!("kept-{}", std::process::id()));
    occopus.ok(["build", "-i", &id, file]);
    occopus.ok(["build", "-i", &other, file]);
    assert!(occopus.ok(["destroy", "-i", &id, "--orphans", file]).stdout.contains("no orphans"));
    // As if it had been made by a process whose store is lost.
    let forgetful = Occopus::new();
    let file = write_pair(&forgetful, &docker);
    let listed = forgetful.ok(["destroy", "-i", &id, "--orphans", file, "--dry-run"]);
    assert_eq!(listed.stdout.matches("found").count(), 2, "{}", listed.stdout);
    assert_eq!(docker.containers(&id).len(), 2);
    let swept = forgetful.ok(["destroy", "-i", &id, "--orphans", file]);
    assert_eq!(swept.stdout.matches("removed").count(), 2, "{}", swept.stdout);
    assert!(docker.containers(&id).is_empty());
    assert_eq!(docker.containers(&other).len(), 2, "those of others are not touched");
    occopus.ok(["destroy", "-i", &other]);
    occopus.run(["destroy", "-i", &id]);
}
