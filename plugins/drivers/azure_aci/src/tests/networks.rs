//! Networks of private groups.

use super::*;

const VNET: &str = "/subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/rg/providers/microsoft.network/\
                    virtualnetworks/occopus-aci-infra-1-westeurope";

#[test]
fn private_groups_of_an_infrastructure_share_a_network() {
    let azure = Azure::shared();
    let aci = private(&azure);
    let first = aci.create("1", json!({})).unwrap().handle;
    let second = aci.create("2", json!({})).unwrap().handle;
    let body = azure.lock().unwrap().body_of(&format!("PUT {VNET}"));
    assert_eq!(body["properties"]["addressSpace"]["addressPrefixes"], json!(["10.0.0.0/16"]));
    let subnet = &body["properties"]["subnets"][0];
    assert_eq!(
        (&subnet["name"], &subnet["properties"]["addressPrefix"]),
        (&json!("containers"), &json!("10.0.128.0/17"))
    );
    let delegation = "Microsoft.ContainerInstance/containerGroups";
    assert_eq!(
        subnet["properties"]["delegations"],
        json!([{"name": delegation, "properties": {"serviceName": delegation}}])
    );
    assert_eq!(
        azure.lock().unwrap().count(&format!("PUT {VNET}")),
        2,
        "one in vain, before the resource group was there"
    );
    let group = azure.lock().unwrap().body_of(PUT_GROUP);
    assert_eq!(
        group["properties"]["ipAddress"],
        json!({"type": "Private", "ports": [{"protocol": "TCP", "port": 80}]})
    );
    assert_eq!(
        group["properties"]["subnetIds"][0]["id"].as_str().unwrap().to_lowercase(),
        format!("{VNET}/subnets/containers")
    );
    assert_eq!(group["properties"]["containers"][0]["properties"]["environmentVariables"], json!([]));
    start(&azure, "occopus-1");
    let seen = aci.observe(std::slice::from_ref(&first)).unwrap().remove(0);
    assert_eq!((seen.addresses[0].value.as_str(), seen.addresses[0].internal), ("20.0.0.9", true));
    assert_eq!(aci.find("1").unwrap().unwrap().handle, first);
    // The network goes with the last one.
    aci.destroy(&first).unwrap();
    assert!(azure.lock().unwrap().resources.contains_key(VNET));
    aci.destroy(&second).unwrap();
    assert!(!azure.lock().unwrap().resources.contains_key(VNET));
    aci.destroy(&second).unwrap();
    // And is made again for the next one.
    aci.create("3", json!({})).unwrap();
    assert!(azure.lock().unwrap().resources.contains_key(VNET));
}

#[test]
fn many_private_groups_are_removed_without_a_list_for_each() {
    let azure = Azure::shared();
    let aci = private(&azure);
    let handles: Vec<Handle> = (0..20).map(|id| aci.create(&format!("{id:02}"), json!({})).unwrap().handle).collect();
    azure.lock().unwrap().calls.clear();
    handles.iter().for_each(|handle| aci.destroy(handle).unwrap());
    let azure = azure.lock().unwrap();
    let lists = azure.calls.iter().filter(|(what, _)| what.ends_with("containergroups")).count();
    assert_eq!((lists, azure.count(&format!("DELETE {VNET}")), azure.resources.len()), (2, 1, 1));
}

#[test]
fn deletions_that_are_operations_are_waited_for() {
    let azure = Azure::shared();
    let aci = private(&azure);
    let handles = ["1", "2"].map(|id| aci.create(id, json!({})).unwrap().handle);
    azure.lock().unwrap().deletion_polls = Some(3);
    handles.iter().for_each(|handle| aci.destroy(handle).unwrap());
    assert_eq!(azure.lock().unwrap().resources.len(), 1, "the network went with the last one");
    // With too little time, it is not done yet, and what is being deleted is not listed.
    let handles = ["3", "4"].map(|id| aci.create(id, json!({})).unwrap().handle);
    testing::host(|host| host.remaining_ms = 5_000);
    for handle in &handles {
        assert_eq!(aci.destroy(handle).unwrap_err().reaction, Reaction::Retry);
    }
    assert!(aci.list_owned(None).unwrap().machines.is_empty());
    testing::host(|host| host.remaining_ms = 60_000);
    handles.iter().for_each(|handle| aci.destroy(handle).unwrap());
    assert_eq!(azure.lock().unwrap().resources.len(), 1);
    // A public one goes by itself.
    let aci = plain(&azure);
    let made = aci.create("5", json!({})).unwrap().handle;
    testing::host(|host| host.remaining_ms = 5_000);
    aci.destroy(&made).unwrap();
}

#[test]
fn the_link_by_which_azure_holds_a_subnet_is_deleted() {
    let azure = Azure::shared();
    let aci = private(&azure);
    let made = aci.create("1", json!({})).unwrap().handle;
    azure.lock().unwrap().holds_subnets = true;
    aci.destroy(&made).unwrap();
    let link = format!(
        "DELETE {VNET}/subnets/containers/providers/microsoft.containerinstance/serviceassociationlinks/default"
    );
    assert_eq!(azure.lock().unwrap().count(&link), 1);
    assert!(!azure.lock().unwrap().resources.contains_key(VNET));
    // Whoever is in the subnet keeps it, in whatever list it shows.
    let made = aci.create("1", json!({})).unwrap().handle;
    azure.lock().unwrap().holds_subnets = true;
    let subnet = format!("{VNET}/subnets/containers");
    let user = json!([{"id": "/subscriptions/s/x"}]);
    azure.lock().unwrap().change(&subnet, |subnet| subnet["properties"]["ipConfigurations"] = user);
    assert_eq!(aci.destroy(&made).unwrap_err().reaction, Reaction::Retry);
    assert_eq!(azure.lock().unwrap().count(&link), 1);
    azure.lock().unwrap().change(&subnet, |subnet| subnet["properties"]["ipConfigurations"] = json!([]));
    aci.destroy(&made).unwrap();
    assert_eq!(azure.lock().unwrap().count(&link), 2);
    // As long as Azure holds it, the destruction is not done.
    let made = aci.create("1", json!({})).unwrap().handle;
    azure.lock().unwrap().holds_subnets = true;
    azure.lock().unwrap().overrides.push((link, 9, refusal(403, "AuthorizationFailed", "no right to it")));
    let fault = aci.destroy(&made).unwrap_err();
    assert_eq!((fault.reaction, fault.retry_after.is_some()), (Reaction::Retry, true));
    azure.lock().unwrap().holds_subnets = false;
    aci.destroy(&made).unwrap();
    assert!(!azure.lock().unwrap().resources.contains_key(VNET));
}

#[test]
fn a_network_that_vanished_is_made_again() {
    let azure = Azure::shared();
    let aci = private(&azure);
    aci.create("1", json!({})).unwrap();
    azure.lock().unwrap().resources.retain(|path, _| !path.contains("/providers/"));
    aci.create("2", json!({})).unwrap();
    assert!(azure.lock().unwrap().resources.contains_key(VNET));
}

#[test]
fn a_network_for_a_group_that_can_not_be_made_is_removed() {
    let azure = Azure::shared();
    let aci = private(&azure);
    azure.lock().unwrap().overrides.push((
        PUT_GROUP.to_owned(),
        1,
        refusal(400, "InaccessibleImage", "not accessible"),
    ));
    assert_eq!(aci.create("1", json!({})).unwrap_err().reaction, Reaction::GiveUp);
    assert!(!azure.lock().unwrap().resources.contains_key(VNET));
    // Another group is in it: it stays.
    let other = aci.create("2", json!({})).unwrap().handle;
    azure.lock().unwrap().overrides.push((
        PUT_GROUP.to_owned(),
        1,
        refusal(400, "InaccessibleImage", "not accessible"),
    ));
    aci.create("3", json!({})).unwrap_err();
    assert!(azure.lock().unwrap().resources.contains_key(VNET));
    aci.destroy(&other).unwrap();
    assert_eq!(azure.lock().unwrap().resources.len(), 1);
}

#[test]
fn a_network_without_a_group_is_found() {
    let azure = Azure::shared();
    let aci = private(&azure);
    aci.create("1", json!({})).unwrap();
    // The creation died before the group was there.
    azure.lock().unwrap().resources.retain(|path, _| !path.contains("containergroups"));
    let listed = aci.list_owned(None).unwrap().machines;
    assert_eq!((listed.len(), listed[0].instance_id.as_str(), listed[0].observed.phase), (1, "1", Phase::Stopped));
    aci.destroy(&listed[0].observed.handle).unwrap();
    assert!(!azure.lock().unwrap().resources.contains_key(VNET));
    aci.create("1", json!({})).unwrap();
    azure.lock().unwrap().resources.retain(|path, _| !path.contains("containergroups"));
    assert!(aci.find("2").unwrap().is_none());
    assert!(azure.lock().unwrap().resources.contains_key(VNET), "it is of another instance");
    assert!(aci.find("1").unwrap().is_none());
    assert!(!azure.lock().unwrap().resources.contains_key(VNET));
}

#[test]
fn networks_of_the_user_are_used_and_stay() {
    let azure = Azure::shared();
    plain(&azure).create("0", json!({})).unwrap();
    let vnet =
        format!("/subscriptions/{SUBSCRIPTION}/resourcegroups/rg/providers/microsoft.network/virtualnetworks/mine");
    let users = json!({"name": "mine", "properties": {
        "addressSpace": {"addressPrefixes": ["10.1.0.0/16"]}, "subnets": [{"properties": {"addressPrefix": "10.1.0.0/24"}}],
    }});
    azure.lock().unwrap().resources.insert(vnet.clone(), users);
    azure.lock().unwrap().resources.insert(format!("{vnet}/subnets/aci"), json!({"properties": {}}));
    let named = json!({"network_type": "private", "vnet_name": "mine", "subnet_name": "aci"});
    let by_id = json!({"network_type": "private", "subnet_id": format!("{vnet}/subnets/aci")});
    for more in [named, by_id] {
        let aci = harness(&azure, &more, |_| {});
        let made = aci.create("1", json!({})).unwrap().handle;
        assert!(!made.data.contains("network="), "{}", made.data);
        aci.destroy(&made).unwrap();
    }
    assert_eq!(azure.lock().unwrap().count(&format!("PUT {vnet}")), 0);
    // A subnet in the user's network is made at free addresses, once, and removed with the last group.
    let aci = harness(&azure, &json!({"network_type": "private", "vnet_name": "Mine"}), |_| {});
    let [first, second] = ["1", "2"].map(|id| aci.create(id, json!({})).unwrap().handle);
    let subnet = format!("{vnet}/subnets/occopus-aci-infra-1");
    assert_eq!(azure.lock().unwrap().body_of(&format!("PUT {subnet}"))["properties"]["addressPrefix"], "10.1.1.0/24");
    assert_eq!(azure.lock().unwrap().count(&format!("PUT {subnet}")), 1);
    assert_eq!(aci.find("1").unwrap().unwrap().handle, first);
    aci.destroy(&first).unwrap();
    assert!(azure.lock().unwrap().resources.contains_key(&subnet));
    aci.destroy(&second).unwrap();
    assert!(
        !azure.lock().unwrap().resources.contains_key(&subnet) && azure.lock().unwrap().resources.contains_key(&vnet)
    );
    let absent = harness(&azure, &json!({"network_type": "private", "vnet_name": "none"}), |_| {});
    let fault = absent.create("1", json!({})).unwrap_err();
    assert_eq!((fault.reaction, fault.details.last().unwrap().pointer.as_str()), (Reaction::GiveUp, "/vnet_name"));
}
