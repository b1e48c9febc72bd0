//! Parts that Azure leaves, rights on one group alone, and changes by others: what real subscriptions do.

use occopus_sdk::{Handle, Phase, Reaction};
use serde_json::{Value, json};

use super::azure::{Azure, SUBSCRIPTION};
use super::life::{ID, OTHER, wait_for};

/// Returns the path of a resource in the group of the tests.
fn path(kind: &str, name: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/demo/providers/{kind}/{name}")
}

fn machine(instance: &str) -> String {
    path("Microsoft.Compute/virtualMachines", &format!("occopus-{instance}"))
}

fn public() -> Value {
    json!({"public_ip_needed": true})
}

#[test]
fn parts_that_a_deletion_leaves_are_removed_with_it() {
    let Some(azure) = Azure::start("parts_that_a_deletion_leaves_are_removed_with_it") else { return };
    let driver = azure.driver(&public());
    let one = driver.create(ID, json!({})).unwrap();
    let two = driver.create(OTHER, json!({})).unwrap();
    wait_for(&driver, &one.handle, Phase::Running);
    azure.detach_all(&machine(ID));
    driver.destroy(&one.handle).unwrap();
    for _ in 0..40 {
        if azure.count("publicIPAddresses") == 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(
        (azure.count("disks"), azure.count("networkInterfaces"), azure.count("publicIPAddresses")),
        (1, 1, 1),
        "{:?}",
        azure.resources()
    );
    driver.destroy(&two.handle).unwrap();
    azure.require_nothing_left("both are destroyed");
}

#[test]
fn a_card_that_is_reserved_after_a_failure_is_waited_for() {
    let Some(azure) = Azure::start("a_card_that_is_reserved_after_a_failure_is_waited_for") else { return };
    azure.control("POST", "settings", &json!({"nic_reserved": 3}));
    let full = azure.driver(&json!({"vm_size": "Test_AllocationFailed", "public_ip_needed": true}));
    let fault = full.create(ID, json!({})).unwrap_err();
    assert_eq!(fault.reaction, Reaction::NoCapacity, "{fault:?}");
    azure.require_nothing_left("there is no room");
}

#[test]
fn what_is_left_of_an_instance_is_removed_before_it_is_told_to_be_absent() {
    let Some(azure) = Azure::start("what_is_left_of_an_instance_is_removed_before_it_is_told_to_be_absent") else {
        return;
    };
    let driver = azure.driver(&public());
    for _ in 0..2 {
        let made = driver.create(ID, json!({})).unwrap();
        wait_for(&driver, &made.handle, Phase::Running);
        azure.detach_all(&machine(ID));
        azure.control("POST", "delete", &json!({"id": machine(ID)}));
        assert_eq!(azure.count("disks"), 1);
        assert!(driver.find(ID).unwrap().is_none());
        azure.require_nothing_left("it is not found");
    }
    // The disk has the name that the next attempt wants.
    let made = driver.create(ID, json!({})).unwrap();
    wait_for(&driver, &made.handle, Phase::Running);
    azure.detach_all(&machine(ID));
    azure.control("POST", "delete", &json!({"id": machine(ID)}));
    let fault = driver.create(ID, json!({})).unwrap_err();
    assert_eq!(fault.reaction, Reaction::Retry, "{fault:?}");
    let made = driver.create(ID, json!({})).unwrap();
    driver.destroy(&made.handle).unwrap();
    azure.require_nothing_left("it is destroyed");
}

#[test]
fn a_card_of_a_machine_that_is_gone_keeps_no_network() {
    let Some(azure) = Azure::start("a_card_of_a_machine_that_is_gone_keeps_no_network") else { return };
    let driver = azure.driver(&json!({}));
    let one = driver.create(ID, json!({})).unwrap();
    wait_for(&driver, &one.handle, Phase::Running);
    let two = driver.create(OTHER, json!({})).unwrap();
    azure.detach_all(&machine(ID));
    azure.control("POST", "delete", &json!({"id": machine(ID)}));
    driver.destroy(&two.handle).unwrap();
    azure.require_nothing_left("the last is destroyed");
}

#[test]
fn rules_that_the_user_narrowed_stay_so() {
    let Some(azure) = Azure::start("rules_that_the_user_narrowed_stay_so") else { return };
    let driver = azure.driver(&public());
    let one = driver.create(ID, json!({})).unwrap();
    let rules = azure.resources().into_iter().find(|(kind, _)| kind.ends_with("networkSecurityGroups")).unwrap().1;
    let rules = path("Microsoft.Network/networkSecurityGroups", &rules);
    let narrowed = json!({"location": "westeurope", "properties": {"securityRules": []}});
    azure.user("PUT", &rules, "2024-05-01", &narrowed);
    std::thread::sleep(std::time::Duration::from_millis(200));
    // A call of another day has nothing in its cache.
    let later = azure.driver(&public());
    let two = later.create(OTHER, json!({})).unwrap();
    let shown = azure.user("GET", &rules, "2024-05-01", &Value::Null);
    assert_eq!(shown["properties"]["securityRules"], json!([]), "{shown}");
    let foreign = json!({"location": "westeurope", "tags": {"occopus.infrastructure": "x"}, "properties": {}});
    azure.user("PUT", &rules, "2024-05-01", &foreign);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let third = "0190f7a2-0000-7000-8000-00000000000c";
    let fault = azure.driver(&public()).create(third, json!({})).unwrap_err();
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Conflict, "azure.other-rules"), "{fault:?}");
    for made in [one, two] {
        later.destroy(&made.handle).unwrap();
    }
    assert_eq!(azure.count("virtualMachines"), 0);
}

#[test]
fn rights_on_the_group_alone_suffice() {
    let Some(azure) = Azure::start("rights_on_the_group_alone_suffice") else { return };
    azure.control("POST", "settings", &json!({"only_groups": ["demo"]}));
    let driver = azure.driver(&public());
    let ids: Vec<String> = (0..3).map(|number| format!("0190f7a2-0000-7000-8000-{number:012x}")).collect();
    let handles: Vec<Handle> = ids.iter().map(|id| driver.create(id, json!({})).unwrap().handle).collect();
    let seen = driver.observe(&handles).unwrap();
    assert!(seen.iter().all(|one| one.phase == Phase::Running && one.addresses.len() == 2), "{seen:?}");
    assert_eq!(driver.list_owned(None).unwrap().machines.len(), 3);
    for handle in &handles {
        driver.destroy(handle).unwrap();
    }
    azure.require_nothing_left("all are destroyed");
    assert!(driver.observe(&handles).unwrap().iter().all(|one| one.phase == Phase::Gone));
    assert!(driver.find(&ids[0]).unwrap().is_none());
}

#[test]
fn lists_with_nothing_but_states_suffice() {
    let Some(azure) = Azure::start("lists_with_nothing_but_states_suffice") else { return };
    azure.control("POST", "settings", &json!({"sparse_status": true}));
    let driver = azure.driver(&json!({}));
    let ids: Vec<String> = (0..3).map(|number| format!("0190f7a2-0000-7000-8000-{number:012x}")).collect();
    let handles: Vec<Handle> = ids.iter().map(|id| driver.create(id, json!({})).unwrap().handle).collect();
    assert!(driver.observe(&handles).unwrap().iter().all(|one| one.phase == Phase::Running));
    for (number, handle) in handles.iter().enumerate() {
        driver.destroy(handle).unwrap();
        let expected = usize::from(number + 1 < handles.len());
        assert_eq!(azure.count("virtualNetworks"), expected, "{:?}", azure.resources());
    }
    azure.require_nothing_left("all are destroyed");
}

#[test]
fn a_failed_network_keeps_the_subnets_of_the_user() {
    let Some(azure) = Azure::start("a_failed_network_keeps_the_subnets_of_the_user") else { return };
    azure.driver(&json!({})).create(ID, json!({})).unwrap();
    let network = path("Microsoft.Network/virtualNetworks", "occopus-infra-1-westeurope");
    let subnet = json!({"properties": {"addressPrefix": "10.0.200.0/24"}});
    azure.user("PUT", &format!("{network}/subnets/mine"), "2024-05-01", &subnet);
    std::thread::sleep(std::time::Duration::from_millis(200));
    azure.control("POST", "state", &json!({"id": network, "provisioning": "Failed"}));
    azure.driver(&json!({})).create(OTHER, json!({})).unwrap();
    let shown = azure.user("GET", &network, "2024-05-01", &Value::Null);
    assert_eq!(shown["properties"]["subnets"].as_array().map(Vec::len), Some(2), "{shown}");
}

#[test]
fn one_look_up_that_fails_leaves_the_others_known() {
    let Some(azure) = Azure::start("one_look_up_that_fails_leaves_the_others_known") else { return };
    let driver = azure.driver(&json!({}));
    let ids: Vec<String> = (0..3).map(|number| format!("0190f7a2-0000-7000-8000-{number:012x}")).collect();
    let mut handles: Vec<Handle> = ids.iter().map(|id| driver.create(id, json!({})).unwrap().handle).collect();
    let gone = handles[0].data.replace("000000000000 ", "00000000000f ");
    handles.push(Handle::new(1, gone));
    let fault =
        json!({"method": "GET", "path": "00000000000f", "status": 500, "code": "InternalServerError", "times": null});
    azure.control("POST", "faults", &fault);
    let seen = driver.observe(&handles).unwrap();
    let phases: Vec<Phase> = seen.iter().map(|one| one.phase).collect();
    assert_eq!(phases, [Phase::Running, Phase::Running, Phase::Running, Phase::Unknown], "{seen:?}");
}

#[test]
fn a_group_in_which_something_shows_late_stays() {
    let Some(azure) = Azure::start("a_group_in_which_something_shows_late_stays") else { return };
    let driver = azure.driver(&json!({"delete_resource_group": true}));
    let made = driver.create(ID, json!({})).unwrap();
    wait_for(&driver, &made.handle, Phase::Running);
    azure.control("POST", "settings", &json!({"list_lag": 6}));
    let rules = path("Microsoft.Network/networkSecurityGroups", "mine");
    azure.user("PUT", &rules, "2024-05-01", &json!({"location": "westeurope", "properties": {}}));
    driver.destroy(&made.handle).unwrap();
    assert_eq!(azure.resources(), [("Microsoft.Network/networkSecurityGroups".to_owned(), "mine".to_owned())]);
    let all = azure.control("GET", "resources", &Value::Null);
    assert_eq!(all["groups"][0]["properties"]["provisioningState"], "Succeeded", "{all}");
}
