//! The bundled plugins keep what their contracts promise: `occopus plugin test`, against real servers.

use occopus_tests::{Docker, Moto, has_python, keeps_its_contract};

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
