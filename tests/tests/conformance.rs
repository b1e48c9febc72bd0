//! The bundled plugins keep their contracts: `occopus plugin test`, against real servers.

use std::time::Duration;

use occopus_tests::wait::eventually;
use occopus_tests::{
    Docker, Moto, Occopus, Proxy, ProxyAction, TestAzure, TestCloudSigma, empty_docker_engine, has_python,
    keeps_its_contract, processes,
};

#[test]
fn docker() {
    let Some(docker) = Docker::connect("docker") else { return };
    let stranger = empty_docker_engine();
    let variables = [("DOCKER_ENDPOINT", docker.endpoint.as_str()), ("STRANGER", &stranger)];
    // The lists of an engine are never late.
    keeps_its_contract("driver-docker", "docker.yaml", &variables, &["wrong-credentials", "late-lists", "secrets"]);
}

#[test]
fn ec2() {
    let Some(moto) = Moto::start("ec2") else { return };
    let Some(stranger) = Moto::start_with_other_account("ec2") else { return };
    let [endpoint, stranger] = [&moto, &stranger].map(|moto| format!("http://{}", moto.address));
    let [access, secret] = moto.keys();
    let variables = [
        ("EC2_ENDPOINT", endpoint.as_str()),
        ("EC2_ACCESS_KEY", access),
        ("EC2_SECRET_KEY", secret),
        ("STRANGER", &stranger),
    ];
    keeps_its_contract("driver-ec2", "ec2.yaml", &variables, &[]);
    assert!(moto.machines().is_empty());
}

#[test]
fn azure_aci() {
    let Some(azure) = TestAzure::start("azure_aci") else { return };
    for network_type in ["public", "private"] {
        let mut variables = azure.variables().to_vec();
        variables.push(("NETWORK_TYPE", network_type));
        // No other Azure has a subscription of the same id.
        keeps_its_contract("driver-azure-aci", "azure_aci.yaml", &variables, &["another-server"]);
        assert!(azure.resources().is_empty(), "{:?}", azure.resources());
    }
}

#[test]
fn azure_vm() {
    let Some(azure) = TestAzure::start("azure_vm") else { return };
    // No other Azure has a subscription of the same id, and what Azure shows of one machine is never late.
    keeps_its_contract("driver-azure-vm", "azure_vm.yaml", &azure.variables(), &["another-server", "late-lists"]);
    assert!(azure.resources().is_empty(), "{:?}", azure.resources());
}

#[test]
fn cloudsigma() {
    let Some(sigma) = TestCloudSigma::start("cloudsigma") else { return };
    let Some(stranger) = TestCloudSigma::start_with_other_account("cloudsigma") else { return };
    let (endpoint, stranger) = (sigma.endpoint(), stranger.endpoint());
    // Nothing says that its lists are ever late.
    keeps_its_contract("driver-cloudsigma", "cloudsigma.yaml", &sigma.variables(&endpoint, &stranger), &["late-lists"]);
    assert!(sigma.is_empty(), "{:?} {:?}", sigma.all("servers"), sigma.all("drives"));
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

/// Tests a bundled plugin, and interrupts the test when a condition is met. Asserts that it was in this check then, and has
/// left nothing behind.
fn interrupt_test(plugin: &str, fixture: &str, check: &str, condition: impl FnMut() -> bool) {
    let occopus = Occopus::new();
    let bundled = occopus_plugins::PLUGINS.iter().find(|bundled| bundled.name == plugin).expect("bundled");
    let (file, fixture) = (occopus.write("plugin.wasm", bundled.bytes), occopus.write("fixture.yaml", fixture));
    let words = ["plugin".as_ref(), "test".as_ref(), file.as_os_str(), "--with".as_ref(), fixture.as_os_str()];
    let running = occopus.start(words);
    eventually(&format!("{check} is under way"), condition);
    processes::signal(running.id(), "INT");
    let output = running.wait_with_output().expect("it ends");
    let report = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(130), "{report}");
    for line in [format!("FAIL  {check:18} interrupted"), "ok    nothing-left".to_owned()] {
        assert!(report.contains(&line), "{line}: {report}");
    }
}

#[test]
fn an_interrupted_test_leaves_nothing_behind() {
    let mark = processes::unique_sleep_seconds(71);
    let fixture = format!("resource: {{type: local}}\nattributes: {{command: [sleep, '{mark}']}}\nmachines: 5000\n");
    interrupt_test("driver-local", &fixture, "observe-1000", || processes::processes_with(&mark) > 20);
    assert_eq!(processes::processes_with(&mark), 0);
}

#[test]
fn a_creation_that_is_on_its_way_at_an_interruption_is_removed_too() {
    const CREATION_DELAY: Duration = Duration::from_secs(3);
    let Some(moto) = Moto::start("a_creation_that_is_on_its_way_at_an_interruption_is_removed_too") else { return };
    let is_creation = |body: &str| body.contains("Action=RunInstances");
    let slowly =
        move |body: &str| if is_creation(body) { ProxyAction::Delay(CREATION_DELAY) } else { ProxyAction::Forward };
    let proxy = Proxy::in_front_of(&moto.address, slowly).expect("a proxy");
    let (address, [access, secret]) = (&proxy.address, moto.keys());
    let fixture = format!(
        "resource: {{type: ec2, endpoint: 'http://{address}', regionname: eu-west-1, image_id: ami-03cf127a, \
         instance_type: t3.small}}\nauth_data: {{accesskey: '{access}', secretkey: '{secret}'}}\n"
    );
    interrupt_test("driver-ec2", &fixture, "create", || proxy.requests() > 0);
    assert!(proxy.wait_until_idle(Duration::from_secs(60)), "the creation has not arrived");
    assert!(moto.machines().is_empty());
}
