//! The driver against answers in the shape of the APIs.

mod absence;
mod checks;
mod cloud;
mod errors;

use std::sync::Arc;
use std::time::Duration;

use occopus_sdk::testing::{self, DriverHarness, FakeHost};
use occopus_sdk::{Handle, Phase, Reaction};
use serde_json::{Value, json};

use self::cloud::{Shared, refusal};
use crate::Nova;

const KEYSTONE: &str = "http://keystone:5000";

fn section(more: &Value) -> Value {
    let mut section = json!({"endpoint": KEYSTONE, "image_id": "tiny", "flavor_name": "m1.tiny", "project_id": "p-1"});
    section.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    section
}

fn harness(cloud: &Shared, more: &Value, prepare: impl FnOnce(&mut FakeHost)) -> DriverHarness<Nova> {
    let cloud = Arc::clone(cloud);
    let mut host = FakeHost::default()
        .credential("username", "demo")
        .credential("password", "hunter2")
        .http(move |request| cloud.lock().unwrap().answer(request));
    prepare(&mut host);
    testing::driver::<Nova>(host, section(more)).unwrap()
}

fn plain(cloud: &Shared) -> DriverHarness<Nova> {
    harness(cloud, &json!({}), |_| {})
}

#[test]
fn a_server_is_made_seen_and_removed() {
    let cloud = Shared::default();
    let nova = harness(
        &cloud,
        &json!({"network_id": "net-1", "key_name": "mine", "security_groups": ["default", ""]}),
        |host| {
            host.user_data = Some(b"#cloud-config".to_vec());
        },
    );
    let made = nova.create("instance-1", json!({})).unwrap();
    assert!(
        made.handle.data.starts_with("server-0 project=p-1 region=One nova=http://nova/v2.1 instance=instance-1 name=")
    );
    let body = cloud.lock().unwrap().calls.iter().find(|(what, _)| what.starts_with("POST nova")).unwrap().1.clone();
    let server = &body["server"];
    assert_eq!((&server["imageRef"], &server["flavorRef"]), (&json!("image-1"), &json!("f-2")));
    assert_eq!(server["networks"], json!([{"uuid": "net-1"}]));
    assert_eq!(server["security_groups"], json!([{"name": "default"}]));
    assert_eq!((&server["key_name"], &server["user_data"]), (&json!("mine"), &json!("I2Nsb3VkLWNvbmZpZw==")));
    assert_eq!(server["metadata"]["occopus.instance"], "instance-1");
    let seen = nova.observe(std::slice::from_ref(&made.handle)).unwrap().remove(0);
    assert_eq!((seen.phase, seen.addresses[0].value.as_str()), (Phase::Running, "10.0.0.9"));
    nova.destroy(&made.handle).unwrap();
    nova.destroy(&made.handle).unwrap();
    assert_eq!(nova.observe(&[made.handle]).unwrap()[0].phase, Phase::Gone);
    // One login, and names are asked for once.
    nova.create("instance-2", json!({})).unwrap();
    let cloud = cloud.lock().unwrap();
    assert_eq!((cloud.logins, cloud.count("GET glance")), (1, 1));
}

#[test]
fn the_password_goes_to_keystone_alone() {
    let cloud = Shared::default();
    plain(&cloud).create("instance-1", json!({})).unwrap();
    let cloud = cloud.lock().unwrap();
    let login = &cloud.calls[0].1["auth"];
    assert_eq!(login["scope"], json!({"project": {"id": "p-1"}}));
    assert_eq!(login["identity"]["password"]["user"]["domain"], json!({"name": "Default"}));
    for (what, body) in &cloud.calls[1..] {
        assert!(!body.to_string().contains("hunter2"), "{what}");
    }
}

#[test]
fn application_credentials_log_in_without_a_scope() {
    let cloud = Shared::default();
    let shared = Arc::clone(&cloud);
    let host = FakeHost::default()
        .credential("type", "application_credential")
        .credential("id", "app-1")
        .credential("secret", "s")
        .http(move |request| shared.lock().unwrap().answer(request));
    testing::driver::<Nova>(host, section(&json!({}))).unwrap().create("instance-1", json!({})).unwrap();
    let login = cloud.lock().unwrap().calls[0].1["auth"].clone();
    assert_eq!(login["identity"]["methods"], json!(["application_credential"]));
    assert!(login.get("scope").is_none());
}

#[test]
fn a_token_that_was_revoked_is_replaced() {
    let cloud = Shared::default();
    let nova = plain(&cloud);
    let made = nova.create("instance-1", json!({})).unwrap();
    cloud.lock().unwrap().revoked = 1;
    assert_eq!(nova.observe(&[made.handle]).unwrap()[0].phase, Phase::Running);
    assert_eq!(cloud.lock().unwrap().logins, 2);
    // A cloud that takes none of its own tokens is not asked for ever.
    cloud.lock().unwrap().revoked = 99;
    let fault = nova.observe(&[Handle::new(1, "server-0")]).unwrap_err();
    assert_eq!(fault.reaction, Reaction::Denied);
}

#[test]
fn two_servers_with_one_id_become_one() {
    let cloud = Shared::default();
    // With too little time to wait for a first creation that is still on its way.
    let nova = harness(&cloud, &json!({}), |host| (host.repeated, host.remaining_ms) = (true, 5_000));
    let first = nova.create("instance-1", json!({})).unwrap();
    assert_eq!(nova.create("instance-1", json!({})).unwrap().handle, first.handle);
    // Somebody else's creation arrived at the same time.
    let twin = cloud.lock().unwrap().servers[0].clone();
    for (id, created) in [("server-7", "2026-01-01T00:00:07Z"), ("server-8", "2026-01-01T00:00:08Z")] {
        let mut twin = twin.clone();
        twin["id"] = json!(id);
        twin["created"] = json!(created);
        cloud.lock().unwrap().servers.push(twin);
    }
    assert_eq!(nova.find("instance-1").unwrap().unwrap().handle, first.handle);
    assert_eq!(cloud.lock().unwrap().servers.len(), 1);
    assert!(nova.find("instance-2").unwrap().is_none());
}

#[test]
fn a_server_without_an_id_is_not_one_that_was_made() {
    for id in ["", " ", "server 0", "../flavors", &"a".repeat(5000)] {
        let cloud = Shared::default();
        cloud.lock().unwrap().overrides.insert("POST nova", (202, Vec::new(), json!({"server": {"id": id}})));
        let fault = plain(&cloud).create("instance-1", json!({})).unwrap_err();
        assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::UnknownOutcome, "nova.bad-answer"), "{id:.20}");
    }
}

#[test]
fn a_lost_answer_leaves_what_find_finds() {
    let cloud = Shared::default();
    cloud.lock().unwrap().lost_answers = vec!["POST nova/v2.1/servers"];
    let nova = plain(&cloud);
    assert_eq!(nova.create("instance-1", json!({})).unwrap_err().reaction, Reaction::UnknownOutcome);
    assert_eq!(nova.find("instance-1").unwrap().unwrap().handle.data.split(' ').next(), Some("server-0"));
}

#[test]
fn many_are_observed_by_the_page_and_the_missing_are_asked_for() {
    let cloud = Shared::default();
    let nova = plain(&cloud);
    let mut handles: Vec<Handle> =
        (0..5).map(|n| nova.create(&format!("instance-{n}"), json!({})).unwrap().handle).collect();
    handles.push(Handle::new(1, "never-was"));
    cloud.lock().unwrap().calls.clear();
    let seen = nova.observe(&handles).unwrap();
    assert!(seen[..5].iter().all(|one| one.phase == Phase::Running) && seen[5].phase == Phase::Gone);
    let count = cloud.lock().unwrap().calls.len();
    assert_eq!(count, 4, "three pages of two, and one that is missing");
}

#[test]
fn states_are_told_apart() {
    let cloud = Shared::default();
    let nova = plain(&cloud);
    let made = nova.create("instance-1", json!({})).unwrap();
    for (status, phase) in [
        ("BUILD", Phase::Pending),
        ("SHUTOFF", Phase::Stopped),
        ("ERROR", Phase::Failed),
        ("DELETED", Phase::Gone),
        ("SOMETHING_NEW", Phase::Unknown),
    ] {
        let mut cloud = cloud.lock().unwrap();
        cloud.servers[0]["status"] = json!(status);
        cloud.servers[0]["fault"] = json!({"code": 500, "message": "No valid host was found."});
        drop(cloud);
        let seen = nova.observe(std::slice::from_ref(&made.handle)).unwrap().remove(0);
        assert_eq!(seen.phase, phase);
        assert_eq!(seen.message.is_some_and(|text| text.contains("No valid host")), phase == Phase::Failed);
    }
}

#[test]
fn a_volume_is_made_by_nova() {
    let cloud = Shared::default();
    for (size, expected) in [(0, 50), (7, 7)] {
        harness(&cloud, &json!({"volume_size": size, "volume_persist": true}), |_| {}).create("i", json!({})).unwrap();
        let body = cloud.lock().unwrap().calls.last().unwrap().1["server"].clone();
        let volume = &body["block_device_mapping_v2"][0];
        assert_eq!((&volume["volume_size"], &volume["delete_on_termination"]), (&json!(expected), &json!(false)));
        assert!(body.get("imageRef").is_none());
    }
}

#[test]
fn floating_ips_are_taken_allocated_and_released() {
    let cloud = Shared::default();
    let nova = harness(&cloud, &json!({"floating_ip": "yes"}), |_| {});
    cloud.lock().unwrap().floating.push(json!({"id": "own", "floating_network_id": "ext-1", "status": "DOWN",
        "floating_ip_address": "203.0.113.1", "port_id": null, "description": "", "revision_number": 3}));
    let first = nova.create("instance-1", json!({})).unwrap();
    assert_eq!(first.addresses[0].value, "203.0.113.1");
    let second = nova.create("instance-2", json!({})).unwrap();
    assert_eq!(second.addresses[0].value, "203.0.113.7");
    nova.destroy(&first.handle).unwrap();
    nova.destroy(&second.handle).unwrap();
    let cloud = cloud.lock().unwrap();
    assert_eq!(cloud.floating.len(), 1, "the user's own stays");
    assert!(cloud.servers.is_empty());
}

#[test]
fn an_address_that_another_one_takes_in_the_same_moment_is_not_believed_in() {
    let cloud = Shared::default();
    let nova = harness(&cloud, &json!({"floating_ip": "yes"}), |_| {});
    // No revision numbers.
    cloud.lock().unwrap().floating.push(json!({"id": "own", "floating_network_id": "ext-1", "status": "DOWN",
        "floating_ip_address": "203.0.113.1", "port_id": null, "description": ""}));
    cloud.lock().unwrap().competing_port = Some("port-of-another");
    assert_eq!(nova.create("instance-1", json!({})).unwrap().addresses[0].value, "203.0.113.7");
}

#[test]
fn free_floating_ips_are_looked_for_on_every_page() {
    let cloud = Shared::default();
    let nova = harness(&cloud, &json!({"floating_ip": "yes"}), |_| {});
    for number in 0..5 {
        let port = if number == 4 { Value::Null } else { json!("port-of-another") };
        cloud.lock().unwrap().floating.push(json!({"id": format!("own-{number}"), "floating_network_id": "ext-1",
            "status": "DOWN", "floating_ip_address": format!("203.0.113.{number}"), "port_id": port, "description": ""}));
    }
    let made = nova.create("instance-1", json!({})).unwrap();
    assert_eq!(made.addresses[0].value, "203.0.113.4");
    assert_eq!(cloud.lock().unwrap().floating.len(), 5, "none was allocated");
}

#[test]
fn a_server_without_its_floating_ip_is_taken_back() {
    let cloud = Shared::default();
    cloud
        .lock()
        .unwrap()
        .overrides
        .insert("POST neutron", refusal(409, "Quota exceeded for resources: ['floatingip']."));
    let nova = harness(&cloud, &json!({"floating_ip_pool": "ext"}), |_| {});
    let fault = nova.create("instance-1", json!({})).unwrap_err();
    assert_eq!(fault.reaction, Reaction::NoCapacity);
    assert!(cloud.lock().unwrap().servers.is_empty());
    let nova = harness(&cloud, &json!({"floating_ip_pool": "nosuch"}), |_| {});
    let fault = nova.create("instance-1", json!({})).unwrap_err();
    assert_eq!((fault.reaction, fault.details[0].pointer.as_str()), (Reaction::GiveUp, "/floating_ip_pool"));
    assert!(cloud.lock().unwrap().servers.is_empty());
}

#[test]
fn a_server_that_cannot_be_taken_back_is_not_forgotten() {
    let cloud = Shared::default();
    cloud.lock().unwrap().overrides.insert("DELETE nova", refusal(403, "Policy doesn't allow it"));
    let nova = harness(&cloud, &json!({"floating_ip_pool": "nosuch"}), |_| {});
    let fault = nova.create("instance-1", json!({})).unwrap_err();
    assert_eq!(fault.reaction, Reaction::UnknownOutcome, "there is a machine");
    assert!(fault.message.contains("no external network") && format!("{fault:?}").contains("can't be deleted yet"));
    assert_eq!(nova.find("instance-1").unwrap_err().reaction, Reaction::UnknownOutcome);
    cloud.lock().unwrap().overrides.clear();
    assert!(nova.find("instance-1").unwrap().is_none());
    assert!(cloud.lock().unwrap().servers.is_empty());
}

#[test]
fn a_first_creation_that_was_overtaken_leaves_no_second_server() {
    let cloud = Shared::default();
    let nova = harness(&cloud, &json!({}), |host| host.repeated = true);
    let late = Arc::clone(&cloud);
    let arrival = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1500));
        // It was sent by another owner, before.
        let wanted = json!({"name": "n", "metadata": {"occopus.instance": "instance-1"}, "flavorRef": "4"});
        late.lock().unwrap().make(&wanted);
    });
    let made = nova.create("instance-1", json!({})).unwrap();
    arrival.join().unwrap();
    let cloud = cloud.lock().unwrap();
    assert_eq!((made.handle.data.split(' ').next(), cloud.servers.len()), (Some("server-0"), 1));
}

#[test]
fn refusals_say_where_and_what_to_do() {
    for (call, status, words, reaction, pointer) in [
        ("POST nova", 400, "Can not find requested image", Reaction::GiveUp, "/image_id"),
        ("POST nova", 400, "Invalid key_name provided.", Reaction::GiveUp, "/key_name"),
        ("POST nova", 400, "Security group x not found for project p.", Reaction::GiveUp, "/security_groups"),
        ("POST nova", 400, "Network x could not be found.", Reaction::GiveUp, "/network_id"),
        ("POST nova", 400, "Flavor's disk is too small for requested image.", Reaction::GiveUp, "/flavor_name"),
        ("POST nova", 400, "User data needs to be valid base 64.", Reaction::GiveUp, "#user-data"),
        ("POST nova", 409, "Multiple possible networks found, use a Network ID", Reaction::GiveUp, "/network_id"),
        ("POST nova", 403, "Quota exceeded for instances: Requested 1", Reaction::NoCapacity, ""),
        ("POST nova", 403, "Policy doesn't allow it", Reaction::Denied, ""),
        ("POST nova", 429, "slow down", Reaction::Retry, ""),
        ("POST nova", 503, "down", Reaction::UnknownOutcome, ""),
        ("POST nova", 501, "not here", Reaction::Unsupported, ""),
        ("POST nova", 409, "No more IP addresses available on network x.", Reaction::NoCapacity, "/network_id"),
        (
            "POST nova",
            400,
            "User data too large. User data must be no larger than 64KB",
            Reaction::GiveUp,
            "#user-data",
        ),
        ("POST nova", 400, "Block Device Mapping is Invalid: volume", Reaction::GiveUp, "/volume_size"),
        ("GET glance", 503, "down", Reaction::Retry, ""),
    ] {
        let cloud = Shared::default();
        cloud.lock().unwrap().overrides.insert(call, refusal(status, words));
        let fault = plain(&cloud).create("instance-1", json!({})).unwrap_err();
        assert_eq!(fault.reaction, reaction, "{call} {status} {words}: {fault:?}");
        let pointed = fault.details.iter().any(|detail| detail.pointer == pointer);
        assert!(pointer.is_empty() || pointed, "{words}: {fault:?}");
        assert!(!format!("{fault:?}").contains("hunter2"));
        let asked_twice = status == 429;
        assert_eq!(fault.retry_after.is_some(), asked_twice, "{words}");
    }
}

#[test]
fn names_that_are_not_there_or_not_clear() {
    let cloud = Shared::default();
    for (key, value, code) in [
        ("image_id", "nosuch", "nova.no-such-image"),
        ("image_id", "twice", "nova.ambiguous-image"),
        ("flavor_name", "nosuch", "nova.no-such-flavor"),
        ("region_name", "Mars", "nova.no-such-region"),
    ] {
        let nova = harness(&cloud, &json!({key: value}), |_| {});
        let fault = nova.create("instance-1", json!({})).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.details[0].pointer.as_str()), (code, format!("/{key}").as_str()));
    }
    // A flavor's id needs no list.
    harness(&cloud, &json!({"flavor_name": 4}), |_| {}).create("instance-1", json!({})).unwrap();
}

#[test]
fn everything_of_ours_is_listed() {
    let cloud = Shared::default();
    let nova = plain(&cloud);
    for number in 0..3 {
        nova.create(&format!("instance-{number}"), json!({})).unwrap();
    }
    cloud.lock().unwrap().servers[1]["metadata"] = json!({});
    let first = nova.list_owned(None).unwrap();
    assert_eq!((first.machines.len(), first.machines[0].instance_id.as_str()), (1, "instance-0"));
    let rest = nova.list_owned(first.cursor.as_deref()).unwrap();
    assert_eq!((rest.machines.len(), rest.cursor), (1, None));
}
