//! Client certificates of the credentials, at a real service that authenticates clients by them: Incus.

use std::path::Path;

use occopus_tests::{Finished, Incus, Occopus, TlsProxy};

/// Returns a home with the driver `asker` of `tests/fixtures`.
fn home() -> Occopus {
    let occopus = Occopus::new();
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/plugins/asker.wasm");
    occopus.write("home/plugins/asker.wasm", std::fs::read(plugin).expect("the plugin"));
    occopus.write("infra.yaml", "infra_name: asked\nuser_id: tester\nnodes:\n- {name: one, type: asked}\n");
    occopus
}

/// Writes a description with one node, for which the driver gets this path of the endpoint.
fn write_node(occopus: &Occopus, endpoint: &str, path: &str) {
    occopus.write(
        "nodes/node_definitions.yaml",
        format!(
            "'node_def:asked':\n- resource: {{type: asker, endpoint: '{endpoint}', path: '{path}'}}\n  \
             health_check: {{ping: false, min_ready_seconds: 0}}\n"
        ),
    );
}

/// Writes the files of a client, and a rule that names them.
fn write_credentials(occopus: &Occopus, authority: &str, client: Option<&(String, String)>) {
    occopus.write("home/ca.pem", authority);
    let mut rule = "ca: ca.pem".to_owned();
    if let Some((certificate, key)) = client {
        occopus.write("home/client.pem", certificate);
        occopus.write("home/client.key", key);
        rule += ", client_certificate: client.pem, client_key: client.key";
    }
    occopus.write_private("home/auth_data.yaml", format!("resource:\n- {{type: asker, auth_data: {{{rule}}}}}\n"));
}

/// Returns the server's answer for the path.
fn answer(occopus: &Occopus) -> String {
    let id = occopus.ok(["build", "infra.yaml"]).id();
    let status = occopus.status(&id);
    let attributes = status["nodes"][0]["instances"][0]["attributes"].clone();
    occopus.ok(["destroy", "-i", &id]);
    let attributes = attributes.as_array().expect("attributes").iter();
    let got = attributes.filter_map(|pair| pair.as_array()).find(|pair| pair[0] == "got").expect("what it got");
    got[1].as_str().expect("a text").to_owned()
}

/// Asserts that the build fails at once, without retries.
#[track_caller]
fn fails(occopus: &Occopus, words: &str) -> Finished {
    let built = occopus.run(["build", "infra.yaml"]);
    assert_eq!(built.code, Some(1), "{}", built.stderr);
    assert!(built.stderr.replace('\n', " ").contains(words) && !built.stderr.contains("tried"), "{}", built.stderr);
    assert!(occopus.ok(["maintain", "-l"]).stdout.contains("No active infrastructure"), "nothing is left");
    built
}

#[test]
fn a_client_is_known_by_the_certificate_of_its_credentials() {
    let test = "a_client_is_known_by_the_certificate_of_its_credentials";
    let Some(incus) = Incus::start(test) else { return };
    let occopus = home();
    // A certificate that the server does not trust.
    let stranger = TlsProxy::in_front_of("/nowhere.sock").client;
    for (client, trust, status) in
        [(Some(&incus.client), "trusted", "200"), (None, "untrusted", "403"), (Some(&stranger), "untrusted", "403")]
    {
        write_credentials(&occopus, &incus.authority, client);
        write_node(&occopus, &incus.endpoint, "/1.0");
        let answer_text = answer(&occopus);
        assert!(
            answer_text.starts_with("200 ") && answer_text.contains(&format!(r#""auth":"{trust}""#)),
            "{answer_text}"
        );
        write_node(&occopus, &incus.endpoint, "/1.0/instances");
        let answer_text = answer(&occopus);
        assert!(answer_text.starts_with(status), "{answer_text}");
    }
}

#[test]
fn each_fault_of_a_certificate_is_told_and_final() {
    let Some(incus) = Incus::start("each_fault_of_a_certificate_is_told_and_final") else { return };
    let (occopus, other) = (home(), TlsProxy::in_front_of("/nowhere.sock"));
    write_node(&occopus, &incus.endpoint, "/1.0");
    fails(&occopus, "is not trusted here; the credentials may name it (`ca`)");
    write_credentials(&occopus, &other.authority, Some(&incus.client));
    fails(&occopus, "is not trusted here; the credentials may name it (`ca`)");
    // The key of another certificate.
    write_credentials(&occopus, &incus.authority, Some(&(incus.client.0.clone(), other.client.1)));
    let failed = fails(&occopus, "`client_certificate` and `client_key` in the credentials");
    assert!(!failed.stderr.contains("PRIVATE KEY"), "{}", failed.stderr);
    // The certificate is valid for the address and for the name of the machine.
    write_credentials(&occopus, &incus.authority, Some(&incus.client));
    write_node(&occopus, &incus.endpoint.replace("127.0.0.1", "localhost"), "/1.0");
    fails(&occopus, "not for localhost");
}
