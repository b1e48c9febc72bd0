//! Checks before anything is made, with a pointer to the user's key; and keys that the schema takes.

use occopus_sdk::testing::{self, FakeHost};
use serde_json::{Value, json};

use super::section;
use crate::{AzureVm, Section};

fn found(changes: &Value) -> Vec<(String, String)> {
    let driver = testing::driver::<AzureVm>(FakeHost::default(), section(changes)).unwrap();
    let details = driver.check(json!({})).unwrap();
    assert!(testing::host(|host| host.requests.is_empty()));
    details.into_iter().map(|detail| (detail.pointer, detail.message)).collect()
}

#[test]
fn good_sections_pass() {
    let key = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC7 demo@example";
    for changes in [
        json!({}),
        json!({"endpoint": "https://management.azure.com", "location": "westeurope"}),
        json!({"ssh_key_data": key, "password": null}),
        json!({"public_ip_needed": true, "open_ports": [80]}),
        json!({"vnet_name": "v", "subnet_name": "s"}),
        json!({"nic_name": "n", "name": "azure", "customdata": "x", "server_name": "web-1"}),
        json!({"zones": ["1"], "priority": "Spot", "eviction_policy": "Delete", "max_price": 0.1}),
        json!({"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "2022-datacenter"}),
        json!({"version": 18.04, "public_ip_needed": "no", "tags": {"a": 1}}),
    ] {
        assert_eq!(found(&changes), [], "{changes}");
    }
}

#[test]
fn mistakes_are_found_where_they_are() {
    let long = "x".repeat(600);
    let tags: Value =
        (0..50).map(|number| (format!("t{number}"), json!("x"))).collect::<serde_json::Map<_, _>>().into();
    for (changes, pointer, words) in [
        (json!({"endpoint": "nowhere"}), "/endpoint", "https://management.azure.com"),
        (json!({"endpoint": "http://management.azure.com"}), "/endpoint", "https://management.azure.com alone"),
        (json!({"endpoint": "https://login.microsoftonline.com"}), "/endpoint", "not where Azure is managed"),
        (json!({"resource_group": " "}), "/resource_group", "empty"),
        (json!({"resource_group": "a/b"}), "/resource_group", "a/b"),
        (json!({"resource_group": "x".repeat(91)}), "/resource_group", "90"),
        (json!({"resource_group": "a."}), "/resource_group", "at the end"),
        (json!({"location": "west/europe"}), "/location", "westeurope"),
        (json!({"location": ""}), "/location", "westeurope"),
        (json!({"vm_size": ""}), "/vm_size", "empty"),
        (json!({"vm_size": "B1 s"}), "/vm_size", "spaces"),
        (json!({"publisher": ""}), "/publisher", "Canonical"),
        (json!({"offer": "a b"}), "/offer", "spaces"),
        (json!({"sku": ""}), "/sku", "empty"),
        (json!({"version": ""}), "/version", "latest"),
        (json!({"username": "root"}), "/username", "root"),
        (json!({"username": "Admin"}), "/username", "Admin"),
        (json!({"username": "x".repeat(65)}), "/username", "64"),
        (json!({"username": "x".repeat(21), "publisher": "MicrosoftWindowsServer"}), "/username", "20"),
        (json!({"password": "short"}), "/password", "three kinds"),
        (json!({"password": "alllowercase1"}), "/password", "three kinds"),
        (json!({"password": "Ab1!".repeat(20)}), "/password", "72"),
        (json!({"password": ""}), "/password", "ssh_key_data"),
        (json!({"ssh_key_data": "not a key"}), "/ssh_key_data", "ssh-rsa"),
        (json!({"ssh_key_data": "ssh-rsa A", "publisher": "MicrosoftWindowsServer"}), "/ssh_key_data", "Windows"),
        (json!({"server_name": "x".repeat(65)}), "/server_name", "64"),
        (json!({"server_name": "x".repeat(16), "publisher": "MicrosoftWindowsServer"}), "/server_name", "15"),
        (json!({"server_name": "a_b"}), "/server_name", "hyphens"),
        (json!({"zones": ["4"]}), "/zones/0", "1, 2 and 3"),
        (json!({"zones": ["1", "2"]}), "/zones", "one"),
        (json!({"subnet_name": "s"}), "/subnet_name", "vnet_name"),
        (json!({"nic_name": "n", "public_ip_needed": true}), "/nic_name", "leave out"),
        (json!({"open_ports": [80]}), "/open_ports", "public_ip_needed"),
        (json!({"open_ports": [0], "public_ip_needed": true}), "/open_ports/0", "not a port"),
        (json!({"eviction_policy": "Delete"}), "/eviction_policy", "Spot"),
        (json!({"max_price": 1}), "/max_price", "Spot"),
        (json!({"tags": {"a/b": "x"}}), "/tags/a~1b", "none of"),
        (json!({"tags": {"Microsoft-x": "x"}}), "/tags/Microsoft-x", "microsoft"),
        (json!({"tags": {long.clone(): "x"}}), &format!("/tags/{long}"), "512"),
        (json!({"tags": {"a": long}}), "/tags/a", "256"),
        (json!({"tags": tags}), "/tags", "50"),
    ] {
        let found = found(&changes);
        let is_there = found.iter().any(|(own, message)| own == pointer && message.contains(words));
        assert!(is_there, "{pointer} `{words}`: {found:?}");
        assert!(!format!("{found:?}").contains("alllowercase1"), "passwords are not repeated");
    }
    let driver = testing::driver::<AzureVm>(FakeHost::default(), section(&json!({}))).unwrap();
    testing::host(|host| host.user_data = Some(vec![b'x'; 65_536]));
    let details = driver.check(json!({})).unwrap();
    assert_eq!((details.len(), details[0].pointer.as_str()), (1, "#user-data"));
}

#[test]
fn open_ports_are_told_of() {
    for (changes, words) in [
        (json!({"public_ip_needed": true}), "pings"),
        (json!({"public_ip_needed": true, "open_ports": [80]}), "port 80"),
        (json!({"public_ip_needed": true, "open_ports": [443, 80], "ssh_key_data": "ssh-rsa A"}), "ports 22, 80, 443"),
    ] {
        assert_eq!(found(&changes), []);
        let warnings = testing::host(|host| host.warnings.clone());
        let [(code, message, pointer)] = warnings.as_slice() else { panic!("{warnings:?}") };
        assert_eq!((code.as_str(), pointer.as_str()), ("azure_vm.open-ports", "/public_ip_needed"));
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(found(&json!({})), []);
    assert!(testing::host(|host| host.warnings.is_empty()));
}

#[test]
fn the_keys_of_the_existing_tool_and_no_others_are_taken() {
    let schema = testing::section_schema::<Section>();
    let required: Vec<&str> = schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(
        required,
        ["endpoint", "resource_group", "location", "vm_size", "publisher", "offer", "sku", "version", "username"]
    );
    assert_eq!(schema["anyOf"], json!([{"required": ["password"]}, {"required": ["ssh_key_data"]}]));
    for key in ["public_ip_needed", "vnet_name", "subnet_name", "nic_name", "server_name", "customdata", "name"] {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
    assert_eq!(schema["additionalProperties"], json!(false));
}
