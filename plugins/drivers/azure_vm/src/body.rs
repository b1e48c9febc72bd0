//! Body of the PUT that makes a machine with all that belongs to it
//! (<https://learn.microsoft.com/rest/api/compute/virtual-machines/create-or-update>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use occopus_sdk::NodeRequest;
use serde_json::{Map, Value, json};

use crate::names;
use crate::section::{EvictionPolicy, Identity, Priority, Section, given};
use crate::tags;

/// Version of the interface of Microsoft.Network in which Azure makes the card of a machine.
const CARD_VERSION: &str = "2022-11-01";

/// Network that a machine is put into.
#[derive(Debug, Clone)]
pub(crate) enum Placement {
    /// A card of its own in this subnet, with these rules and a public address, or without.
    Subnet { id: String, rules: Option<String> },
    /// The user's card.
    Card(String),
}

pub(crate) fn body(request: &NodeRequest<Section>, placement: &Placement) -> Value {
    let section = &request.scope.section;
    let part = names::part(&request.infrastructure_id, &request.instance_id);
    let mut properties = json!({
        "hardwareProfile": {"vmSize": section.vm_size.trim()},
        "storageProfile": {
            "imageReference": {
                "publisher": section.publisher.trim(),
                "offer": section.offer.trim(),
                "sku": section.sku.trim(),
                "version": section.version.trim(),
            },
            "osDisk": {"createOption": "FromImage", "name": part, "deleteOption": "Delete"},
        },
        "osProfile": profile(request),
        "networkProfile": network_profile(placement, &part),
    });
    add_priority(&mut properties, section);
    let mut body = json!({
        "location": section.place(),
        "tags": tags::of_machine(request),
        "properties": properties,
    });
    let zones: Vec<&str> = section.zones.iter().flatten().filter_map(|zone| zone.given()).collect();
    if !zones.is_empty() {
        body["zones"] = json!(zones);
    }
    if let Some(plan) = &section.plan {
        body["plan"] =
            json!({"name": plan.name.trim(), "product": plan.product.trim(), "publisher": plan.publisher.trim()});
    }
    if let Some(identity) = &section.identity {
        body["identity"] = identity_body(identity);
    }
    body
}

fn profile(request: &NodeRequest<Section>) -> Value {
    let section = &request.scope.section;
    let user = section.username.trim();
    let mut profile = json!({
        "computerName": names::computer(section, &request.node_name, &request.instance_id),
        "adminUsername": user,
    });
    if let Some(data) = request.user_data.as_ref().filter(|data| !data.is_empty()) {
        profile["customData"] = json!(STANDARD.encode(data));
    }
    let password = given(section.password.as_ref());
    if let Some(password) = password {
        profile["adminPassword"] = json!(password);
    }
    if let Some(key) = given(section.ssh_key_data.as_ref()) {
        profile["linuxConfiguration"] = json!({
            "disablePasswordAuthentication": password.is_none(),
            "ssh": {"publicKeys": [{"path": format!("/home/{user}/.ssh/authorized_keys"), "keyData": key}]},
        });
    }
    profile
}

fn network_profile(placement: &Placement, part: &str) -> Value {
    let (subnet, rules) = match placement {
        Placement::Card(id) => {
            return json!({"networkInterfaces": [{"id": id, "properties": {"primary": true, "deleteOption": "Detach"}}]});
        }
        Placement::Subnet { id, rules } => (id, rules),
    };
    let mut addresses = json!({"primary": true, "subnet": {"id": subnet}});
    let mut card = json!({"primary": true, "deleteOption": "Delete"});
    if let Some(rules) = rules {
        addresses["publicIPAddressConfiguration"] = json!({
            "name": part,
            "sku": {"name": "Standard"},
            "properties": {"deleteOption": "Delete", "publicIPAllocationMethod": "Static"},
        });
        card["networkSecurityGroup"] = json!({"id": rules});
    }
    card["ipConfigurations"] = json!([{"name": "ipconfig", "properties": addresses}]);
    json!({
        "networkApiVersion": CARD_VERSION,
        "networkInterfaceConfigurations": [{"name": part, "properties": card}],
    })
}

fn add_priority(properties: &mut Value, section: &Section) {
    if section.priority != Some(Priority::Spot) {
        return;
    }
    properties["priority"] = json!("Spot");
    properties["evictionPolicy"] = json!(match section.eviction_policy {
        Some(EvictionPolicy::Deallocate) => "Deallocate",
        // A machine that is deallocated goes on costing its disk, and is replaced.
        Some(EvictionPolicy::Delete) | None => "Delete",
    });
    if let Some(price) = section.max_price {
        properties["billingProfile"] = json!({"maxPrice": price});
    }
}

fn identity_body(identity: &Identity) -> Value {
    let all = match identity {
        Identity::One(one) => std::slice::from_ref(one),
        Identity::Several(several) => several.as_slice(),
    };
    let is_system = |id: &&String| id.trim().eq_ignore_ascii_case("system");
    let own: Map<String, Value> =
        all.iter().filter(|id| !is_system(id)).map(|id| (id.trim().to_owned(), json!({}))).collect();
    match (all.iter().any(|id| is_system(&id)), own.is_empty()) {
        (true, true) => json!({"type": "SystemAssigned"}),
        (true, false) => json!({"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": own}),
        (false, _) => json!({"type": "UserAssigned", "userAssignedIdentities": own}),
    }
}
