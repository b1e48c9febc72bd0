//! Deployments of virtual machines on the state machine of Azure.

use occopus_tests::{Occopus, TestAzure, kill_builds};
use serde_json::json;

const MACHINES: &str = "Microsoft.Compute/virtualMachines";

/// Section of the existing tool's tutorial with its placeholders filled in, at this endpoint.
fn section(endpoint: &str, more: &str) -> String {
    format!(
        "- resource:\n    type: azure_vm\n    endpoint: {endpoint}\n    resource_group: demo\n    location : westeurope\n    \
         vm_size: Standard_B1s\n    publisher : Canonical\n    offer : ubuntu-24_04-lts\n    sku : server\n    version : latest\n    \
         username : demo\n    password : Correct-Horse-1\n{more}  contextualisation:\n    type: cloudinit\n    context_template: |\n      \
         #cloud-config\n      runcmd: [echo {{{{name}}}}]\n  health_check:\n    ping: false\n"
    )
}

/// Writes a description of a node on which others depend, and returns its name.
fn write(occopus: &Occopus, azure: &TestAzure, count: usize, more: &str) -> &'static str {
    let infrastructure = format!(
        "infra_name: azure\nuser_id: tester\nnodes:\n- &head {{name: head, type: machine}}\n\
         - &worker {{name: worker, type: machine, scaling: {{min: {count}, max: 200}}}}\n\
         dependencies:\n- [*worker, *head]\n"
    );
    occopus.write("infra.yaml", infrastructure);
    occopus.write("nodes/node_definitions.yaml", format!("'node_def:machine':\n{}", section(&azure.url, more)));
    // Where builds look for it by themselves.
    azure.write_credentials(occopus, &["azure_vm"]);
    "infra.yaml"
}

#[test]
fn builds_heals_scales_and_destroys() {
    let Some(azure) = TestAzure::start("builds_heals_scales_and_destroys") else { return };
    let occopus = Occopus::new();
    let file = write(&occopus, &azure, 3, "    public_ip_needed: True\n");
    let built = occopus.ok(["build", file, "-i", "it"]);
    assert!(!format!("{}{}", built.stdout, built.stderr).contains(azure.secret()));
    let before = azure.names(MACHINES);
    assert_eq!((before.len(), azure.names("Microsoft.Network/virtualNetworks").len()), (4, 1));

    azure.control("DELETE", "requests", &json!(null));
    occopus.ok(["maintain", "-i", "it"]);
    assert_eq!(azure.names(MACHINES), before);
    let lists = azure.requests();
    assert_eq!(lists.get(&format!("GET {MACHINES} list")), Some(&1), "a pass over one page is one list: {lists:?}");

    let id = format!(
        "/subscriptions/{}/resourceGroups/demo/providers/{MACHINES}/{}",
        occopus_tests::SUBSCRIPTION,
        before[2]
    );
    azure.control("POST", "delete", &json!({"id": id}));
    occopus.ok(["maintain", "-i", "it"]);
    let healed = azure.names(MACHINES);
    assert_eq!((healed.len(), healed.contains(&before[2])), (4, false));

    occopus.ok(["scale", "-i", "it", "-n", "worker", "-s", "5"]);
    occopus.ok(["maintain", "-i", "it"]);
    assert_eq!(azure.names(MACHINES).len(), 6);
    occopus.ok(["destroy", "-i", "it"]);
    assert!(azure.resources().is_empty(), "{:?}", azure.resources());
}

#[test]
fn where_there_is_no_room_the_next_implementation_is_taken() {
    let Some(azure) = TestAzure::start("where_there_is_no_room_the_next_implementation_is_taken") else { return };
    let occopus = Occopus::new();
    let file = write(&occopus, &azure, 2, "");
    let full = section(&azure.url, "").replace("Standard_B1s", "Test_ZonalAllocationFailed");
    let both = format!("'node_def:machine':\n{full}{}", section(&azure.url, ""));
    occopus.write("nodes/node_definitions.yaml", both);
    occopus.ok(["build", file, "-i", "it"]);
    assert_eq!(azure.names(MACHINES).len(), 3);
    occopus.ok(["destroy", "-i", "it"]);
    assert!(azure.resources().is_empty(), "{:?}", azure.resources());
}

#[test]
fn a_hundred_machines_cost_two_writes_each() {
    let Some(azure) = TestAzure::start("a_hundred_machines_cost_two_writes_each") else { return };
    let occopus = Occopus::new();
    let file = write(&occopus, &azure, 99, "");
    occopus.ok(["build", file, "-i", "it"]);
    let built = azure.requests();
    let of = |counters: &std::collections::BTreeMap<String, u64>, start: &str| -> u64 {
        counters.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, count)| count).sum()
    };
    assert_eq!(built.get(&format!("PUT {MACHINES}")), Some(&100), "{built:?}");
    assert!(of(&built, "PUT ") <= 110, "{built:?}");
    azure.control("DELETE", "requests", &json!(null));
    occopus.ok(["destroy", "-i", "it"]);
    let destroyed = azure.requests();
    assert_eq!(destroyed.get(&format!("DELETE {MACHINES}")), Some(&100), "{destroyed:?}");
    assert!(of(&destroyed, "") <= 260, "{destroyed:?}");
    assert!(azure.resources().is_empty());
}

#[test]
fn builds_that_are_killed_lose_double_and_leave_nothing() {
    let Some(azure) = TestAzure::start("builds_that_are_killed_lose_double_and_leave_nothing") else { return };
    kill_builds(&|occopus| write(occopus, &azure, 2, "    public_ip_needed: True\n"), 3, &|id| {
        let ours = |one: &serde_json::Value| one["tags"]["occopus.infrastructure"] == id;
        azure.resources().iter().filter(|one| one["type"] == MACHINES && ours(one)).count()
    });
    assert!(azure.resources().is_empty(), "{:?}", azure.resources());
}
