//! Deployments on a real OpenStack. Too slow for every run: `cargo xtask e2e --bed openstack` runs them, on the cloud that
//! `OS_AUTH_URL`, `OS_USERNAME`, `OS_PASSWORD` and `OS_PROJECT_ID` name, or on one that `tests/beds/openstack.sh` starts. It
//! needs an image `tiny`, a flavor `m1.tiny`, one network, and for floating IPs an external network `ext` with a router to
//! it. The project must be empty.

use std::time::Duration;

use occopus_tests::{Occopus, OpenStack};

fn write(occopus: &Occopus, cloud: &OpenStack, count: usize, more: &str) {
    occopus.write(
        "infra.yaml",
        format!(
            "infra_name: nova\nuser_id: tester\nnodes:\n- &head {{name: head, type: machine}}\n\
             - &worker {{name: worker, type: machine, scaling: {{min: {count}, max: 50}}}}\n\
             dependencies:\n- [*worker, *head]\n"
        ),
    );
    occopus.write(
        "nodes/node_definitions.yaml",
        format!(
            "'node_def:machine':\n- resource:\n    type: nova\n    endpoint: {}\n    project_id: {}\n    image_id: tiny\n    \
             flavor_name: m1.tiny\n{more}  contextualisation:\n    type: cloudinit\n    context_template: |\n      \
             #cloud-config\n      runcmd: [echo {{{{name}}}}]\n  health_check:\n    ping: false\n",
            cloud.auth_url, cloud.project
        ),
    );
}

#[test]
#[ignore = "needs an OpenStack: cargo xtask e2e --bed openstack"]
fn builds_heals_scales_and_destroys() {
    let cloud = OpenStack::from_environment();
    let occopus = Occopus::new();
    write(&occopus, &cloud, 3, "");
    let auth = ["--auth_data_path", cloud.write_credentials(&occopus)];
    let run = |command: &[&str]| occopus.ok(command.iter().chain(&auth));
    let built = run(&["build", "infra.yaml", "-i", "it"]);
    assert!(!format!("{}{}", built.stdout, built.stderr).contains(cloud.password()));
    let before = cloud.wait_for(4);
    run(&["maintain", "-i", "it"]);
    assert_eq!(cloud.servers(), before);

    cloud.delete(&before[2]);
    cloud.wait_for(3);
    run(&["maintain", "-i", "it"]);
    assert!(!cloud.wait_for(4).contains(&before[2]));

    run(&["scale", "-i", "it", "-n", "worker", "-s", "5"]);
    run(&["maintain", "-i", "it"]);
    cloud.wait_for(6);
    run(&["destroy", "-i", "it"]);
    cloud.wait_for(0);
}

#[test]
#[ignore = "needs an OpenStack: cargo xtask e2e --bed openstack"]
fn an_application_credential_is_enough() {
    let cloud = OpenStack::from_environment();
    let occopus = Occopus::new();
    write(&occopus, &cloud, 1, "");
    let auth = ["--auth_data_path", cloud.write_application_credential(&occopus)];
    let run = |command: &[&str]| occopus.ok(command.iter().chain(&auth));
    run(&["build", "infra.yaml", "-i", "it"]);
    cloud.wait_for(2);
    run(&["destroy", "-i", "it"]);
    cloud.wait_for(0);
}

#[test]
#[ignore = "needs an OpenStack: cargo xtask e2e --bed openstack"]
fn floating_ips_are_found_and_released_again() {
    let cloud = OpenStack::from_environment();
    let occopus = Occopus::new();
    write(&occopus, &cloud, 2, "    floating_ip: yes\n    floating_ip_pool: ext\n");
    let auth = ["--auth_data_path", cloud.write_credentials(&occopus)];
    let run = |command: &[&str]| occopus.ok(command.iter().chain(&auth));
    run(&["build", "infra.yaml", "-i", "it"]);
    let floating = cloud.floating_ips();
    assert_eq!(floating.len(), 3);
    let status = occopus.status("it").to_string();
    for address in &floating {
        assert!(status.contains(address.as_str()), "{address}: {status}");
    }
    run(&["destroy", "-i", "it"]);
    cloud.wait_for(0);
    assert!(cloud.floating_ips().is_empty());
}

#[test]
#[ignore = "needs an OpenStack: cargo xtask e2e --bed openstack"]
fn a_killed_build_goes_on() {
    let cloud = OpenStack::from_environment();
    let occopus = Occopus::new();
    write(&occopus, &cloud, 6, "");
    let auth = cloud.write_credentials(&occopus);
    let build = ["build", "infra.yaml", "-i", "it", "--auth_data_path", auth];
    occopus.ok(["validate", "infra.yaml", "--auth_data_path", auth]);
    for milliseconds in [400, 700, 1500, 3000] {
        occopus.kill_after(build, Duration::from_millis(milliseconds));
    }
    occopus.ok(build);
    cloud.wait_for(7);
    occopus.ok(["destroy", "-i", "it", "--auth_data_path", auth]);
    cloud.wait_for(0);
}

#[test]
#[ignore = "needs an OpenStack: cargo xtask e2e --bed openstack"]
fn refusals_point_at_what_the_user_wrote() {
    let cloud = OpenStack::from_environment();
    let occopus = Occopus::new();
    write(&occopus, &cloud, 1, "");
    let auth = cloud.write_credentials(&occopus);
    let build = ["build", "infra.yaml", "-i", "it", "--auth_data_path", auth];
    let definitions = occopus.directory().join("nodes/node_definitions.yaml");
    let good = std::fs::read_to_string(&definitions).expect("definitions");
    let nowhere = "11111111-2222-3333-4444-555555555555";
    for (from, to, message) in [
        ("image_id: tiny", "image_id: huge", "there is no image `huge`"),
        ("image_id: tiny", &format!("image_id: {nowhere}"), "can't use this image"),
        ("flavor_name: m1.tiny", "flavor_name: m9.huge", "there is no flavor `m9.huge`"),
        ("image_id: tiny", "image_id: tiny\n    key_name: nosuch", "no such key pair here"),
        ("image_id: tiny", "image_id: tiny\n    region_name: Mars", "no region `Mars`"),
        ("image_id: tiny", &format!("image_id: tiny\n    network_id: {nowhere}"), "can't use this network"),
        ("image_id: tiny", "image_id: tiny\n    floating_ip_pool: nosuch", "no external network `nosuch`"),
        (cloud.project.as_str(), "nosuch", "is this the id of a project of this user?"),
        ("runcmd: [echo", &format!("runcmd: [echo {}", "a".repeat(60_000)), "Nova takes 65535 at most"),
    ] {
        occopus.write("nodes/node_definitions.yaml", good.replace(from, to));
        let failed = occopus.run(build);
        assert!(failed.code != Some(0) && failed.stderr.contains("node_definitions.yaml:"), "{}", failed.stderr);
        assert!(failed.stderr.contains(message), "{message}: {}", failed.stderr);
        cloud.wait_for(0);
    }
    occopus.write("nodes/node_definitions.yaml", &good);
    let rule = std::fs::read_to_string(occopus.directory().join(auth)).expect("credentials");
    occopus.write(auth, rule.replace("password: ", "password: wrong"));
    let failed = occopus.run(build);
    assert!(failed.code == Some(1) && failed.stderr.contains("the user and the password"), "{}", failed.stderr);
    assert!(!failed.stderr.contains(cloud.password()), "{}", failed.stderr);
}

#[test]
#[ignore = "needs an OpenStack: cargo xtask e2e --bed openstack"]
fn keeps_its_contract() {
    let cloud = OpenStack::from_environment();
    let services = cloud.services();
    let variables: Vec<_> = services.iter().map(|(name, address)| (*name, address.as_str())).collect();
    // All tests use the same cloud.
    occopus_tests::keeps_its_contract("driver-nova", "nova.yaml", &variables, &["another-server", "late-lists"]);
    cloud.wait_for(0);
}
