//! Judgement of servers that are not there.

use occopus_sdk::{Phase, Reaction};
use serde_json::{Value, json};

use super::api::Shared;
use super::{INSTANCE, bring_up, harness, observe, plain, section};

#[test]
fn another_account_proves_nothing() {
    let api = Shared::default();
    let driver = plain(&api);
    let made = driver.create(INSTANCE, json!({})).unwrap();
    bring_up(&driver, &made.handle);
    let servers = std::mem::take(&mut api.lock().unwrap().servers);
    api.lock().unwrap().account = "a-2";
    let fault = driver.observe(std::slice::from_ref(&made.handle)).unwrap_err();
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Denied, "cloudsigma.other-account"));
    assert_eq!(driver.destroy(&made.handle).unwrap_err().reaction, Reaction::Denied);
    // Beside one that is known, it is unknown.
    let other = driver.create("00000000-8e78-4c45-a8ba-8b13f0895e23", json!({})).unwrap();
    let seen = driver.observe(&[made.handle.clone(), other.handle]).unwrap();
    assert_eq!((seen[0].phase, seen[1].phase), (Phase::Unknown, Phase::Pending));
    api.lock().unwrap().account = "a-1";
    api.lock().unwrap().servers = servers;
    assert_eq!(observe(&driver, &made.handle).phase, Phase::Running);
}

#[test]
fn another_location_proves_nothing() {
    let api = Shared::default();
    let made = plain(&api).create(INSTANCE, json!({})).unwrap();
    api.lock().unwrap().servers.clear();
    let mut elsewhere = section(&json!({}));
    elsewhere["endpoint"] = json!("https://sjc.test/api/2.0");
    let shared = std::sync::Arc::clone(&api);
    let driver = harness(&api, elsewhere, |host| {
        host.http = std::sync::Arc::new(move |request| {
            let mut request = request.clone();
            request.url = request.url.replace("sjc.test", "zrh.test");
            shared.lock().unwrap().answer(&request)
        });
    });
    let fault = driver.observe(&[made.handle]).unwrap_err();
    assert_eq!((fault.code.as_str(), fault.details[0].pointer.as_str()), ("cloudsigma.other-location", "/endpoint"));
}

#[test]
fn answers_of_others_prove_nothing() {
    for answer in [
        (404, json!("<html>not found</html>")),
        (404, json!({"message": "no Route matched with those values"})),
        (404, json!([])),
        (200, json!({"objects": []})),
        (200, json!([])),
        (200, json!({"meta": {"total_count": 0}, "objects": []})),
        (204, Value::Null),
        (503, json!("<html>")),
        (302, Value::Null),
    ] {
        let api = Shared::default();
        let driver = plain(&api);
        let made = driver.create(INSTANCE, json!({})).unwrap();
        bring_up(&driver, &made.handle);
        api.lock().unwrap().refuse("", 999, answer.clone());
        let reaction = |fault: occopus_sdk::Fault| assert!(fault.reaction != Reaction::NotFound, "{answer:?}: {fault}");
        reaction(driver.observe(std::slice::from_ref(&made.handle)).unwrap_err());
        reaction(driver.destroy(&made.handle).unwrap_err());
        reaction(driver.find(INSTANCE).unwrap_err());
        reaction(driver.list_owned(None).unwrap_err());
        reaction(driver.create("00000000-8e78-4c45-a8ba-8b13f0895e23", json!({})).unwrap_err());
    }
}
