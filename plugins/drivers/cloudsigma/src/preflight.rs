//! Checks that need no cloud: what `create` would refuse, or CloudSigma would refuse whatever it has.

use occopus_sdk::{Detail, NodeRequest};
use serde_json::Value;

use crate::cloud::is_id;
use crate::document::{BASE64_KEY, MAX_META_KEY_CHARS, OWN_KEYS, USER_DATA_KEY};
use crate::section::{Description, Section};

/// Memory below which a number is hardly meant in bytes.
const MIN_MEMORY_BYTES: u64 = 1 << 20;

/// Mistakes in the order in which they are found.
struct Mistakes(Vec<Detail>);

impl Mistakes {
    fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.0.push(Detail { pointer: pointer.into(), message: message.into() });
    }
}

pub(crate) fn check(request: &NodeRequest<Section>) -> Vec<Detail> {
    let section = &request.scope.section;
    let mut found = Mistakes(Vec::new());
    let url = request.scope.call().url_for(&section.endpoint).unwrap_or_default();
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    if path.trim_matches('/').is_empty() {
        found.add("/endpoint", "write the URL of the API, such as https://zrh.cloudsigma.com/api/2.0");
    }
    let drive = section.libdrive_id.trim();
    if !is_id(drive) {
        found.add("/libdrive_id", format!("`{drive}` is not the id of a drive of the library"));
    }
    let description = &section.description;
    if description.cpu.0 == 0 {
        found.add("/description/cpu", "write the MHz of all cores together, such as 2000");
    }
    if description.mem.0 < MIN_MEMORY_BYTES {
        let message = format!("{} bytes are too few; memory is in bytes, such as 1073741824", description.mem.0);
        found.add("/description/mem", message);
    }
    if description.vnc_password.given().is_none() {
        found.add("/description/vnc_password", "it is empty; CloudSigma wants a password");
    }
    check_nics(&mut found, description);
    check_drives(&mut found, description);
    check_meta(&mut found, description);
    if found.0.is_empty() {
        warn(request);
    }
    found.0
}

/// Returns the entries of a list in the description, each with its pointer. What is not a list is a mistake.
fn entries<'t>(found: &mut Mistakes, description: &'t Description, key: &str) -> Vec<(String, &'t Value)> {
    match description.get(key) {
        None => Vec::new(),
        Some(Value::Array(entries)) => {
            let pointer = |(index, entry)| (format!("/description/{key}/{index}"), entry);
            entries.iter().enumerate().map(pointer).collect()
        }
        Some(_) => {
            found.add(format!("/description/{key}"), "it must be a list");
            Vec::new()
        }
    }
}

/// Checks network cards: public ones get their address by DHCP or have one of the account's own, private ones have none.
fn check_nics(found: &mut Mistakes, description: &Description) {
    for (pointer, nic) in entries(found, description, "nics") {
        let has = |key: &str| nic.get(key).is_some_and(|value| !value.is_null());
        if !nic.is_object() {
            found.add(pointer, "it must be a mapping, such as {ip_v4_conf: {conf: dhcp}}");
            continue;
        }
        if has("vlan") && (has("ip_v4_conf") || has("ip_v6_conf")) {
            found.add(&pointer, "a card is in a private network (`vlan`) or has a public address, not both");
        }
        for version in ["ip_v4_conf", "ip_v6_conf"].into_iter().filter(|version| has(version)) {
            let conf = nic[version]["conf"].as_str().unwrap_or_default();
            let has_ip = nic[version].get("ip").is_some_and(|ip| !ip.is_null());
            match (conf, has_ip) {
                ("dhcp", true) => {
                    found.add(format!("{pointer}/{version}/ip"), "with `dhcp` CloudSigma chooses the address")
                }
                ("static", false) => found.add(
                    format!("{pointer}/{version}"),
                    "with `static` the card needs `ip`, an address of one of the account's subscriptions",
                ),
                ("dhcp" | "static" | "manual", _) => {}
                _ => found.add(format!("{pointer}/{version}"), "its `conf` is `dhcp`, `static` or `manual`"),
            }
        }
    }
}

/// Checks further drives: the clone of the library drive takes the first place.
fn check_drives(found: &mut Mistakes, description: &Description) {
    for (pointer, drive) in entries(found, description, "drives") {
        let device = drive["device"].as_str().unwrap_or("virtio");
        if device == "virtio" && drive["dev_channel"].as_str() == Some("0:0") {
            let message = "the clone of the library drive is at `0:0`; take another channel, such as `0:1`";
            found.add(format!("{pointer}/dev_channel"), message);
        }
        if drive["boot_order"].as_u64() == Some(1) {
            found.add(format!("{pointer}/boot_order"), "the server boots from the clone of the library drive first");
        }
    }
}

fn check_meta(found: &mut Mistakes, description: &Description) {
    let Some(meta) = description.get("meta") else { return };
    let Some(meta) = meta.as_object() else { return found.add("/description/meta", "it must be a mapping") };
    for (key, value) in meta {
        let pointer = format!("/description/meta/{}", key.replace('~', "~0").replace('/', "~1"));
        if key.chars().count() > MAX_META_KEY_CHARS {
            found.add(pointer, format!("a key has {MAX_META_KEY_CHARS} characters at most"));
        } else if key.starts_with(OWN_KEYS) {
            found.add(pointer, "keys with this beginning are those of Occopus");
        } else if value.is_object() || value.is_array() || value.is_null() {
            found.add(pointer, "its value must be a text");
        }
    }
}

/// Warns of what probably does not do what the user wants.
fn warn(request: &NodeRequest<Section>) {
    let call = request.scope.call();
    let description = &request.scope.section.description;
    let has_nics = description.get("nics").and_then(Value::as_array).is_some_and(|nics| !nics.is_empty());
    if !has_nics {
        let message = "the server gets no network, for `nics` is missing; write `nics: [{ip_v4_conf: {conf: dhcp}}]` for a \
                       public address";
        call.warn("cloudsigma.no-network", message, "/description");
    }
    if request.user_data.as_ref().is_none_or(Vec::is_empty) {
        return;
    }
    if description.get("context") == Some(&Value::Bool(false)) {
        let message = "without `context` the server has no serial port from which cloud-init reads its user data";
        call.warn("cloudsigma.no-context", message, "/description/context");
    }
    if description.get("meta").is_some_and(|meta| meta.get(USER_DATA_KEY).is_some()) {
        let message =
            format!("the user data of the contextualiser replaces `{USER_DATA_KEY}`; leave it and `{BASE64_KEY}` out");
        call.warn("cloudsigma.two-user-data", &message, "/description/meta");
    }
}
