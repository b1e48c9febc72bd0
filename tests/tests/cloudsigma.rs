//! Whole lives of servers of CloudSigma, by the real binary, on the state machine in `examples/test-cloudsigma`.

use occopus_tests::wait::eventually;
use occopus_tests::{LIBRARY_DRIVE, Occopus, TestCloudSigma, kill_builds};
use serde_json::{Value, json};

const NICS: &str = "      nics:\n      - ip_v4_conf: {conf: dhcp}\n";

/// Writes a head and workers, with the files of the published tutorial as the pattern.
fn write(occopus: &Occopus, sigma: &TestCloudSigma, workers: usize, more: &str) -> &'static str {
    occopus.write(
        "infra.yaml",
        format!(
            "infra_name: sigma\nuser_id: tester\nnodes:\n- &head {{name: head, type: machine}}\n\
             - &worker {{name: worker, type: machine, scaling: {{min: {workers}, max: 50}}}}\ndependencies:\n- [*worker, *head]\n"
        ),
    );
    occopus.write(
        "nodes/node_definitions.yaml",
        format!(
            "'node_def:machine':\n- resource:\n    name: my_cloudsigma_cloud\n    type: cloudsigma\n    endpoint: {}\n    \
             libdrive_id: {LIBRARY_DRIVE}\n    description:\n      cpu: 2000\n      mem: 1073741824\n      \
             vnc_password: secret\n{more}  contextualisation:\n    \
             type: cloudinit\n    context_template: |\n      #cloud-config\n      runcmd: [echo {{{{name}}}}]\n  health_check:\n    \
             ping: false\n",
            sigma.endpoint()
        ),
    );
    sigma.write_credentials(occopus);
    "infra.yaml"
}

#[test]
fn builds_heals_scales_and_destroys() {
    let Some(sigma) = TestCloudSigma::start("builds_heals_scales_and_destroys") else { return };
    let occopus = Occopus::new();
    write(&occopus, &sigma, 3, NICS);
    let built = occopus.ok(["build", "infra.yaml", "-i", "it"]);
    assert!(!format!("{}{}", built.stdout, built.stderr).contains(sigma.password()));
    let running = || {
        let all = sigma.servers_of("it");
        all.iter().filter(|server| server["status"] == "running").count()
    };
    assert_eq!((running(), sigma.all("drives").len()), (4, 4));
    for server in sigma.servers_of("it") {
        let address = server["runtime"]["nics"][0]["ip_v4"]["uuid"].as_str().expect("an address").to_owned();
        assert!(occopus.status("it").to_string().contains(&address), "{address}");
    }
    occopus.ok(["maintain", "-i", "it"]);
    assert_eq!(running(), 4);

    // One is removed by somebody, with its drive left; then one is stopped. Both are replaced, each with its drive.
    let id_of = |node: &str| {
        let all = sigma.servers_of("it");
        all.iter().find(|server| server["meta"]["occopus-node"] == node).expect("a server")["uuid"].clone()
    };
    let ids = [id_of("worker"), id_of("head")];
    let changes = [("delete", json!({"id": ids[0]})), ("state", json!({"id": ids[1], "status": "stopped"}))];
    for ((path, change), id) in changes.iter().zip(&ids) {
        sigma.control("POST", path, change);
        occopus.ok(["maintain", "-i", "it"]);
        assert_eq!((running(), sigma.all("servers").len(), sigma.all("drives").len()), (4, 4, 4), "{path}");
        assert!(sigma.servers_of("it").iter().all(|server| server["uuid"] != *id), "{path}");
    }

    occopus.ok(["scale", "-i", "it", "-n", "worker", "-s", "5"]);
    occopus.ok(["maintain", "-i", "it"]);
    assert_eq!(running(), 6);
    occopus.ok(["destroy", "-i", "it"]);
    assert!(sigma.is_empty());
}

#[test]
fn what_is_refused_is_told_at_its_line_and_leaves_nothing() {
    let Some(sigma) = TestCloudSigma::start("what_is_refused_is_told_at_its_line_and_leaves_nothing") else { return };
    let occopus = Occopus::new();
    for (more, pointer) in [("      smp: many\n", "smp"), ("      pubkeys: [nobodys]\n", "nobodys")] {
        write(&occopus, &sigma, 1, more);
        let failed = occopus.run(["build", "infra.yaml", "-i", "it"]);
        assert_ne!(failed.code, Some(0));
        assert!(failed.stderr.contains(pointer), "{}", failed.stderr);
        assert!(sigma.is_empty());
    }
    write(&occopus, &sigma, 1, NICS);
    sigma.settings(&json!({"clone_ends": "failed"}));
    let failed = occopus.run(["build", "infra.yaml", "-i", "it"]);
    assert!(failed.stderr.contains("could not clone its drive"), "{}", failed.stderr);
    assert!(sigma.is_empty());
    sigma.settings(&json!({"clone_ends": "success", "balance": 0}));
    let failed = occopus.run(["build", "infra.yaml", "-i", "it"]);
    assert!(failed.stderr.contains("Not enough money"), "{}", failed.stderr);
    assert!(sigma.is_empty());
}

#[test]
fn orphans_are_servers_by_metadata_and_drives_by_name() {
    let Some(sigma) = TestCloudSigma::start("orphans_are_servers_by_metadata_and_drives_by_name") else { return };
    let occopus = Occopus::new();
    write(&occopus, &sigma, 2, NICS);
    occopus.ok(["build", "infra.yaml", "-i", "it"]);
    // The store is lost, and one server with it, whose drive stays.
    let one = sigma.servers_of("it")[0]["uuid"].clone();
    sigma.control("POST", "delete", &json!({"id": one}));
    let fresh = Occopus::new();
    write(&fresh, &sigma, 2, NICS);
    fresh.ok(["destroy", "-i", "it", "--orphans", "infra.yaml"]);
    assert!(sigma.is_empty(), "{:?}", sigma.all("drives"));
}

#[test]
fn killed_builds_lose_and_double_nothing() {
    let Some(sigma) = TestCloudSigma::start("killed_builds_lose_and_double_nothing") else { return };
    let count = |infrastructure: &str| {
        let servers = sigma.servers_of(infrastructure).len();
        if servers == 0 {
            let is_ours = |drive: &&Value| drive["name"].as_str().is_some_and(|name| name.contains(infrastructure));
            return sigma.all("drives").iter().filter(is_ours).count();
        }
        servers
    };
    kill_builds(&|occopus| write(occopus, &sigma, 3, NICS), 4, &count);
    eventually("nothing is left", || sigma.is_empty());
}
