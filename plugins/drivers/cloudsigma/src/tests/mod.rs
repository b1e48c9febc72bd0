//! The driver against answers in the shape of the API.

mod absence;
mod api;
mod checks;
mod errors;
mod half_made;

use std::sync::Arc;

use base64::Engine as _;
use occopus_sdk::testing::{self, DriverHarness, FakeHost};
use occopus_sdk::{Handle, Observed, Phase};
use serde_json::{Value, json};

use self::api::{LIBRARY_DRIVE, Shared};
use crate::CloudSigma;

/// An instance id in the form in which the host makes them.
const INSTANCE: &str = "5b4a69a3-8e78-4c45-a8ba-8b13f0895e23";

fn section(description: &Value) -> Value {
    let mut full = json!({"cpu": 2000, "mem": "1073741824", "vnc_password": "secret",
        "nics": [{"ip_v4_conf": {"conf": "dhcp"}, "firewall_policy": "f-1"}], "pubkeys": ["k-1"]});
    full.as_object_mut().unwrap().extend(description.as_object().unwrap().clone());
    json!({"endpoint": "https://zrh.test/api/2.0/", "libdrive_id": LIBRARY_DRIVE, "description": full})
}

fn harness(api: &Shared, section: Value, prepare: impl FnOnce(&mut FakeHost)) -> DriverHarness<CloudSigma> {
    let api = Arc::clone(api);
    let mut host = FakeHost { time_passes: false, ..FakeHost::default() }
        .credential("email", "user@example.com")
        .credential("password", "hunter2")
        .http(move |request| api.lock().unwrap().answer(request));
    prepare(&mut host);
    testing::driver::<CloudSigma>(host, section).unwrap()
}

fn plain(api: &Shared) -> DriverHarness<CloudSigma> {
    harness(api, section(&json!({})), |_| {})
}

fn observe(driver: &DriverHarness<CloudSigma>, handle: &Handle) -> Observed {
    driver.observe(std::slice::from_ref(handle)).unwrap().remove(0)
}

/// Observes until the server runs, and returns the number of observations.
fn bring_up(driver: &DriverHarness<CloudSigma>, handle: &Handle) -> usize {
    (1..10).find(|_| observe(driver, handle).phase == Phase::Running).expect("it runs")
}

#[test]
fn a_server_is_made_seen_and_removed() {
    let api = Shared::default();
    let driver = harness(&api, section(&json!({"smp": 2, "meta": {"team": 7}, "tags": ["t-1"]})), |host| {
        host.user_data = Some(b"#cloud-config".to_vec());
    });
    let made = driver.create(INSTANCE, json!({})).unwrap();
    let server = api.lock().unwrap().servers[0]["uuid"].as_str().unwrap().to_owned();
    assert_eq!(made.handle.data, format!("{server} account=a-1 at=zrh.test instance={INSTANCE}"));
    assert_eq!((made.phase, made.message.as_deref()), (Phase::Pending, Some("its drive is being cloned")));
    let document = api.lock().unwrap().body("POST /servers/")["objects"][0].clone();
    for (key, value) in [
        ("cpu", json!(2000)),
        ("mem", json!(1_073_741_824)),
        ("smp", json!(2)),
        ("pubkeys", json!(["k-1"])),
        ("tags", json!(["t-1"])),
        ("vnc_password", json!("secret")),
        ("nics", json!([{"ip_v4_conf": {"conf": "dhcp"}, "firewall_policy": "f-1"}])),
        ("name", json!(format!("occopus-infra-infra-1-node-{INSTANCE}"))),
    ] {
        assert_eq!(document[key], value, "{key}");
    }
    let meta = &document["meta"];
    assert_eq!((&meta["team"], &meta["ssh_public_key"]), (&json!("7"), &json!("")));
    assert_eq!((&meta["base64_fields"], &meta["occopus-begun"]), (&json!("cloudinit-user-data"), &json!("1796058000")));
    assert_eq!((&meta["occopus-instance"], &meta["occopus-infrastructure"]), (&json!(INSTANCE), &json!("infra-1")));
    let data = base64::engine::general_purpose::STANDARD.decode(meta["cloudinit-user-data"].as_str().unwrap());
    assert_eq!(data.unwrap(), b"#cloud-config");
    assert!(meta.as_object().unwrap().keys().all(|key| key.len() <= 32));
    let name = api.lock().unwrap().body("POST /libdrives/")["name"].clone();
    assert_eq!(name, json!(format!("occopus infra-1 {INSTANCE} {server}")));

    assert_eq!(bring_up(&driver, &made.handle), 2);
    let seen = observe(&driver, &made.handle);
    assert_eq!(seen.addresses[0].value, "94.26.101.149");
    assert_eq!(seen.handle, made.handle);
    let drive = api.lock().unwrap().servers[0]["drives"][0].clone();
    assert_eq!(
        (&drive["boot_order"], &drive["dev_channel"], &drive["device"]),
        (&json!(1), &json!("0:0"), &json!("virtio"))
    );
    // Marked once, with everything else kept.
    assert_eq!(api.lock().unwrap().count("PUT /servers/"), 2);
    assert_eq!(api.lock().unwrap().servers[0]["meta"]["team"], "7");

    driver.destroy(&made.handle).unwrap();
    driver.destroy(&made.handle).unwrap();
    assert!(api.lock().unwrap().servers.is_empty() && api.lock().unwrap().drives.is_empty());
    assert_eq!(observe(&driver, &made.handle).phase, Phase::Gone);
}

#[test]
fn further_drives_of_the_user_are_attached_and_kept() {
    let api = Shared::default();
    let drives = json!([{"drive": {"uuid": "mine"}, "dev_channel": "0:1", "device": "virtio", "boot_order": null}]);
    let driver = harness(&api, section(&json!({"drives": drives})), |_| {});
    let made = driver.create(INSTANCE, json!({})).unwrap();
    bring_up(&driver, &made.handle);
    let attached = api.lock().unwrap().servers[0]["drives"].clone();
    assert_eq!((attached.as_array().unwrap().len(), &attached[1]["drive"]["uuid"]), (2, &json!("mine")));
    driver.destroy(&made.handle).unwrap();
    assert_eq!(api.lock().unwrap().count("DELETE /drives/"), 1);
}

#[test]
fn many_are_observed_by_one_list() {
    let api = Shared::default();
    let driver = plain(&api);
    let ids: Vec<_> = (0..50).map(|number| format!("{number:08}-8e78-4c45-a8ba-8b13f0895e23")).collect();
    let handles: Vec<_> = ids.iter().map(|id| driver.create(id, json!({})).unwrap().handle).collect();
    for handle in &handles {
        bring_up(&driver, handle);
    }
    api.lock().unwrap().calls.clear();
    let seen = driver.observe(&handles).unwrap();
    assert!(seen.iter().zip(&handles).all(|(seen, handle)| seen.phase == Phase::Running && seen.handle == *handle));
    assert_eq!(api.lock().unwrap().calls.len(), 1);
    // 20 on a page, whatever is requested.
    api.lock().unwrap().page = 20;
    assert!(driver.observe(&handles).unwrap().iter().all(|seen| seen.phase == Phase::Running));
    let page = driver.list_owned(None).unwrap();
    assert_eq!((page.machines.len(), page.cursor), (50, None));
    let first = page.machines.iter().find(|machine| machine.instance_id == ids[0]).unwrap();
    assert_eq!((first.infrastructure_id.as_str(), &first.observed.handle), ("infra-1", &handles[0]));
}

#[test]
fn a_server_that_was_stopped_is_not_started_again() {
    let api = Shared::default();
    let driver = plain(&api);
    let made = driver.create(INSTANCE, json!({})).unwrap();
    bring_up(&driver, &made.handle);
    api.lock().unwrap().servers[0]["status"] = json!("stopped");
    let seen = observe(&driver, &made.handle);
    assert_eq!((seen.phase, seen.message.as_deref()), (Phase::Stopped, Some("the server is stopped")));
    assert_eq!(api.lock().unwrap().servers[0]["status"], "stopped");
}

#[test]
fn two_servers_with_one_id_become_one() {
    let api = Shared::default();
    let driver = harness(&api, section(&json!({})), |host| host.repeated = true);
    let first = driver.create(INSTANCE, json!({})).unwrap();
    assert_eq!(driver.create(INSTANCE, json!({})).unwrap().handle, first.handle);
    bring_up(&driver, &first.handle);
    // Somebody else's creation, which began later, and a copy that a user made.
    let twin = api.lock().unwrap().servers[0].clone();
    let mut late = twin.clone();
    late["uuid"] = json!("00000000-0000-4000-8000-000000000000");
    late["meta"]["occopus-begun"] = json!("1796058001");
    late["meta"].as_object_mut().unwrap().remove("occopus-ran");
    let mut copy = twin;
    copy["uuid"] = json!("00000000-0000-4000-8000-00000000c0b1");
    api.lock().unwrap().servers.extend([late, copy]);
    assert_eq!(driver.find(INSTANCE).unwrap().unwrap().handle, first.handle);
    assert_eq!(api.lock().unwrap().servers.len(), 2);
    assert!(driver.find("00000000-8e78-4c45-a8ba-8b13f0895e23").unwrap().is_none());
}
