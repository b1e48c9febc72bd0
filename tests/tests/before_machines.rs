//! Mistakes that otherwise only a cloud or a machine would notice: reported by `validate` and `plan`, at the user's line.

use occopus_tests::{Finished, Occopus};
use serde_json::Value;

const DESCRIPTION: &str = "infra_name: early\nuser_id: tester\nnodes:\n- {name: one, type: node}\n";

fn ec2(endpoint: &str, template: &str) -> String {
    format!(
        "'node_def:node':\n- resource:\n    type: ec2\n    endpoint: {endpoint}\n    regionname: eu-west-1\n    image_id: ami-1\n    \
         instance_type: t3.small\n  contextualisation:\n    type: cloudinit\n    context_template: |\n      {}\n",
        template.replace('\n', "\n      ")
    )
}

fn occopus(definitions: &str) -> Occopus {
    let occopus = Occopus::new();
    occopus.write("infra.yaml", DESCRIPTION);
    occopus.write("nodes/node_definitions.yaml", definitions);
    occopus
}

fn credentials(occopus: &Occopus, path: &str, text: &str) {
    occopus.write_private(path, text);
}

#[track_caller]
fn says(finished: &Finished, code: i32, words: &[&str]) {
    assert_eq!(finished.code, Some(code), "{}", finished.stderr);
    for word in words {
        assert!(finished.stderr.contains(word), "`{word}` is missing from\n{}", finished.stderr);
    }
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}

#[test]
fn placeholders_and_malformed_endpoints() {
    for (endpoint, words) in [
        ("replace_with_endpoint_of_ec2", ["value.placeholder", "node_definitions.yaml:4:15"]),
        ("https://h:99999/", ["value.endpoint", "node_definitions.yaml:4:15"]),
        ("ftp://example.org", ["value.endpoint", "node_definitions.yaml:4:15"]),
    ] {
        let occopus = occopus(&ec2(endpoint, "#cloud-config\n"));
        credentials(
            &occopus,
            "home/auth_data.yaml",
            "resource:\n- type: ec2\n  auth_data: {accesskey: a, secretkey: s}\n",
        );
        for command in ["validate", "plan", "build"] {
            says(&occopus.run([command, "infra.yaml"]), 3, &words);
        }
        // Such files can still be rendered and imported.
        says(&occopus.run(["render", "infra.yaml", "one"]), 0, &[]);
        says(&occopus.run(["import", "nodes/node_definitions.yaml"]), 0, &words);
    }
}

#[test]
fn urls_that_nobody_can_ask() {
    let definitions = |origin: &str, url: &str| {
        format!(
            "'node_def:node':\n- resource:\n    type: docker\n    endpoint: 'unix:///nowhere.sock'\n    origin: '{origin}'\n    \
             image: a\n  contextualisation:\n    type: docker\n    env: []\n    command: sleep 9\n  health_check:\n    ping: false\n    urls:\n    \
             - 'http://{{{{ip}}}}/'\n    - '{url}'\n"
        )
    };
    for (origin, url, words) in [
        ("local", "ftp://example.org/", ["ftp://example.org/", "`http` or `https`", "node_definitions.yaml:15:7"]),
        ("local", "example.org", ["example.org", "`http` or `https`", "node_definitions.yaml:15:7"]),
        ("ftp://h/a.tar", "http://h/", ["ftp://h/a.tar", "(http, https)", "node_definitions.yaml:5:"]),
    ] {
        let occopus = occopus(&definitions(origin, url));
        for command in ["validate", "plan", "build"] {
            says(&occopus.run([command, "infra.yaml"]), 3, &words);
        }
    }
}

#[test]
fn credentials_that_are_missing() {
    let occopus = occopus(&ec2("https://example.org", "#cloud-config\n"));
    let path = occopus.home().join("auth_data.yaml").display().to_string();
    let words = ["credentials.missing", "accesskey", "node_definitions.yaml:2:", path.as_str()];
    says(&occopus.run(["validate", "infra.yaml"]), 0, &words);
    says(&occopus.run(["validate", "--strict", "infra.yaml"]), 3, &words);
    says(&occopus.run(["plan", "infra.yaml"]), 3, &words);
    let report = occopus.ok(["validate", "infra.yaml", "--output", "json"]);
    let report: Value = serde_json::from_str(&report.stdout).expect("JSON");
    assert_eq!(
        (&report["warnings"][0]["code"], &report["warnings"][0]["line"]),
        (&"credentials.missing".into(), &2.into())
    );
    // Credentials copied from an example, or empty ones.
    for (value, message) in [("replace_with_your_key", "placeholder"), ("''", "an empty value for secretkey")] {
        let text = format!("resource:\n- type: ec2\n  auth_data: {{accesskey: a, secretkey: {value}}}\n");
        credentials(&occopus, "auth_data.yaml", &text);
        says(&occopus.run(["plan", "infra.yaml"]), 3, &[message]);
    }
}

#[test]
fn credentials_that_are_broken() {
    let occopus = occopus(&ec2("https://example.org", "#cloud-config\n"));
    for (text, word) in [
        ("resource: [hush\n", "yaml.syntax"),
        ("resource:\n- type: ec2\n  auth_data: {accesskey: hush}\n", "secretkey"),
    ] {
        credentials(&occopus, "mine.yaml", text);
        for command in ["validate", "plan"] {
            let report = occopus.run([command, "infra.yaml", "--auth_data_path", "mine.yaml"]);
            says(&report, 3, &[word, "mine.yaml:"]);
            assert!(!report.stderr.contains("hush"), "{}", report.stderr);
        }
    }
}

#[test]
fn credentials_beside_the_description_are_found_and_nothing_is_run_to_look_at_them() {
    let occopus = Occopus::new();
    occopus.write("project/infra.yaml", DESCRIPTION);
    occopus.write("project/nodes/node_definitions.yaml", ec2("https://example.org", "#cloud-config\n"));
    let marker = occopus.directory().join("mark");
    let command = format!("!command {{run: [sh, -c, 'touch {}; echo s'], lifetime: 1h}}", marker.display());
    let text = format!("resource:\n- type: ec2\n  auth_data:\n    accesskey: a\n    secretkey: {command}\n");
    credentials(&occopus, "project/auth_data.yaml", &text);
    for command in ["validate", "plan"] {
        let report = occopus.ok([command, "project/infra.yaml"]);
        assert!(!report.stderr.contains("credentials"), "{}", report.stderr);
        assert!(!marker.exists(), "{command} runs nothing");
    }
    let report = occopus.ok(["auth", "check", "project/infra.yaml"]);
    assert!(report.stdout.contains("project/auth_data.yaml:2"), "{}", report.stdout);
    assert!(marker.exists());
    // The file in the user's settings has precedence.
    credentials(&occopus, "home/auth_data.yaml", "resource:\n- type: ec2\n  auth_data: {accesskey: a, secretkey: s}\n");
    let report = occopus.ok(["auth", "check", "project/infra.yaml"]);
    assert!(report.stdout.contains("home/auth_data.yaml:2"), "{}", report.stdout);
}

#[test]
fn user_data_that_cloud_init_ignores() {
    for (template, line) in [
        ("---\n#cloud-config\npackages: [a]\n", 11),
        ("packages: [a]\n", 11),
        ("## template: jinja\n#cloud-config\n{% raw %}a: {{ v1.x }}\nb: c: d\n{% endraw %}", 14),
    ] {
        let occopus = occopus(&ec2("https://example.org", template));
        credentials(
            &occopus,
            "home/auth_data.yaml",
            "resource:\n- type: ec2\n  auth_data: {accesskey: a, secretkey: s}\n",
        );
        let at = format!("node_definitions.yaml:{line}:");
        says(&occopus.run(["validate", "infra.yaml"]), 0, &["cloudinit.ignored", &at]);
        says(&occopus.run(["plan", "infra.yaml"]), 0, &["cloudinit.ignored", &at]);
        let report = occopus.ok(["validate", "infra.yaml", "--output", "json"]);
        let report: Value = serde_json::from_str(&report.stdout).expect("JSON");
        assert_eq!(
            (&report["warnings"][0]["code"], &report["warnings"][0]["line"]),
            (&"cloudinit.ignored".into(), &line.into())
        );
        says(&occopus.run(["validate", "--strict", "infra.yaml"]), 3, &["--strict"]);
    }
}

/// A driver warns in its check; this is what reaches the user.
#[test]
fn warnings_of_drivers() {
    let azure = "type: azure_vm, endpoint: 'https://management.azure.com', resource_group: g, location: westeurope, vm_size: s, \
                 publisher: Canonical, offer: o, sku: s, version: latest, username: demo, password: Correct-Horse-1, \
                 public_ip_needed: true, open_ports: [80]";
    let group = "type: azure_aci, endpoint: 'https://management.azure.com', resource_group: g, location: westeurope, \
                 cpu_cores: 1, memory: 1, image: nginx, os_type: linux, network_type: public, ports: [80], vnet_name: unused";
    let sigma = "type: cloudsigma, endpoint: 'https://zrh.cloudsigma.com/api/2.0', \
                 libdrive_id: c7105ec8-0000-4000-8000-000000000003, description: {cpu: 2000, mem: 1073741824, vnc_password: p}";
    for (resource, contextualiser, code) in [
        (azure, "{type: cloudinit, context_template: '#cloud-config'}", "azure_vm.open-ports"),
        (group, "{type: docker, env: []}", "azure.unused"),
        (sigma, "{type: cloudinit, context_template: '#cloud-config'}", "cloudsigma.no-network"),
    ] {
        let occopus = occopus(&format!(
            "'node_def:node':\n- resource: {{{resource}}}\n  contextualisation: {contextualiser}\n  health_check: {{ping: false}}\n"
        ));
        says(&occopus.run(["validate", "infra.yaml"]), 0, &[code, "node_definitions.yaml:2:"]);
        let report = occopus.ok(["validate", "infra.yaml", "--output", "json"]);
        let report: Value = serde_json::from_str(&report.stdout).expect("JSON");
        let codes: Vec<_> = report["warnings"].as_array().expect("warnings").iter().map(|one| &one["code"]).collect();
        assert!(codes.contains(&&code.into()), "{codes:?}");
        says(&occopus.run(["validate", "--strict", "infra.yaml"]), 3, &["--strict"]);
    }
}
