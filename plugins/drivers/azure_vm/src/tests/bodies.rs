//! Bodies that the driver sends, in the shapes of the interface.

use occopus_sdk::testing;
use serde_json::{Value, json};

use super::azure::Azure;
use super::life::ID;

/// Returns the body of the PUT of a machine with this section.
fn sent(azure: &std::rc::Rc<Azure>, changes: &Value) -> Value {
    let driver = azure.driver(changes);
    testing::host(|host| host.user_data = Some(b"#cloud-config\n".to_vec()));
    // Only the request counts here.
    let _answer = driver.create(ID, json!({}));
    let requests = testing::host(|host| host.requests.clone());
    let put =
        requests.iter().find(|request| request.method == "PUT" && request.url.contains("virtualMachines")).unwrap();
    let none_match = put.headers.iter().find(|(name, _)| name == "if-none-match");
    assert_eq!(none_match.map(|(_, value)| value.as_str()), Some("*"));
    azure.control("POST", "reset", &Value::Null);
    serde_json::from_slice(&put.body).unwrap()
}

#[test]
fn one_body_makes_all_and_all_goes_with_it() {
    let Some(azure) = Azure::start("one_body_makes_all_and_all_goes_with_it") else { return };
    let part = format!("occ-infra-1.{}", ID.replace('-', ""));
    let group =
        format!("/subscriptions/{}/resourceGroups/demo/providers/Microsoft.Network", super::azure::SUBSCRIPTION);
    let body = sent(&azure, &json!({"public_ip_needed": true, "tags": {"team": "a", "occopus.instance": "forged"}}));
    let card = json!({
        "name": part,
        "properties": {
            "primary": true, "deleteOption": "Delete",
            "networkSecurityGroup": {"id": format!("{group}/networkSecurityGroups/{}", crate::names::rules("infra-1", "westeurope", &[]))},
            "ipConfigurations": [{"name": "ipconfig", "properties": {
                "primary": true,
                "subnet": {"id": format!("{group}/virtualNetworks/occopus-infra-1-westeurope/subnets/nodes")},
                "publicIPAddressConfiguration": {
                    "name": part, "sku": {"name": "Standard"},
                    "properties": {"deleteOption": "Delete", "publicIPAllocationMethod": "Static"},
                },
            }}],
        },
    });
    assert_eq!(
        body,
        json!({
            "location": "westeurope",
            "tags": {"occopus.infrastructure": "infra-1", "occopus.instance": ID, "occopus.node": "node", "team": "a"},
            "properties": {
                "hardwareProfile": {"vmSize": "Standard_B1s"},
                "storageProfile": {
                    "imageReference": {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"},
                    "osDisk": {"createOption": "FromImage", "name": part, "deleteOption": "Delete"},
                },
                "osProfile": {
                    "computerName": "node-00000000000a", "adminUsername": "demo",
                    "customData": "I2Nsb3VkLWNvbmZpZwo=", "adminPassword": "Correct-Horse-1",
                },
                "networkProfile": {"networkApiVersion": "2022-11-01", "networkInterfaceConfigurations": [card]},
            },
        })
    );
}

#[test]
fn further_keys_reach_azure() {
    let Some(azure) = Azure::start("further_keys_reach_azure") else { return };
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG0bC0J1kVvQ2U2r3Jw6b1Xg5mB6c7Yh1o9k3v2d4e5f";
    let body = sent(
        &azure,
        &json!({
            "ssh_key_data": key, "password": null, "zones": [2], "priority": "Spot", "max_price": 0.05, "server_name": "web",
            "plan": {"name": "n", "product": "p", "publisher": "q"}, "identity": ["system", "/subscriptions/x/y"],
        }),
    );
    let path = "/home/demo/.ssh/authorized_keys";
    assert_eq!(
        body["properties"]["osProfile"],
        json!({
            "computerName": "web", "adminUsername": "demo", "customData": "I2Nsb3VkLWNvbmZpZwo=",
            "linuxConfiguration": {"disablePasswordAuthentication": true, "ssh": {"publicKeys": [{"path": path, "keyData": key}]}},
        })
    );
    let card = &body["properties"]["networkProfile"]["networkInterfaceConfigurations"][0]["properties"];
    assert!(card.get("networkSecurityGroup").is_none(), "a private machine has no rules: {card}");
    assert!(card["ipConfigurations"][0]["properties"].get("publicIPAddressConfiguration").is_none(), "{card}");
    assert_eq!(body["zones"], json!(["2"]));
    assert_eq!(body["plan"], json!({"name": "n", "product": "p", "publisher": "q"}));
    assert_eq!(
        body["identity"],
        json!({"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {"/subscriptions/x/y": {}}})
    );
    assert_eq!(body["properties"]["priority"], json!("Spot"));
    assert_eq!(body["properties"]["evictionPolicy"], json!("Delete"));
    assert_eq!(body["properties"]["billingProfile"], json!({"maxPrice": 0.05}));
    let both = sent(&azure, &json!({"ssh_key_data": key}));
    assert_eq!(both["properties"]["osProfile"]["linuxConfiguration"]["disablePasswordAuthentication"], json!(false));
    assert_eq!(both["properties"]["osProfile"]["adminPassword"], json!("Correct-Horse-1"));
    let card = sent(&azure, &json!({"nic_name": "mine"}));
    let id = format!(
        "/subscriptions/{}/resourceGroups/demo/providers/Microsoft.Network/networkInterfaces/mine",
        super::azure::SUBSCRIPTION
    );
    assert_eq!(
        card["properties"]["networkProfile"],
        json!({"networkInterfaces": [{"id": id, "properties": {"primary": true, "deleteOption": "Detach"}}]})
    );
}
