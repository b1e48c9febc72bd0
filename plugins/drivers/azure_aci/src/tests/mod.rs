//! The driver against answers in the shape of Azure's.

mod azure;
mod checks;
mod errors;
mod many;
mod networks;
mod states;

use std::sync::Arc;

use occopus_sdk::testing::{self, DriverHarness, FakeHost};
use occopus_sdk::{Handle, Phase, Reaction};
use serde_json::{Value, json};

use self::azure::{Azure, ENDPOINT, SUBSCRIPTION, Shared, refusal};
use crate::AzureAci;

const ID: &str = "6995019c-1d9b-4e0a-b2fd-9bdb2f4d289a";
const NAME: &str = "occopus-6995019c-1d9b-4e0a-b2fd-9bdb2f4d289a";
const PUT_GROUP: &str =
    "PUT /subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/rg/providers/microsoft.containerinstance";

fn section(more: &Value) -> Value {
    let mut section = json!({
        "endpoint": ENDPOINT, "resource_group": "RG", "location": "West Europe", "cpu_cores": 1, "memory": 1.5,
        "image": "nginx:alpine", "os_type": "linux", "network_type": "Public", "ports": [80],
    });
    section.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    section.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    section
}

fn harness(azure: &Shared, more: &Value, prepare: impl FnOnce(&mut FakeHost)) -> DriverHarness<AzureAci> {
    let azure = Arc::clone(azure);
    let mut host = FakeHost { time_passes: false, ..FakeHost::default() }
        .credential("tenant_id", "tenant")
        .credential("client_id", "client")
        .credential("client_secret", "hunter2")
        .credential("subscription_id", SUBSCRIPTION)
        .http(move |request| azure.lock().unwrap().answer(request));
    prepare(&mut host);
    testing::driver::<AzureAci>(host, section(more)).unwrap()
}

fn plain(azure: &Shared) -> DriverHarness<AzureAci> {
    harness(azure, &json!({}), |_| {})
}

fn private(azure: &Shared) -> DriverHarness<AzureAci> {
    harness(azure, &json!({"network_type": "Private"}), |_| {})
}

/// Lets the group of a name run.
fn start(azure: &Shared, name: &str) {
    azure.lock().unwrap().change(name, |group| {
        group["properties"]["provisioningState"] = json!("Succeeded");
        group["properties"]["instanceView"] = json!({"state": "Running"});
        group["properties"]["containers"][0]["properties"]["instanceView"] =
            json!({"currentState": {"state": "Running"}});
        group["properties"]["ipAddress"]["ip"] = json!("20.0.0.9");
        if group["properties"]["ipAddress"]["type"] == "Public" {
            group["properties"]["ipAddress"]["fqdn"] = json!("name.of.azure");
        }
    });
}

#[test]
fn a_group_is_made_seen_and_removed() {
    let azure = Azure::shared();
    let aci = plain(&azure);
    let attributes =
        json!({"command": ["sh", "-c", "echo $message"], "env": ["message=Hello World!"], "connections": []});
    let made = aci.create(ID, attributes).unwrap();
    assert_eq!(made.phase, Phase::Pending);
    let body = azure.lock().unwrap().body_of(PUT_GROUP);
    let made_at = body["tags"]["occopus.made"].clone();
    let expected = json!({
        "location": "westeurope",
        "tags": {"occopus.infrastructure": "infra-1", "occopus.instance": ID, "occopus.made": made_at, "occopus.node": "node"},
        "properties": {
            "osType": "Linux",
            "containers": [{"name": NAME, "properties": {
                "image": "nginx:alpine",
                "command": ["sh", "-c", "echo $message"],
                "ports": [{"protocol": "TCP", "port": 80}],
                "environmentVariables": [
                    {"name": "_OCCOPUS_ALLOCATED_FQDN", "value": format!("{NAME}.westeurope.azurecontainer.io")},
                    {"name": "message", "value": "Hello World!"},
                ],
                "resources": {"requests": {"memoryInGB": 1.5, "cpu": 1}},
            }}],
            "ipAddress": {"type": "Public", "dnsNameLabel": NAME, "ports": [{"protocol": "TCP", "port": 80}]},
        },
    });
    assert_eq!(body, expected);
    // The resource group was missing, and is made in the location.
    let group = format!("/subscriptions/{SUBSCRIPTION}/resourcegroups/rg");
    assert_eq!(azure.lock().unwrap().resources[&group]["location"], "westeurope");
    start(&azure, NAME);
    let seen = aci.observe(std::slice::from_ref(&made.handle)).unwrap().remove(0);
    let addresses: Vec<_> = seen.addresses.iter().map(|address| (address.value.as_str(), address.internal)).collect();
    assert_eq!((seen.phase, addresses), (Phase::Running, vec![("name.of.azure", false), ("20.0.0.9", false)]));
    assert_eq!(seen.handle, made.handle);
    aci.destroy(&made.handle).unwrap();
    aci.destroy(&made.handle).unwrap();
    assert_eq!(aci.observe(&[made.handle]).unwrap()[0].phase, Phase::Gone);
    assert_eq!(azure.lock().unwrap().resources.len(), 1, "the resource group stays");
}

#[test]
fn one_group_costs_one_write() {
    let azure = Azure::shared();
    let aci = plain(&azure);
    let first = aci.create("1", json!({})).unwrap();
    let calls = azure.lock().unwrap().calls.len();
    aci.create("2", json!({})).unwrap();
    assert_eq!(azure.lock().unwrap().calls.len() - calls, 1, "no login, no resource group");
    aci.destroy(&first.handle).unwrap();
    assert_eq!(azure.lock().unwrap().calls.len() - calls, 2);
}

#[test]
fn one_id_has_one_group() {
    let azure = Azure::shared();
    let aci = harness(&azure, &json!({}), |host| host.repeated = true);
    let first = aci.create(ID, json!({})).unwrap();
    assert_eq!(aci.create(ID, json!({})).unwrap().handle, first.handle);
    assert_eq!(aci.find(ID).unwrap().unwrap().handle, first.handle);
    assert_eq!(aci.list_owned(None).unwrap().machines[0].observed.handle, first.handle);
    assert!(aci.find("another").unwrap().is_none());
    assert_eq!(azure.lock().unwrap().count(PUT_GROUP), 2, "one in vain, before the resource group was there");
    // Another owner's request is under way.
    testing::host(|host| host.repeated = false);
    let busy =
        refusal(409, "ContainerGroupTransitioning", "The container group is still transitioning, please retry later.");
    azure.lock().unwrap().overrides.push((PUT_GROUP.to_owned(), 1, busy));
    assert_eq!(aci.create(ID, json!({})).unwrap().handle, first.handle);
    // A policy of the organisation changed the tags: the name says whose it is.
    testing::host(|host| host.repeated = true);
    for tags in [
        json!({"owner": "somebody"}),
        json!({"Occopus.Instance": ID, "OCCOPUS.INFRASTRUCTURE": "infra-1"}),
        json!(null),
    ] {
        azure.lock().unwrap().change(NAME, |group| group["tags"] = tags);
        assert!(aci.create(ID, json!({})).is_ok() && aci.find(ID).unwrap().is_some());
    }
    // A group with this name that is another's is left alone.
    azure.lock().unwrap().change(NAME, |group| group["tags"] = json!({"occopus.Instance": "x"}));
    assert_eq!(aci.create(ID, json!({})).unwrap_err().reaction, Reaction::Conflict);
    assert_eq!(aci.find(ID).unwrap_err().reaction, Reaction::Conflict);
    assert_eq!(aci.list_owned(None).unwrap().machines[0].instance_id, "x");
}

#[test]
fn a_lost_answer_leaves_what_find_finds() {
    let azure = Azure::shared();
    let aci = plain(&azure);
    aci.create("1", json!({})).unwrap();
    azure.lock().unwrap().lost.push(PUT_GROUP.to_owned());
    assert_eq!(aci.create(ID, json!({})).unwrap_err().reaction, Reaction::UnknownOutcome);
    let found = aci.find(ID).unwrap().unwrap();
    azure.lock().unwrap().lost.push("DELETE".to_owned());
    assert_eq!(aci.destroy(&found.handle).unwrap_err().reaction, Reaction::Retry);
    assert!(aci.find(ID).unwrap().is_none());
}

#[test]
fn what_was_just_made_is_not_gone() {
    let azure = Azure::shared();
    let aci = plain(&azure);
    let made = aci.create(ID, json!({})).unwrap().handle;
    let hidden = azure.lock().unwrap().resources.remove(&format!(
        "/subscriptions/{SUBSCRIPTION}/resourcegroups/rg/providers/microsoft.containerinstance/containergroups/{NAME}"
    ));
    assert!(hidden.is_some());
    assert_eq!(aci.observe(std::slice::from_ref(&made)).unwrap()[0].phase, Phase::Unknown);
    // Too little time to wait until it must be there.
    testing::host(|host| host.remaining_ms = 5_000);
    assert_eq!(aci.destroy(&made).unwrap_err().reaction, Reaction::Retry);
    let old = Handle::new(1, made.data.replace("made=1", "made=0"));
    assert_eq!(aci.observe(std::slice::from_ref(&old)).unwrap()[0].phase, Phase::Gone);
    aci.destroy(&old).unwrap();
}

#[test]
fn a_resource_group_goes_if_the_user_says_so() {
    let azure = Azure::shared();
    let aci = harness(&azure, &json!({"delete_resource_group": true}), |_| {});
    let [first, second] = ["1", "2"].map(|id| aci.create(id, json!({})).unwrap().handle);
    aci.destroy(&first).unwrap();
    assert!(!azure.lock().unwrap().resources.is_empty());
    aci.destroy(&second).unwrap();
    assert!(azure.lock().unwrap().resources.is_empty());
    // Somebody else made it.
    let group = format!("/subscriptions/{SUBSCRIPTION}/resourcegroups/rg");
    azure.lock().unwrap().resources.insert(group.clone(), json!({"location": "westeurope"}));
    let third = aci.create("3", json!({})).unwrap().handle;
    aci.destroy(&third).unwrap();
    assert!(azure.lock().unwrap().resources.contains_key(&group));
}

#[test]
fn secrets_are_placeholders_and_secure() {
    let azure = Azure::shared();
    let more = json!({
        "secure_env": ["TOKEN", "DB_PASSWORD"], "registry_server": "mine.azurecr.io", "image": "mine.azurecr.io/app:1",
    });
    let aci = harness(&azure, &more, |host| {
        for (field, value) in [("env_DB_PASSWORD", "geheim"), ("registry_username", "me"), ("registry_password", "pw")]
        {
            host.credential.insert(field.to_owned(), value.to_owned());
        }
    });
    aci.create(ID, json!({"env": {"TOKEN": "t", "PLAIN": "p", "UNSET": null, "_OCCOPUS_ALLOCATED_FQDN": "mine"}}))
        .unwrap();
    let properties = azure.lock().unwrap().body_of(PUT_GROUP)["properties"].clone();
    let variables = &properties["containers"][0]["properties"]["environmentVariables"];
    let names: Vec<_> = variables.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["_OCCOPUS_ALLOCATED_FQDN", "TOKEN", "PLAIN", "DB_PASSWORD"]);
    assert_eq!((&variables[0]["value"], &variables[1]["secureValue"]), (&json!("mine"), &json!("t")));
    assert!(variables[3]["secureValue"].is_string() && variables[3].get("value").is_none());
    assert_eq!(properties["imageRegistryCredentials"][0]["server"], "mine.azurecr.io");
    assert!(properties["imageRegistryCredentials"][0]["password"].is_string());
    // By an identity, without a password.
    let identity =
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/puller";
    let more = json!({"registry_server": "mine.azurecr.io", "registry_identity": identity});
    harness(&azure, &more, |_| {}).create("2", json!({})).unwrap();
    let body = azure.lock().unwrap().body_of(PUT_GROUP);
    assert_eq!(
        body["properties"]["imageRegistryCredentials"],
        json!([{"server": "mine.azurecr.io", "identity": identity}])
    );
    assert_eq!(body["identity"], json!({"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}));
}

#[test]
fn further_keys_are_sent() {
    let azure = Azure::shared();
    let more = json!({
        "ports": null, "priority": "spot", "zones": ["1"], "restart_policy": "never", "cpu_cores": "0.5", "memory": "2",
        "os_type": "LINUX", "tags": {"team": "a", "number": 5, "Occopus.Node": "x"},
    });
    harness(&azure, &more, |_| {}).create(ID, json!({"command": "sleep 1"})).unwrap();
    let body = azure.lock().unwrap().body_of(PUT_GROUP);
    let properties = &body["properties"];
    assert_eq!((&properties["priority"], &properties["restartPolicy"]), (&json!("Spot"), &json!("Never")));
    assert!(properties.get("ipAddress").is_none() && properties.get("networkProfile").is_none());
    assert_eq!(
        (&body["zones"], &body["tags"]["number"], &body["tags"]["occopus.node"]),
        (&json!(["1"]), &json!("5"), &json!("node"))
    );
    let container = &properties["containers"][0]["properties"];
    assert_eq!(container["resources"]["requests"], json!({"memoryInGB": 2, "cpu": 0.5}));
    assert_eq!((&container["environmentVariables"], &container["command"]), (&json!([]), &json!(["sleep", "1"])));
    let gpu = json!({"gpu_type": "v100", "gpu_count": 2});
    harness(&azure, &gpu, |_| {}).create("2", json!({})).unwrap();
    let body = azure.lock().unwrap().body_of(PUT_GROUP);
    assert_eq!(
        body["properties"]["containers"][0]["properties"]["resources"]["requests"]["gpu"],
        json!({"count": 2, "sku": "V100"})
    );
}
