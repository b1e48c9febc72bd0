//! Refusals.

use occopus_sdk::{Phase, Reaction};
use serde_json::json;

use super::api::{Shared, error};
use super::{INSTANCE, bring_up, observe, plain};

#[test]
fn refusals_have_reactions_and_places() {
    let at = |kind: &str, point: &str| json!([{"error_type": kind, "error_message": "no", "error_point": point}]);
    for (status, body, reaction, pointer) in [
        (400, at("validation", "cpu"), Reaction::GiveUp, "/description/cpu"),
        (400, at("validation", "objects.0.nics.0.vlan"), Reaction::GiveUp, "/description/nics"),
        (400, at("validation", "elsewhere"), Reaction::GiveUp, "/description"),
        (404, error("notexist", "no such key"), Reaction::GiveUp, "/description"),
        (402, error("billing", "Not enough money"), Reaction::NoCapacity, ""),
        (403, error("payment", "expired"), Reaction::NoCapacity, ""),
        (403, error("permission", "The limit of servers is reached"), Reaction::NoCapacity, ""),
        (403, error("permission", "You may not"), Reaction::Denied, ""),
        (401, error("permission", "Authentication failed"), Reaction::Denied, ""),
        (401, json!("<html>"), Reaction::Denied, ""),
        (429, json!(null), Reaction::Retry, ""),
        (500, error("backend", "unknown error"), Reaction::UnknownOutcome, ""),
        (500, error("database", "deadlock"), Reaction::UnknownOutcome, ""),
        (502, json!("<html>"), Reaction::UnknownOutcome, ""),
        (409, error("novelty", "something"), Reaction::GiveUp, ""),
    ] {
        let api = Shared::default();
        let case = format!("{status} {body}");
        api.lock().unwrap().refuse("POST /servers/", 1, (status, body));
        let fault = plain(&api).create(INSTANCE, json!({})).unwrap_err();
        assert_eq!(fault.reaction, reaction, "{case}: {fault}");
        let found = fault.details.iter().map(|detail| detail.pointer.as_str()).find(|pointer| !pointer.is_empty());
        assert_eq!(found.unwrap_or_default(), pointer, "{case}");
        assert!(api.lock().unwrap().servers.is_empty());
    }
}

#[test]
fn concurrency_is_repeated() {
    let api = Shared::default();
    let busy = (409, error("concurrency", "The resource is being changed"));
    api.lock().unwrap().refuse("POST /servers/", 2, busy.clone());
    let driver = plain(&api);
    driver.create(INSTANCE, json!({})).unwrap();
    assert_eq!(api.lock().unwrap().count("POST /servers/"), 3);
    assert_eq!(api.lock().unwrap().servers.len(), 1);
    api.lock().unwrap().refuse("GET /profile/", 99, busy);
    assert_eq!(driver.create(INSTANCE, json!({})).unwrap_err().reaction, Reaction::Retry);
}

#[test]
fn a_clone_that_fails_for_now_is_made_later() {
    for answer in [(429, json!(null)), (500, error("backend", "unknown error")), (503, json!("<html>"))] {
        let api = Shared::default();
        api.lock().unwrap().refuse("POST /libdrives/", 1, answer);
        let driver = plain(&api);
        let made = driver.create(INSTANCE, json!({})).unwrap();
        assert_eq!(made.phase, Phase::Pending);
        bring_up(&driver, &made.handle);
    }
}

#[test]
fn a_start_that_is_refused_is_a_failure() {
    let api = Shared::default();
    let driver = plain(&api);
    let made = driver.create(INSTANCE, json!({})).unwrap();
    api.lock().unwrap().refuse("POST /servers/0", 1, (402, error("billing", "Not enough money")));
    let seen = observe(&driver, &made.handle);
    assert_eq!(seen.phase, Phase::Failed);
    assert!(seen.message.unwrap().contains("Not enough money"));
    driver.destroy(&made.handle).unwrap();
    assert!(api.lock().unwrap().drives.is_empty());
}

#[test]
fn another_endpoint_is_told_at_its_line() {
    let api = Shared::default();
    api.lock().unwrap().refuse("GET /profile/", 9, (200, json!({"hello": "world"})));
    let fault = plain(&api).create(INSTANCE, json!({})).unwrap_err();
    assert_eq!((fault.reaction, fault.details[0].pointer.as_str()), (Reaction::GiveUp, "/endpoint"));
}
