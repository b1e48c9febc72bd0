//! Tests that the user's own text decides about credentials, grants and programs: plugins that decide otherwise, as users meet them.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use occopus_tests::Occopus;
use serde_json::Value;

const SECRET: &str = "correct-horse-battery";

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/plugins").join(name);
    std::fs::read(path).expect("the plugin")
}

/// Returns a home with these plugins of `tests/fixtures`, and credentials for all.
fn home(plugins: &[&str]) -> Occopus {
    let occopus = Occopus::new();
    for name in plugins {
        occopus.write(&format!("home/plugins/{name}"), fixture(name));
    }
    let rule = format!("- auth_data: {{password: {SECRET}}}\n");
    occopus.write_private("home/auth_data.yaml", format!("resource:\n{rule}config_management:\n{rule}"));
    occopus
}

/// Writes a description of these nodes, each with its implementation.
fn describe(occopus: &Occopus, nodes: &[(&str, &str)]) {
    let names: String = nodes.iter().map(|(name, _)| format!("- {{name: {name}, type: {name}}}\n")).collect();
    occopus.write("infra.yaml", format!("infra_name: own\nuser_id: tester\nnodes:\n{names}"));
    let definitions: String = nodes.iter().map(|(name, text)| format!("'node_def:{name}':\n{text}\n")).collect();
    occopus.write("nodes/node_definitions.yaml", definitions);
}

/// Starts a server that counts connections.
fn listener() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    std::thread::spawn(move || {
        listener.incoming().for_each(|_| {
            count.fetch_add(1, Ordering::SeqCst);
        })
    });
    (address, reached)
}

/// Returns the attribute `got` of the only instance of a node.
fn got(occopus: &Occopus, id: &str, node: &str) -> String {
    let status = occopus.status(id);
    let nodes = status["nodes"].as_array().expect("nodes");
    let node = nodes.iter().find(|it| it["name"] == node).expect("the node");
    let attributes = &node["instances"][0]["attributes"];
    let found = attributes.as_array().expect("attributes").iter().find(|pair| pair[0] == "got").expect("got");
    found[1].as_str().expect("text").to_owned()
}

#[test]
fn a_contextualiser_redirects_nobodys_credentials() {
    let occopus = home(&["impostor.wasm", "redirector.wasm"]);
    let (address, reached) = listener();
    for change in [format!("endpoint: 'http://{address}/v3'"), "type: local".into(), "more: 1".into()] {
        let node = format!(
            "- resource: {{type: impostor, endpoint: 'https://cloud.example.com:5000/v3', do: section}}\n  \
               contextualisation: {{type: redirector, resource: {{{change}}}}}\n  health_check: {{ping: false}}\n"
        );
        describe(&occopus, &[("one", &node)]);
        let key = change.split(':').next().expect("a key");
        for command in ["validate", "build"] {
            let refused = occopus.run([command, "infra.yaml"]);
            assert_ne!(refused.code, Some(0), "{command} {change}");
            let message = refused.stderr.replace('\n', " ");
            let sets = format!("the contextualiser `redirector` sets `{key}` of the `resource` section");
            assert!(message.contains(&sets), "{command} {change}: {message}");
        }
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    // A contextualiser fills in keys that the driver leaves open. The user's own text is rendered with any contextualiser.
    for contextualisation in ["type: redirector, resource: {description: filled}", "type: basic"] {
        let node = format!(
            "- resource: {{type: impostor, endpoint: 'https://{{{{name}}}}.example.com', do: section, size: 1}}\n  \
               contextualisation: {{{contextualisation}}}\n  health_check: {{ping: false}}\n"
        );
        describe(&occopus, &[("one", &node)]);
        let id = occopus.ok(["build", "infra.yaml"]).id();
        let section: Value = serde_json::from_str(&got(&occopus, &id, "one")).expect("the section");
        assert_eq!((&section["endpoint"], &section["size"]), (&"https://one.example.com".into(), &1.into()));
        assert_eq!(section.get("description").is_some(), contextualisation.contains("filled"));
        occopus.ok(["destroy", "-i", &id]);
    }
}

#[test]
fn what_runs_on_this_machine_is_what_the_user_named() {
    let occopus = home(&["redirector.wasm"]);
    let mark = occopus.directory().join("ran");
    let evil = format!("answer: {{command: [touch, '{}']}}", mark.display());
    let node = |more: &str| {
        format!(
            "- resource: {{type: local}}\n  contextualisation: {{type: redirector, {evil}{more}}}\n  health_check: {{ping: false}}\n"
        )
    };
    describe(&occopus, &[("one", &node(""))]);
    for command in ["validate", "build"] {
        let refused = occopus.run([command, "infra.yaml"]);
        let message = refused.stderr.replace('\n', " ");
        assert!(refused.code != Some(0) && message.contains("sets the attribute `command`"), "{message}");
    }
    let own = occopus.directory().join("mine");
    let attributes = format!(", attributes: {{command: [sh, -c, 'touch {} && exec sleep 60']}}", own.display());
    describe(&occopus, &[("one", &node(&attributes))]);
    let id = occopus.ok(["build", "infra.yaml"]).id();
    assert!(own.exists() && !mark.exists());
    occopus.ok(["destroy", "-i", &id]);
}

#[test]
fn previews_of_a_config_manager_with_credentials_reach_nothing() {
    let occopus = home(&["talker.wasm"]);
    let (address, reached) = listener();
    let node = |more: &str| {
        format!(
            "- resource: {{type: local}}\n  contextualisation: {{type: basic, attributes: {{command: [sleep, '60'], \
               env: {{SENT: '{{{{talker.sent}}}}', HAS: '{{{{talker.has_credential}}}}'}}}}}}\n  \
             config_management: {{type: talker, endpoint: 'http://{address}/'{more}}}\n  health_check: {{ping: false}}\n"
        )
    };
    describe(&occopus, &[("one", &node(""))]);
    occopus.ok(["validate", "infra.yaml"]);
    occopus.ok(["plan", "infra.yaml"]);
    let shown = occopus.ok(["render", "infra.yaml", "one"]).stdout;
    assert!(
        shown.contains("HAS: 'False'") || shown.contains("HAS: \"False\"") || shown.contains("\"HAS\": \"False\""),
        "{shown}"
    );
    let id = occopus.ok(["build", "infra.yaml"]).id();
    occopus.ok(["destroy", "-i", &id]);
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    // Variables of the config manager hide none of the user's.
    describe(&occopus, &[("one", &node(", add: {variables: {endpoint: evil}}"))]);
    let refused = occopus.run(["validate", "infra.yaml"]);
    let message = refused.stderr.replace('\n', " ");
    assert!(refused.code != Some(0) && message.contains("sets the variable `variables`"), "{message}");
}

#[test]
fn what_a_driver_calls_an_address_is_one_before_templates_see_it() {
    let occopus = home(&["impostor.wasm"]);
    let mark = occopus.directory().join("injected");
    let addresses = format!("['10.0.0.1; touch {}; #', '127.0.0.1', 10.9.8.7]", mark.display());
    let first = format!(
        "- resource: {{type: impostor, endpoint: 'https://cloud.example.com', addresses: {addresses}}}\n  health_check: {{ping: false}}\n"
    );
    let out = occopus.directory().join("out");
    let second = format!(
        "- resource: {{type: local}}\n  contextualisation: {{type: basic, attributes: {{command: [sh, -c, \
           \"echo {{{{getip('a')}}}} > {} && exec sleep 60\"]}}}}\n  health_check: {{ping: false}}\n",
        out.display()
    );
    describe(&occopus, &[("a", &first), ("b", &second)]);
    let built = occopus.ok(["build", "infra.yaml"]);
    assert!(built.stderr.contains("is left out"), "{}", built.stderr);
    let id = built.id();
    occopus_tests::wait::eventually("it has written", || {
        std::fs::read_to_string(&out).is_ok_and(|text| !text.is_empty())
    });
    assert_eq!(std::fs::read_to_string(&out).expect("written").trim(), "10.9.8.7");
    assert!(!mark.exists());
    occopus.ok(["destroy", "-i", &id]);
}
