//! The state machine of CloudSigma, which the tests of its driver trust, held to what others made: CloudSigma's own client,
//! apache-libcloud, and cloud-init as the reader of what the driver writes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use occopus_tests::{LIBRARY_DRIVE, Occopus, StateMachine, TestCloudSigma, skip};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

/// Returns the Python that an environment variable names, or the default one, if it has these modules.
fn python_with(test: &str, modules: &str, variable: &str, default: &str, packages: &str) -> Option<String> {
    let python = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    let mut probe = Command::new(&python);
    probe.args(["-c", &format!("import {modules}")]).stdout(Stdio::null()).stderr(Stdio::null());
    if probe.status().is_ok_and(|status| status.success()) {
        return Some(python);
    }
    skip(test, &format!("`{python}` has no {modules} ({packages}; {variable} may name another Python)"));
    None
}

#[test]
fn the_client_of_cloudsigma_and_libcloud_drive_it() {
    let test = "the_client_of_cloudsigma_and_libcloud_drive_it";
    let packages = "pip install cloudsigma==2.0.0 apache-libcloud==3.9.1";
    let Some(python) = python_with(test, "cloudsigma, libcloud", "CLOUDSIGMA_PYTHON", "python3", packages) else {
        return;
    };
    let Some(sigma) = TestCloudSigma::start(test) else { return };
    // libcloud insists on TLS.
    let folder = tempfile::tempdir().expect("a folder");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let certificate = params.self_signed(&key).expect("a certificate");
    let [certificate_file, key_file] = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&certificate_file, certificate.pem()).expect("written");
    std::fs::write(&key_file, key.serialize_pem()).expect("written");
    let [certificate_file, key_file] = [&certificate_file, &key_file].map(|path| path.to_str().expect("UTF-8"));
    let arguments = ["--host", "localhost", "--tls", certificate_file, key_file];
    let Some(secure) = StateMachine::start(test, &TestCloudSigma::folder(), &arguments) else { return };
    let script = TestCloudSigma::folder().join("check_with_clients.py");
    let mut command = Command::new(&python);
    let run =
        command.arg("-B").arg(script).args([&sigma.url, &secure.url, certificate_file]).output().expect("it starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// Returns what the real cloud-init reads from the metadata of a server.
fn read_with_cloud_init(python: &str, server: &Value) -> Value {
    let script = TestCloudSigma::folder().join("read_with_cloud_init.py");
    let mut command = Command::new(python);
    command.arg("-B").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("it starts");
    running.stdin.take().expect("its input").write_all(server.to_string().as_bytes()).expect("written");
    let output = running.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn cloud_init_reads_what_the_driver_writes() {
    let test = "cloud_init_reads_what_the_driver_writes";
    let (modules, packages) = ("cloudinit, serial", "apt-get install cloud-init");
    let Some(python) = python_with(test, modules, "CLOUD_INIT_PYTHON", "/usr/bin/python3", packages) else { return };
    let Some(sigma) = TestCloudSigma::start(test) else { return };
    let occopus = Occopus::new();
    occopus.write(
        "infra.yaml",
        "infra_name: sigma\nuser_id: t\nnodes:\n- {name: full, type: full}\n- {name: bare, type: bare}\n",
    );
    let resource = format!(
        "- resource:\n    type: cloudsigma\n    endpoint: {}\n    libdrive_id: {LIBRARY_DRIVE}\n    description: {{cpu: 2000, mem: \
         1073741824, vnc_password: secret, name: a web server, nics: [{{ip_v4_conf: {{conf: dhcp}}}}], meta: {{ssh_public_key: \
         'ssh-ed25519 AAAA me'}}}}\n  health_check: {{ping: false}}\n",
        sigma.endpoint()
    );
    let context = "  contextualisation:\n    type: cloudinit\n    context_template: |\n      #cloud-config\n      \
                   runcmd: [echo é]\n";
    occopus.write(
        "nodes/node_definitions.yaml",
        format!(
            "'node_def:full':\n{resource}{context}'node_def:bare':\n{}",
            resource.replace("meta: {ssh_public_key: 'ssh-ed25519 AAAA me'}", "smp: 2")
        ),
    );
    sigma.write_credentials(&occopus);
    occopus.ok(["build", "infra.yaml", "-i", "it"]);
    let servers = sigma.servers_of("it");
    let with =
        |node: &str| servers.iter().find(|server| server["meta"]["occopus-node"] == node).expect("a server").clone();
    let (full, bare) = (with("full"), with("bare"));
    let read = read_with_cloud_init(&python, &full);
    assert_eq!((&read["found"], &read["id"]), (&Value::Bool(true), &full["uuid"]));
    assert!(
        read["user_data"].as_str().is_some_and(|text| text.starts_with("#cloud-config") && text.contains("echo é")),
        "{read}"
    );
    assert_eq!(read["keys"], serde_json::json!(["ssh-ed25519 AAAA me"]));
    // Without a key and without user data it is content, too.
    let read = read_with_cloud_init(&python, &bare);
    assert_eq!((&read["found"], &read["id"]), (&Value::Bool(true), &bare["uuid"]));
    occopus.ok(["destroy", "-i", "it"]);
    assert!(sigma.is_empty());
}
