//! Mistakes that are refused before anything is made, warnings, and the output of containers.

use occopus_sdk::testing::section_schema;

use super::*;
use crate::Section;

fn mistakes(change: &Value, attributes: Value) -> Vec<(String, String)> {
    let aci = testing::driver::<AzureAci>(FakeHost::default(), section(change)).unwrap();
    let found = aci.check(attributes).unwrap();
    assert!(testing::host(|host| host.requests.is_empty()));
    found.into_iter().map(|detail| (detail.pointer, detail.message)).collect()
}

#[test]
fn the_files_of_the_existing_tool_are_taken() {
    for good in [
        json!({}),
        json!({"cpu_cores": "1", "memory": "0.5", "location": "West Europe", "os_type": "Windows"}),
        json!({"network_type": "PRIVATE", "ports": ["8080", "53/udp", 80, "80/UDP"]}),
        json!({"vnet_name": "mine", "subnet_name": "s"}),
        json!({"network_type": "private", "vnet_name": "mine", "subnet_name": ""}),
        json!({"gpu_type": "v100", "gpu_count": 4}),
        json!({"ports": null}),
        json!({"ports": [], "priority": "SPOT", "zones": ["2"], "restart_policy": "onfailure"}),
        json!({"endpoint": "https://management.azure.com"}),
    ] {
        assert_eq!(mistakes(&good, json!({"env": ["A=1"], "command": ["sh"]})), [], "{good}");
    }
}

/// Checks that a change of the section is one mistake, which `create` refuses, too, before it sends anything.
fn assert_mistake(change: &Value, pointer: &str, said: &str) {
    let found = mistakes(change, json!({}));
    assert_eq!((found.len(), found.first().map(|found| found.0.as_str())), (1, Some(pointer)), "{change}: {found:?}");
    assert!(found[0].1.contains(said), "{change}: {found:?}");
    if matches!(pointer, "/endpoint" | "/secure_env/1") {
        return;
    }
    let fault = harness(&Azure::shared(), change, |_| {}).create(ID, json!({})).unwrap_err();
    assert_eq!((fault.reaction, fault.details[0].pointer.as_str()), (Reaction::GiveUp, pointer), "{change}");
    assert!(testing::host(|host| host.requests.is_empty()));
}

#[test]
fn networks_that_can_not_be_are_refused() {
    let id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/n";
    for (change, pointer, said) in [
        (json!({"network_type": "hidden"}), "/network_type", "write `public` or `private`"),
        (json!({"network_type": "private", "ports": null}), "/ports", "only together with ports"),
        (json!({"network_type": "private", "subnet_name": "s"}), "/subnet_name", "without `vnet_name`"),
        (json!({"network_type": "private", "vnet_name": "a b"}), "/vnet_name", "up to 80 letters"),
        (
            json!({"network_type": "private", "vnet_name": "v", "subnet_name": "-s"}),
            "/subnet_name",
            "begins with a letter",
        ),
        (json!({"network_type": "private", "subnet_id": "s"}), "/subnet_id", "is not the id of a subnet"),
        (
            json!({"network_type": "private", "subnet_id": format!("{id}/../x")}),
            "/subnet_id",
            "is not the id of a subnet",
        ),
        (json!({"network_type": "private", "subnet_id": id, "vnet_name": "v"}), "/subnet_id", "one or the other"),
        (json!({"subnet_id": id}), "/subnet_id", "a public group joins no subnet"),
    ] {
        assert_mistake(&change, pointer, said);
    }
}

#[test]
fn mistakes_are_told_at_their_places() {
    for (change, pointer, said) in [
        (json!({"endpoint": "https://portal.azure.com"}), "/endpoint", "not where Azure is managed"),
        (json!({"resource_group": " "}), "/resource_group", "it is empty"),
        (json!({"resource_group": "a/b"}), "/resource_group", "can't be the name of a resource group"),
        (json!({"resource_group": "a".repeat(91)}), "/resource_group", "up to 90"),
        (json!({"resource_group": "a."}), "/resource_group", "not ending in a dot"),
        (json!({"location": ""}), "/location", "is not a location"),
        (json!({"location": "west/europe"}), "/location", "those look like `westeurope`"),
        (json!({"cpu_cores": "replace_with_cpu_cores"}), "/cpu_cores", "is not a number of cores"),
        (json!({"cpu_cores": 0}), "/cpu_cores", "is not a number of cores"),
        (json!({"cpu_cores": "NaN"}), "/cpu_cores", "is not a number of cores"),
        (json!({"memory": "inf"}), "/memory", "is not a number of GB"),
        (json!({"memory": "2GB"}), "/memory", "`2GB` is not a number of GB"),
        (json!({"memory": -1}), "/memory", "is not a number of GB"),
        (json!({"image": ""}), "/image", "it is empty"),
        (json!({"image": "nginx :alpine"}), "/image", "there are spaces"),
        (json!({"image": "https://r.io/nginx"}), "/image", "without `https://`"),
        (json!({"os_type": "solaris"}), "/os_type", "write `linux` or `windows`"),
        (json!({"gpu_type": "K80"}), "/gpu_type", "Azure has retired the K80"),
        (json!({"gpu_type": "p100", "gpu_count": 2}), "/gpu_type", "Azure has retired the P100"),
        (json!({"gpu_type": "H100"}), "/gpu_type", "write `V100`"),
        (json!({"gpu_type": "V100", "gpu_count": 3}), "/gpu_count", "write 1, 2 or 4"),
        (json!({"gpu_type": "V100", "os_type": "windows"}), "/gpu_type", "only Linux"),
        (json!({"gpu_count": 1}), "/gpu_count", "without `gpu_type`"),
        (json!({"ports": [80, "http"]}), "/ports/1", "is not a port"),
        (json!({"ports": [80, 70_000]}), "/ports/1", "is not a port"),
        (json!({"ports": ["80/sctp"]}), "/ports/0", "is not a protocol"),
        (json!({"ports": [80, "80/tcp"]}), "/ports/1", "twice"),
        (json!({"priority": "low"}), "/priority", "`Regular` or `Spot`"),
        (json!({"priority": "Spot"}), "/ports", "no address"),
        (json!({"restart_policy": "sometimes"}), "/restart_policy", "`OnFailure`"),
        (json!({"zones": ["1", "2"]}), "/zones", "in one zone"),
        (json!({"zones": [""]}), "/zones/0", "is not a zone"),
        (json!({"registry_server": "https://r.io"}), "/registry_server", "write its name alone"),
        (json!({"registry_server": "r.io", "registry_identity": "x"}), "/registry_identity", "managed identity"),
        (json!({"secure_env": ["A", "b-c"]}), "/secure_env/1", "is not the name of a variable"),
        (json!({"tags": {"a<b": "x"}}), "/tags/a<b", "none of"),
        (json!({"tags": {"a": "x".repeat(257)}}), "/tags/a", "256 characters"),
    ] {
        assert_mistake(&change, pointer, said);
    }
    let all =
        mistakes(&json!({"os_type": "x", "memory": "y", "ports": ["z"], "gpu_type": "K80", "location": ""}), json!({}));
    assert_eq!(all.len(), 5, "{all:?}");
    let attributes = mistakes(&json!({}), json!({"env": "A=1"}));
    assert!(attributes[0].1.contains("`env` of the contextualisation section"), "{attributes:?}");
}

#[test]
fn what_is_doubtful_is_warned_of() {
    let aci = testing::driver::<AzureAci>(
        FakeHost { user_data: Some(b"#cloud-config".to_vec()), ..FakeHost::default() },
        section(&json!({"vnet_name": "v", "subnet_name": "s", "ports": [80, 22, "25000/udp"]})),
    )
    .unwrap();
    assert_eq!(aci.check(json!({})).unwrap(), []);
    let pointers: Vec<_> = testing::host(|host| host.warnings.iter().map(|(_, _, pointer)| pointer.clone()).collect());
    assert_eq!(pointers, ["/vnet_name", "/subnet_name", "/ports/1", "/ports/2", "/image"]);
    let aci = testing::driver::<AzureAci>(FakeHost::default(), section(&json!({"ports": []}))).unwrap();
    aci.check(json!({})).unwrap();
    assert_eq!(testing::host(|host| host.warnings[0].2.clone()), "/network_type");
}

#[test]
fn the_schema_has_all_keys_of_the_existing_tool() {
    let schema = section_schema::<Section>();
    let required =
        ["endpoint", "resource_group", "location", "cpu_cores", "memory", "image", "os_type", "network_type"];
    assert_eq!(schema["required"], json!(required));
    for key in required.iter().chain(&["gpu_type", "gpu_count", "ports", "vnet_name", "subnet_name"]) {
        assert!(schema["properties"].get(key).is_some(), "{key}");
        let mut wrong = section(&json!({}));
        wrong[*key] = json!([{"x": 1}]);
        let fault = testing::driver::<AzureAci>(FakeHost::default(), wrong).err().expect("a mapping is refused");
        assert!(fault.details[0].pointer.starts_with(&format!("/{key}")), "{fault:?}");
    }
    for key in required {
        let fault = testing::driver::<AzureAci>(FakeHost::default(), section(&json!({key: null})))
            .err()
            .expect("it is missing");
        assert!(fault.message.contains(key), "{fault}");
    }
    let fault =
        testing::driver::<AzureAci>(FakeHost::default(), section(&json!({"name": "x"}))).err().expect("not a key");
    assert!(fault.message.contains("unknown field `name`"), "{fault}");
    let credentials = section_schema::<crate::Credentials>();
    assert_eq!(credentials["properties"]["client_secret"].get("x-public"), None);
    assert!(
        credentials["properties"].get("registry_password").is_some() && credentials.get("patternProperties").is_some()
    );
}

#[test]
fn output_is_evidence_and_never_in_the_way() {
    let azure = Azure::shared();
    let aci = plain(&azure);
    let made = aci.create(ID, json!({})).unwrap().handle;
    assert_eq!(aci.tail(&made, 20).unwrap(), "one\ntwo\nthree");
    assert_eq!(aci.tail(&made, 2).unwrap(), "two\nthree");
    let logs = "GET /subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/rg/providers/microsoft.containerinstance/";
    for (status, code, reaction) in [
        (404, "ContainerNotFound", Reaction::Unsupported),
        (400, "ContainerLogNotAvailable", Reaction::Unsupported),
        (403, "AuthorizationFailed", Reaction::Unsupported),
        (409, "ContainerGroupTransitioning", Reaction::Retry),
        (503, "ServerTimeout", Reaction::Retry),
    ] {
        azure.lock().unwrap().overrides.push((logs.to_owned(), 1, refusal(status, code, "no")));
        assert_eq!(aci.tail(&made, 20).unwrap_err().reaction, reaction, "{code}");
    }
}
