//! The table of states: power state, provisioning state, phase.

use occopus_sdk::Phase::{self, Failed, Pending, Running, Stopped, Unknown};
use serde_json::json;

use crate::machine::Machine;

fn machine(power: Option<&str>, provisioning: &str, more: &serde_json::Value) -> Machine {
    let power = power.map(|power| json!({"code": format!("PowerState/{power}")}));
    let own = json!({"code": format!("ProvisioningState/{}", provisioning.to_lowercase())});
    let statuses: Vec<_> = [Some(own), power].into_iter().flatten().collect();
    let mut shown =
        json!({"id": "/x", "properties": {"provisioningState": provisioning, "instanceView": {"statuses": statuses}}});
    for (key, value) in more.as_object().unwrap() {
        shown["properties"][key.as_str()] = value.clone();
    }
    serde_json::from_value(shown).unwrap()
}

#[test]
fn both_states_are_heard() {
    let cases: &[(Option<&str>, &str, Phase)] = &[
        (None, "Creating", Pending),
        (Some("starting"), "Creating", Pending),
        (Some("running"), "Creating", Running),
        (Some("running"), "Succeeded", Running),
        (Some("running"), "Updating", Running),
        (Some("running"), "Failed", Running),
        (Some("starting"), "Succeeded", Pending),
        (Some("starting"), "Failed", Failed),
        (None, "Succeeded", Pending),
        (None, "Updating", Pending),
        (None, "Migrating", Pending),
        (None, "Failed", Failed),
        (None, "Canceled", Failed),
        (Some("stopping"), "Succeeded", Stopped),
        (Some("stopped"), "Succeeded", Stopped),
        (Some("deallocating"), "Succeeded", Stopped),
        (Some("deallocated"), "Succeeded", Stopped),
        (Some("deallocated"), "Failed", Stopped),
        (Some("running"), "Deleting", Stopped),
        (None, "Deleting", Stopped),
        (Some("unknown"), "Succeeded", Unknown),
        (Some("hibernated"), "Succeeded", Unknown),
        (None, "Inventing", Unknown),
        (None, "", Unknown),
    ];
    for (power, provisioning, phase) in cases {
        let shown = machine(*power, provisioning, &json!({}));
        assert_eq!(shown.state().phase, *phase, "{power:?} {provisioning}");
        // Azure's words compare without regard to case.
        let upper = machine(power.map(str::to_uppercase).as_deref(), &provisioning.to_uppercase(), &json!({}));
        assert_eq!(upper.state().phase, *phase, "{power:?} {provisioning}");
        assert!(*phase == Running || *phase == Pending || shown.state().message.is_some(), "{power:?} {provisioning}");
    }
    // A list may show the provisioning state alone, or the statuses alone.
    let listed: Machine =
        serde_json::from_value(json!({"id": "/x", "properties": {"provisioningState": "Succeeded"}})).unwrap();
    assert_eq!(listed.state().phase, Running);
    let statuses = json!([{"code": "ProvisioningState/succeeded"}, {"code": "PowerState/running"}]);
    let listed: Machine =
        serde_json::from_value(json!({"id": "/x", "properties": {"instanceView": {"statuses": statuses}}})).unwrap();
    assert_eq!(listed.state().phase, Running);
    assert_eq!(serde_json::from_value::<Machine>(json!({"id": "/x"})).unwrap().state().phase, Unknown);
}

#[test]
fn reasons_are_azures_own() {
    let failed = json!({"instanceView": {"statuses": [
        {"code": "ProvisioningState/failed/AllocationFailed", "level": "Error", "message": "We do not have sufficient capacity."}]}});
    let shown = machine(None, "Failed", &failed);
    assert_eq!(shown.state().message.as_deref(), Some("We do not have sufficient capacity. (AllocationFailed)"));
    assert_eq!(shown.failure().unwrap().code, "AllocationFailed");
    let evicted = machine(Some("deallocated"), "Succeeded", &json!({"priority": "Spot"}));
    assert!(evicted.state().message.unwrap().contains("evicted the Spot machine"));
    let deallocated = machine(Some("deallocated"), "Succeeded", &json!({}));
    assert!(deallocated.state().message.unwrap().contains("somebody deallocated it"));
}
