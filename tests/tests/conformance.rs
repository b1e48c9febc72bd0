//! The bundled plugins keep what their contracts promise: `occopus plugin test`, against real servers.

use std::path::{Path, PathBuf};

use occopus_tests::{Docker, Moto, Occopus, has_python};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/conformance").join(name)
}

/// Tests a bundled plugin. All checks must pass, but for those that the fixture can't try.
fn keeps_its_contract(plugin: &str, fixture_name: &str, variables: &[(&str, &str)], skipped: &[&str]) {
    let occopus = Occopus::new();
    let bundled = occopus_plugins::PLUGINS.iter().find(|bundled| bundled.name == plugin).expect("bundled");
    let file = occopus.write("plugin.wasm", bundled.bytes);
    let mut command = occopus.command(["plugin", "test", "--output", "json"]);
    command.arg(file).arg("--with").arg(fixture(fixture_name)).envs(variables.iter().copied());
    let output = command.output().expect("the program starts");
    let report = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::Deserializer::from_str(&report)
        .into_iter()
        .next()
        .and_then(Result::ok)
        .unwrap_or_else(|| panic!("{report}{}", String::from_utf8_lossy(&output.stderr)));
    let checks = report["checks"].as_array().expect("checks");
    let of = |outcome: &str| -> Vec<_> { checks.iter().filter(|check| check["outcome"] == outcome).collect() };
    assert!(of("failed").is_empty(), "{:#?}", of("failed"));
    assert!(output.status.success() && !of("passed").is_empty());
    let names: Vec<_> = of("skipped").iter().filter_map(|check| check["name"].as_str()).collect();
    assert_eq!(names, skipped, "{:#?}", of("skipped"));
}

#[test]
fn docker() {
    let Some(docker) = Docker::connect("docker") else { return };
    let variables = [("DOCKER_ENDPOINT", docker.endpoint.as_str())];
    keeps_its_contract("driver-docker", "docker.yaml", &variables, &["wrong-credentials", "secrets"]);
}

#[test]
fn ec2() {
    let Some(moto) = Moto::start("ec2") else { return };
    let (endpoint, [access, secret]) = (format!("http://{}", moto.address), moto.keys());
    let variables = [("EC2_ENDPOINT", endpoint.as_str()), ("EC2_ACCESS_KEY", access), ("EC2_SECRET_KEY", secret)];
    keeps_its_contract("driver-ec2", "ec2.yaml", &variables, &[]);
    assert!(moto.machines().is_empty());
}

#[test]
fn local() {
    keeps_its_contract("driver-local", "local.yaml", &[], &["wrong-credentials", "faults", "secrets"]);
}

#[test]
fn ports() {
    if has_python("ports") {
        let meaningless = ["silent-server", "closing-server", "babbling-server", "secrets"];
        keeps_its_contract("health-ports", "ports.yaml", &[], &meaningless);
    }
}

#[test]
fn urls() {
    if has_python("urls") {
        keeps_its_contract("health-urls", "urls.yaml", &[], &["secrets"]);
    }
}

#[test]
fn cloudinit() {
    keeps_its_contract("context-cloudinit", "cloudinit.yaml", &[], &["secrets"]);
}
