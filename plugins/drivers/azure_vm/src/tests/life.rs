//! Whole lives of machines in the state machine of Azure.

use occopus_sdk::testing::DriverHarness;
use occopus_sdk::{Handle, Phase, testing};
use serde_json::{Value, json};

use super::azure::{Azure, SUBSCRIPTION};
use crate::AzureVm;

pub(super) const ID: &str = "0190f7a2-0000-7000-8000-00000000000a";
pub(super) const OTHER: &str = "0190f7a2-0000-7000-8000-00000000000b";

/// Observes a machine until it is in this phase.
#[track_caller]
pub(super) fn wait_for(driver: &DriverHarness<AzureVm>, handle: &Handle, phase: Phase) -> occopus_sdk::Observed {
    for _ in 0..100 {
        let seen = driver.observe(std::slice::from_ref(handle)).unwrap().remove(0);
        if seen.phase == phase {
            return seen;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("it is not {phase:?}: {:?}", driver.observe(std::slice::from_ref(handle)));
}

#[test]
fn a_private_machine_lives_and_leaves_the_group_alone() {
    let Some(azure) = Azure::start("a_private_machine_lives_and_leaves_the_group_alone") else { return };
    let driver = azure.driver(&json!({}));
    testing::host(|host| host.user_data = Some(b"#cloud-config\n".to_vec()));
    let made = driver.create(ID, json!({})).unwrap();
    assert_eq!(
        made.handle.data,
        format!("occopus-{ID} subscription={SUBSCRIPTION} group=demo location=westeurope infrastructure=infra-1")
    );
    let seen = wait_for(&driver, &made.handle, Phase::Running);
    assert_eq!(
        seen.addresses.iter().map(|one| (one.value.as_str(), one.internal)).collect::<Vec<_>>(),
        [("10.0.0.4", true)]
    );
    assert!(seen.attributes.iter().any(|(name, value)| name == "size" && value == "Standard_B1s"), "{seen:?}");
    // The same again is the same.
    testing::host(|host| host.repeated = true);
    assert_eq!(driver.create(ID, json!({})).unwrap().handle, made.handle);
    assert_eq!(driver.find(ID).unwrap().unwrap().handle, made.handle);
    assert_eq!(
        (azure.count("virtualMachines"), azure.count("virtualNetworks"), azure.count("publicIPAddresses")),
        (1, 1, 0)
    );
    driver.destroy(&made.handle).unwrap();
    assert_eq!(azure.resources(), []);
    driver.destroy(&made.handle).unwrap();
    assert_eq!(driver.observe(std::slice::from_ref(&made.handle)).unwrap()[0].phase, Phase::Gone);
    assert!(driver.find(ID).unwrap().is_none());
    let groups = azure.control("GET", "resources", &Value::Null)["groups"].clone();
    assert_eq!(groups.as_array().map(Vec::len), Some(1), "{groups}");
}

#[test]
fn a_public_machine_has_an_address_and_rules_that_go_with_it() {
    let Some(azure) = Azure::start("a_public_machine_has_an_address_and_rules_that_go_with_it") else { return };
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG0bC0J1kVvQ2U2r3Jw6b1Xg5mB6c7Yh1o9k3v2d4e5f";
    let public = json!({"public_ip_needed": true, "open_ports": [80, 443], "ssh_key_data": key, "password": null});
    let driver = azure.driver(&public);
    let one = driver.create(ID, json!({})).unwrap();
    let two = driver.create(OTHER, json!({})).unwrap();
    let seen = wait_for(&driver, &one.handle, Phase::Running);
    assert!(seen.addresses[0].value.starts_with("20.50.") && !seen.addresses[0].internal, "{seen:?}");
    assert!(seen.addresses[1].value.starts_with("10.0.0.") && seen.addresses[1].internal, "{seen:?}");
    assert_eq!(
        (azure.count("networkSecurityGroups"), azure.count("publicIPAddresses"), azure.count("virtualNetworks")),
        (1, 2, 1)
    );
    driver.destroy(&one.handle).unwrap();
    assert_eq!(
        (azure.count("networkSecurityGroups"), azure.count("publicIPAddresses"), azure.count("virtualNetworks")),
        (1, 1, 1)
    );
    driver.destroy(&two.handle).unwrap();
    assert_eq!(azure.resources(), []);
}

#[test]
fn the_group_goes_if_it_is_ours_and_the_user_asks_for_it() {
    let Some(azure) = Azure::start("the_group_goes_if_it_is_ours_and_the_user_asks_for_it") else { return };
    let driver = azure.driver(&json!({"delete_resource_group": true}));
    let made = driver.create(ID, json!({})).unwrap();
    driver.destroy(&made.handle).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let all = azure.control("GET", "resources", &Value::Null);
    assert_eq!(all["groups"].as_array().map(Vec::len), Some(0), "{all}");
}

#[test]
fn a_machine_without_room_is_removed() {
    let Some(azure) = Azure::start("a_machine_without_room_is_removed") else { return };
    for code in ["SkuNotAvailable", "AllocationFailed", "ZonalAllocationFailed", "QuotaExceeded", "OperationNotAllowed"]
    {
        let driver = azure.driver(&json!({"vm_size": format!("Test_{code}")}));
        let fault = driver.create(ID, json!({})).unwrap_err();
        assert_eq!(fault.reaction, occopus_sdk::Reaction::NoCapacity, "{code}: {fault:?}");
        assert_eq!(fault.code, format!("azure.{code}"));
        assert!(fault.details.iter().any(|detail| detail.pointer == "/vm_size"), "{fault:?}");
        assert_eq!(azure.resources(), [], "{code}");
    }
}

#[test]
fn many_machines_cost_one_write_each_and_one_list_a_page() {
    let Some(azure) = Azure::start("many_machines_cost_one_write_each_and_one_list_a_page") else { return };
    let driver = azure.driver(&json!({}));
    let ids: Vec<String> = (0..16).map(|number| format!("0190f7a2-0000-7000-8000-{number:012x}")).collect();
    let handles: Vec<Handle> = ids.iter().map(|id| driver.create(id, json!({})).unwrap().handle).collect();
    let counted = azure.requests();
    assert_eq!(counted["PUT Microsoft.Compute/virtualMachines"], json!(16), "{counted}");
    assert_eq!(counted["PUT Microsoft.Network/virtualNetworks"], json!(2), "the group was missing: {counted}");
    assert_eq!(counted["POST token"], json!(1), "{counted}");
    let seen = driver.observe(&handles).unwrap();
    assert!(seen.iter().all(|one| one.phase == Phase::Running && one.addresses.len() == 1), "{seen:?}");
    azure.forget_requests();
    let seen = driver.observe(&handles).unwrap();
    assert!(seen.iter().all(|one| one.phase == Phase::Running && one.addresses.len() == 1), "{seen:?}");
    assert_eq!(azure.requests(), json!({"GET Microsoft.Compute/virtualMachines list": 1}));
    let listed = driver.list_owned(None).unwrap();
    assert_eq!((listed.machines.len(), listed.cursor.as_deref()), (16, Some("left")));
    assert!(driver.list_owned(Some("left")).unwrap().machines.is_empty());
    for handle in &handles {
        driver.destroy(handle).unwrap();
    }
    assert_eq!(azure.resources(), []);
    let counted = azure.requests();
    assert_eq!(counted["DELETE Microsoft.Compute/virtualMachines"], json!(16), "{counted}");
    assert_eq!(counted["DELETE Microsoft.Network/virtualNetworks"], json!(1), "{counted}");
}

#[test]
fn pages_are_read_to_their_end() {
    let Some(azure) = Azure::start("pages_are_read_to_their_end") else { return };
    azure.control("POST", "settings", &json!({"page_size": 2}));
    let driver = azure.driver(&json!({}));
    let ids: Vec<String> = (0..5).map(|number| format!("0190f7a2-0000-7000-8000-{number:012x}")).collect();
    let handles: Vec<Handle> = ids.iter().map(|id| driver.create(id, json!({})).unwrap().handle).collect();
    assert!(driver.observe(&handles).unwrap().iter().all(|one| one.phase == Phase::Running));
    let (mut cursor, mut found) = (None, 0);
    loop {
        let page = driver.list_owned(cursor.as_deref()).unwrap();
        found += page.machines.len();
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, 5);
    azure.control("POST", "settings", &json!({"next_link_repeats": true}));
    assert_eq!(driver.observe(&handles).unwrap_err().code, "azure.repeating-page");
    azure.control("POST", "settings", &json!({"next_link_repeats": false, "next_link_base": "http://evil.test"}));
    assert_eq!(driver.observe(&handles).unwrap_err().code, "azure.foreign-link");
}

#[test]
fn what_happens_behind_our_back_is_seen() {
    let Some(azure) = Azure::start("what_happens_behind_our_back_is_seen") else { return };
    let driver = azure.driver(&json!({"priority": "Spot", "eviction_policy": "Deallocate"}));
    let made = driver.create(ID, json!({})).unwrap();
    wait_for(&driver, &made.handle, Phase::Running);
    let id = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/demo/providers/Microsoft.Compute/virtualMachines/occopus-{ID}"
    );
    for (power, phase) in [("stopped", Phase::Stopped), ("deallocated", Phase::Stopped), ("running", Phase::Running)] {
        azure.control("POST", "state", &json!({"id": id, "power": power}));
        assert_eq!(driver.observe(std::slice::from_ref(&made.handle)).unwrap()[0].phase, phase, "{power}");
    }
    azure.control("POST", "evict", &json!({"id": id}));
    let seen = driver.observe(std::slice::from_ref(&made.handle)).unwrap().remove(0);
    assert!(seen.phase == Phase::Stopped && seen.message.clone().unwrap().contains("evicted"), "{seen:?}");
    azure.control("POST", "delete", &json!({"id": id}));
    let many = vec![made.handle.clone(); 3];
    for handles in [&many[..1], &many] {
        assert!(driver.observe(handles).unwrap().iter().all(|one| one.phase == Phase::Gone));
    }
    driver.destroy(&made.handle).unwrap();
    assert_eq!(azure.resources(), []);
    azure.control("POST", "delete-group", &json!({"name": "demo"}));
    assert_eq!(driver.observe(std::slice::from_ref(&made.handle)).unwrap()[0].phase, Phase::Gone);
    driver.destroy(&made.handle).unwrap();
    assert!(driver.list_owned(None).unwrap().machines.is_empty());
    assert!(driver.find(ID).unwrap().is_none());
}

#[test]
fn a_machine_in_another_group_is_found_by_its_tag() {
    let Some(azure) = Azure::start("a_machine_in_another_group_is_found_by_its_tag") else { return };
    let made = azure.driver(&json!({})).create(ID, json!({})).unwrap();
    // As if somebody had moved it.
    let elsewhere = azure.driver(&json!({"resource_group": "old"}));
    let handle = Handle::new(1, made.handle.data.replace("group=demo", "group=old"));
    assert_eq!(elsewhere.observe(std::slice::from_ref(&handle)).unwrap()[0].phase, Phase::Running);
    assert_eq!(elsewhere.observe(&vec![handle.clone(); 3]).unwrap()[0].phase, Phase::Running);
    assert!(elsewhere.find(ID).unwrap().is_some());
    elsewhere.destroy(&handle).unwrap();
    assert_eq!(azure.count("virtualMachines"), 0);
    assert_eq!(elsewhere.observe(std::slice::from_ref(&handle)).unwrap()[0].phase, Phase::Gone);
}

#[test]
fn networks_and_cards_of_the_user_stay() {
    let Some(azure) = Azure::start("networks_and_cards_of_the_user_stay") else { return };
    // A machine with a network of the driver's makes what is the user's own here.
    let driver = azure.driver(&json!({}));
    let first = driver.create(ID, json!({})).unwrap();
    let network = "occopus-infra-1-westeurope";
    for section in [
        json!({"vnet_name": network}),
        json!({"vnet_name": network, "subnet_name": "nodes"}),
        json!({"vnet_name": format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/demo/providers/Microsoft.Network/virtualNetworks/{network}")}),
    ] {
        let own = azure.driver(&section);
        let made = own.create(OTHER, json!({})).unwrap();
        wait_for(&own, &made.handle, Phase::Running);
        assert_eq!((azure.count("virtualNetworks"), azure.count("networkInterfaces")), (1, 2));
        own.destroy(&made.handle).unwrap();
        assert_eq!((azure.count("virtualNetworks"), azure.count("networkInterfaces")), (1, 1));
    }
    let missing = azure.driver(&json!({"vnet_name": "none"})).create(OTHER, json!({})).unwrap_err();
    assert_eq!(missing.details[0].pointer, "/vnet_name", "{missing:?}");
    let missing =
        azure.driver(&json!({"vnet_name": network, "subnet_name": "none"})).create(OTHER, json!({})).unwrap_err();
    assert_eq!(
        (missing.reaction, missing.details[0].pointer.as_str()),
        (occopus_sdk::Reaction::GiveUp, "/subnet_name"),
        "{missing:?}"
    );
    azure.driver(&json!({})).destroy(&first.handle).unwrap();
    assert_eq!(azure.resources(), []);
}
