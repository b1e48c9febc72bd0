//! Checks before anything is made.

use occopus_sdk::testing;
use serde_json::{Value, json};

use super::api::Shared;
use super::{harness, section};

fn pointers(section: Value) -> Vec<String> {
    let found = harness(&Shared::default(), section, |_| {}).check(json!({})).unwrap();
    found.into_iter().map(|detail| detail.pointer).collect()
}

#[test]
fn mistakes_are_found_at_their_places() {
    let long = "k".repeat(33);
    for (description, pointer) in [
        (json!({"cpu": 0}), "/description/cpu"),
        (json!({"mem": 1024}), "/description/mem"),
        (json!({"vnc_password": " "}), "/description/vnc_password"),
        (json!({"nics": {}}), "/description/nics"),
        (json!({"nics": ["dhcp"]}), "/description/nics/0"),
        (json!({"nics": [{"ip_v4_conf": {"conf": "auto"}}]}), "/description/nics/0/ip_v4_conf"),
        (json!({"nics": [{"ip_v4_conf": {"conf": "static"}}]}), "/description/nics/0/ip_v4_conf"),
        (json!({"nics": [{"ip_v4_conf": {"conf": "dhcp", "ip": "1.2.3.4"}}]}), "/description/nics/0/ip_v4_conf/ip"),
        (json!({"nics": [{"vlan": "v", "ip_v4_conf": {"conf": "dhcp"}}]}), "/description/nics/0"),
        (json!({"drives": [{"drive": "d", "dev_channel": "0:0"}]}), "/description/drives/0/dev_channel"),
        (json!({"drives": [{"drive": "d", "boot_order": 1}]}), "/description/drives/0/boot_order"),
        (json!({"meta": []}), "/description/meta"),
        (json!({"meta": {"occopus-instance": "x"}}), "/description/meta/occopus-instance"),
        (json!({"meta": {"a/b": {}}}), "/description/meta/a~1b"),
        (json!({"meta": {long.as_str(): "x"}}), &format!("/description/meta/{long}")),
    ] {
        assert_eq!(pointers(section(&description)), [pointer], "{description}");
    }
    let mut wrong = section(&json!({}));
    (wrong["endpoint"], wrong["libdrive_id"]) = (json!("https://zrh.cloudsigma.com"), json!("a b"));
    assert_eq!(pointers(wrong), ["/endpoint", "/libdrive_id"]);
}

#[test]
fn what_works_is_taken() {
    for description in [
        json!({}),
        json!({"cpu": "2000", "nics": [{"ip_v4_conf": {"conf": "static", "ip": "94.26.101.149"}}, {"vlan": "v-1"}]}),
        json!({"nics": [{"ip_v4_conf": {"conf": "manual"}}], "meta": {"a": 1, "b": true}, "hv_tsc": true}),
        json!({"drives": [{"drive": "d", "dev_channel": "0:1", "device": "virtio"}, {"drive": "e", "device": "ide", "dev_channel": "0:0"}]}),
    ] {
        assert_eq!(pointers(section(&description)), [""; 0], "{description}");
        assert!(testing::host(|host| host.warnings.is_empty()));
    }
}

#[test]
fn a_server_without_network_is_warned_of() {
    for nics in [json!([]), json!(null)] {
        assert_eq!(pointers(section(&json!({"nics": nics}))), [""; 0]);
        assert_eq!(testing::host(|host| host.warnings[0].0.clone()), "cloudsigma.no-network");
    }
    let driver = harness(
        &Shared::default(),
        section(&json!({"context": false, "meta": {"cloudinit-user-data": "x"}})),
        |host| host.user_data = Some(b"x".to_vec()),
    );
    driver.check(json!({})).unwrap();
    let codes = testing::host(|host| host.warnings.iter().map(|(code, ..)| code.clone()).collect::<Vec<_>>());
    assert_eq!(codes, ["cloudsigma.no-context", "cloudsigma.two-user-data"]);
}

#[test]
fn the_schema_takes_what_the_existing_tool_takes() {
    let schema = testing::section_schema::<crate::Section>();
    assert_eq!(schema["required"], json!(["endpoint", "libdrive_id", "description"]));
    assert_eq!(schema["additionalProperties"], false);
    let description = schema.pointer("/$defs/Description").unwrap_or(&schema["properties"]["description"]);
    assert_eq!(description["required"], json!(["cpu", "mem", "vnc_password"]), "{schema}");
    assert_ne!(description["additionalProperties"], false);
    let credentials = testing::section_schema::<crate::Credentials>();
    assert_eq!(
        (&credentials["required"], &credentials["properties"]["email"]["x-public"]),
        (&json!(["email", "password"]), &json!(true))
    );
}
