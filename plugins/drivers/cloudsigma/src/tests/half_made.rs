//! Creations and removals that ended half way.

use occopus_sdk::{Phase, Reaction};
use serde_json::{Value, json};

use super::api::{Shared, error};
use super::{INSTANCE, bring_up, harness, observe, plain, section};

#[test]
fn a_clone_is_followed_by_its_job() {
    let api = Shared::default();
    api.lock().unwrap().drive_status = "cloning_dst";
    api.lock().unwrap().job_state = "started";
    let driver = plain(&api);
    let made = driver.create(INSTANCE, json!({})).unwrap();
    let seen = observe(&driver, &made.handle);
    assert_eq!((seen.phase, seen.message.as_deref()), (Phase::Pending, Some("its drive is cloning_dst, 47 %")));
    assert_eq!(api.lock().unwrap().count("POST /libdrives/"), 1);
    api.lock().unwrap().drives[0]["status"] = json!("unmounted");
    bring_up(&driver, &made.handle);
}

#[test]
fn a_failed_clone_is_told_and_removed() {
    let api = Shared::default();
    api.lock().unwrap().drive_status = "cloning_dst";
    let driver = plain(&api);
    let made = driver.create(INSTANCE, json!({})).unwrap();
    api.lock().unwrap().job_state = "failed";
    let seen = observe(&driver, &made.handle);
    assert_eq!(seen.phase, Phase::Failed);
    assert!(seen.message.unwrap().contains("could not clone"));
    assert!(api.lock().unwrap().drives.is_empty());
}

#[test]
fn every_lost_answer_is_taken_on() {
    for lost in ["POST /servers/", "POST /libdrives/", "PUT /servers/", "POST /servers/00000001"] {
        let api = Shared::default();
        api.lock().unwrap().lost_answers = vec![lost];
        let driver = plain(&api);
        let made = driver.create(INSTANCE, json!({}));
        let handle = match made {
            Ok(made) => {
                observe(&driver, &made.handle);
                made.handle
            }
            Err(fault) => {
                assert_eq!(fault.reaction, Reaction::UnknownOutcome, "{lost}");
                driver.find(INSTANCE).unwrap().unwrap().handle
            }
        };
        api.lock().unwrap().lost_answers.clear();
        bring_up(&driver, &handle);
        let api = api.lock().unwrap();
        assert_eq!((api.servers.len(), api.drives.len()), (1, 1), "{lost}");
    }
}

#[test]
fn a_library_drive_that_does_not_exist_leaves_nothing() {
    let api = Shared::default();
    let mut other = section(&json!({}));
    other["libdrive_id"] = json!("00000000-5d60-43a7-a11b-18dcfc1a4433");
    let driver = harness(&api, other, |_| {});
    let fault = driver.create(INSTANCE, json!({})).unwrap_err();
    assert_eq!((fault.reaction, fault.details[0].pointer.as_str()), (Reaction::GiveUp, "/libdrive_id"));
    assert!(api.lock().unwrap().servers.is_empty());
    // Where the server can't be removed, it is not forgotten.
    api.lock().unwrap().refuse("DELETE /servers/", 99, (500, error("backend", "unknown error")));
    assert_eq!(driver.create(INSTANCE, json!({})).unwrap_err().reaction, Reaction::UnknownOutcome);
    api.lock().unwrap().overrides.clear();
    assert!(driver.find(INSTANCE).unwrap().is_none());
    assert!(api.lock().unwrap().servers.is_empty());
}

#[test]
fn a_second_clone_that_arrives_late_is_removed() {
    let api = Shared::default();
    let driver = plain(&api);
    let made = driver.create(INSTANCE, json!({})).unwrap();
    observe(&driver, &made.handle);
    let name = api.lock().unwrap().drives[0]["name"].clone();
    api.lock().unwrap().servers[0]["status"] = json!("stopped");
    let _ = api.lock().unwrap().clone_drive(&json!({"name": name}));
    bring_up(&driver, &made.handle);
    assert_eq!(api.lock().unwrap().drives.len(), 1);
    let _ = api.lock().unwrap().clone_drive(&json!({"name": name}));
    driver.destroy(&made.handle).unwrap();
    assert!(api.lock().unwrap().drives.is_empty());
}

#[test]
fn every_half_made_state_is_removed() {
    let servers = [json!("stopped"), json!("running"), Value::Null];
    for (is_attached, status) in servers.iter().flat_map(|status| [(false, status), (true, status)]) {
        let api = Shared::default();
        let driver = plain(&api);
        let made = driver.create(INSTANCE, json!({})).unwrap();
        if is_attached {
            bring_up(&driver, &made.handle);
        }
        match status {
            Value::Null => api.lock().unwrap().servers.clear(),
            status => api.lock().unwrap().servers[0]["status"] = status.clone(),
        }
        driver.destroy(&made.handle).unwrap();
        let api = api.lock().unwrap();
        assert!(api.servers.is_empty() && api.drives.is_empty(), "{status} {is_attached}");
    }
}

#[test]
fn a_drive_whose_server_is_gone_is_shown_and_removed() {
    let api = Shared::default();
    let driver = plain(&api);
    let made = driver.create(INSTANCE, json!({})).unwrap();
    api.lock().unwrap().servers.clear();
    assert_eq!(observe(&driver, &made.handle).phase, Phase::Failed);
    let left = driver.list_owned(None).unwrap().machines.remove(0);
    assert_eq!((left.instance_id.as_str(), left.infrastructure_id.as_str()), (INSTANCE, "infra-1"));
    assert_eq!(left.observed.handle, made.handle);
    assert!(driver.find(INSTANCE).unwrap().is_none());
    assert!(api.lock().unwrap().drives.is_empty());
}

#[test]
fn a_copy_of_our_drive_is_not_removed() {
    let api = Shared::default();
    let driver = plain(&api);
    let made = driver.create(INSTANCE, json!({})).unwrap();
    let name = api.lock().unwrap().drives[0]["name"].as_str().unwrap().to_owned() + "_1";
    let _ = api.lock().unwrap().clone_drive(&json!({"name": name}));
    driver.destroy(&made.handle).unwrap();
    assert_eq!(api.lock().unwrap().drives.len(), 1);
}

#[test]
fn wrong_states_and_mounted_drives_are_waited_for() {
    let api = Shared::default();
    let driver = plain(&api);
    let made = driver.create(INSTANCE, json!({})).unwrap();
    bring_up(&driver, &made.handle);
    let wrong = |action: &str| (403, error("permission", &format!("Cannot {action} guest in state \"starting\"")));
    api.lock().unwrap().refuse("POST /servers/", 2, wrong("stop"));
    api.lock().unwrap().refuse("DELETE /servers/", 1, wrong("delete"));
    api.lock().unwrap().refuse("DELETE /drives/", 3, (403, error("permission", "Drive is mounted on a guest")));
    driver.destroy(&made.handle).unwrap();
    assert!(api.lock().unwrap().drives.is_empty());
}

#[test]
fn what_does_not_go_is_no_success() {
    for start in ["DELETE /servers/", "DELETE /drives/"] {
        let api = Shared::default();
        let driver = plain(&api);
        let made = driver.create(INSTANCE, json!({})).unwrap();
        bring_up(&driver, &made.handle);
        api.lock().unwrap().refuse(start, 999, (204, Value::Null));
        let fault = driver.destroy(&made.handle).unwrap_err();
        assert_eq!(fault.reaction, Reaction::Retry, "{start}");
        assert!(api.lock().unwrap().count(start) < 20);
    }
}
