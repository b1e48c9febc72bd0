//! The server as it is sent: what the user wrote, and what the driver and cloud-init need
//! (<https://docs.cloudsigma.com/en/latest/server_context.html>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use occopus_sdk::NodeRequest;
use serde_json::{Map, Value, json};

use crate::section::Section;

/// Longest key of metadata.
pub(crate) const MAX_META_KEY_CHARS: usize = 32;
/// Beginning of the keys that are ours.
pub(crate) const OWN_KEYS: &str = "occopus-";
pub(crate) const INSTANCE_KEY: &str = "occopus-instance";
pub(crate) const INFRASTRUCTURE_KEY: &str = "occopus-infrastructure";
/// Seconds since 1970 by CloudSigma's clock, when the attempt to create it began.
pub(crate) const BEGUN_KEY: &str = "occopus-begun";
/// Id of the server, set once it has run. A copy of the server has the id of the original.
pub(crate) const RAN_KEY: &str = "occopus-ran";
/// Keys that cloud-init reads. It fails without the last one.
pub(crate) const USER_DATA_KEY: &str = "cloudinit-user-data";
pub(crate) const BASE64_KEY: &str = "base64_fields";
const SSH_KEY: &str = "ssh_public_key";

/// Returns the body of the request that makes the server.
pub(crate) fn body(request: &NodeRequest<Section>, begun: u64) -> Value {
    let description = &request.scope.section.description;
    let mut server = description.more.clone();
    server.insert("cpu".to_owned(), json!(description.cpu.0));
    server.insert("mem".to_owned(), json!(description.mem.0));
    server.insert("vnc_password".to_owned(), json!(description.vnc_password.trim()));
    if description.get("name").is_none_or(|name| name.as_str().is_some_and(|name| name.trim().is_empty())) {
        server.insert("name".to_owned(), json!(request.machine_name));
    }
    server.insert("meta".to_owned(), Value::Object(meta(request, begun)));
    json!({"objects": [server]})
}

fn meta(request: &NodeRequest<Section>, begun: u64) -> Map<String, Value> {
    let written = request.scope.section.description.get("meta").and_then(Value::as_object).cloned();
    let mut meta = written.unwrap_or_default();
    for value in meta.values_mut() {
        // YAML reads some texts as numbers and truth values.
        if value.is_number() || value.is_boolean() {
            *value = json!(value.to_string());
        }
    }
    meta.entry(SSH_KEY).or_insert_with(|| json!(""));
    if let Some(data) = request.user_data.as_ref().filter(|data| !data.is_empty()) {
        let encoded = meta.get(BASE64_KEY).and_then(Value::as_str).unwrap_or_default();
        let others = encoded.split(',').map(str::trim).filter(|field| !field.is_empty() && *field != USER_DATA_KEY);
        let fields: Vec<&str> = others.chain([USER_DATA_KEY]).collect();
        meta.insert(BASE64_KEY.to_owned(), json!(fields.join(",")));
        meta.insert(USER_DATA_KEY.to_owned(), json!(STANDARD.encode(data)));
    }
    for (label, value) in &request.labels {
        // Dots are left out of keys, as CloudSigma's own have none.
        meta.insert(label.replace('.', "-").chars().take(MAX_META_KEY_CHARS).collect(), json!(value));
    }
    meta.insert(BEGUN_KEY.to_owned(), json!(begun.to_string()));
    meta
}

/// Returns a server, as the API showed it, with a drive to boot from before its other drives.
pub(crate) fn with_boot_drive(mut server: Value, drive: &str) -> Value {
    let mut drives = vec![json!({"boot_order": 1, "dev_channel": "0:0", "device": "virtio", "drive": drive})];
    for mut other in server.get("drives").and_then(Value::as_array).into_iter().flatten().cloned() {
        // Shown as an object, and sent as an id.
        if let Some(id) = other.pointer("/drive/uuid").cloned() {
            other["drive"] = id;
        }
        drives.push(other);
    }
    server["drives"] = Value::Array(drives);
    server
}

/// Returns a server, as the API showed it, with the mark of one that has run.
pub(crate) fn with_mark(mut server: Value, uuid: &str) -> Value {
    server["meta"][RAN_KEY] = json!(uuid);
    server
}
