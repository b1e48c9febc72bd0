//! The driver against the state machine of Azure (`examples/test-azure`), and what needs no cloud.

mod azure;
mod bodies;
mod checks;
mod errors;
mod half_made;
mod left_over;
mod life;
mod names;
mod states;

use serde_json::{Value, json};

/// Returns a section that works, with these changes. Null takes a key away.
fn section(changes: &Value) -> Value {
    let mut section = json!({
        "endpoint": "http://azure.test", "resource_group": "demo", "location": "West Europe", "vm_size": "Standard_B1s",
        "publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest",
        "username": "demo", "password": "Correct-Horse-1",
    });
    for (key, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(section.as_object_mut().expect("an object").remove(key)),
            value => section[key.as_str()] = value.clone(),
        }
    }
    section
}
