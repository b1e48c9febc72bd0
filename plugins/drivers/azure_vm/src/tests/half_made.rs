//! Deaths at every request of creation and removal, and what the next run makes of it.

use std::cell::Cell;
use std::rc::Rc;

use occopus_sdk::http::{HttpError, HttpErrorKind};
use occopus_sdk::testing::{DriverHarness, FakeHost};
use occopus_sdk::{Phase, Reaction};
use serde_json::{Value, json};

use super::azure::{Azure, SUBSCRIPTION};
use super::life::{ID, OTHER, wait_for};
use crate::AzureVm;

fn public() -> Value {
    json!({"public_ip_needed": true})
}

/// Returns a driver whose process dies at a request: that one arrives, its answer does not, and there are no others. The
/// second value counts the requests.
fn dying(azure: &Rc<Azure>, at: usize, changes: &Value) -> (DriverHarness<AzureVm>, Rc<Cell<usize>>) {
    let count = Rc::new(Cell::new(0));
    let (inner, counter) = (Rc::clone(azure), Rc::clone(&count));
    let host = azure.host(move |request| {
        let number = counter.get();
        counter.set(number + 1);
        let dead = || Err(HttpError { kind: HttpErrorKind::MaybeSent, message: "the process is dead".to_owned() });
        match number.cmp(&at) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => {
                let _lost = inner.send(request);
                Some(dead())
            }
            std::cmp::Ordering::Greater => Some(dead()),
        }
    });
    (azure.driver_on(host, changes), count)
}

#[test]
fn a_death_at_any_request_of_a_creation_leaves_nothing_that_is_not_found() {
    let Some(azure) = Azure::start("a_death_at_any_request_of_a_creation_leaves_nothing_that_is_not_found") else {
        return;
    };
    let mut at = 0;
    loop {
        let (driver, count) = dying(&azure, at, &public());
        let answer = driver.create(ID, json!({}));
        let is_whole = count.get() <= at;
        // The next run begins with `find`, and has forgotten everything.
        let hasty = azure.driver_on(FakeHost { time_passes: false, ..azure.host(|_| None) }, &public());
        match hasty.find(ID).unwrap() {
            Some(found) => {
                assert_eq!(azure.count("virtualMachines"), 1, "at {at}");
                azure.driver(&public()).destroy(&found.handle).unwrap();
            }
            None => assert_eq!(azure.count("virtualMachines"), 0, "at {at}"),
        }
        azure.require_nothing_left(&format!("at {at}: {answer:?}"));
        // Created again, it is one machine.
        let (driver, _) = dying(&azure, at, &public());
        let _answer = driver.create(ID, json!({}));
        let next = azure.driver_on(FakeHost { repeated: true, ..azure.host(|_| None) }, &public());
        let made = next.create(ID, json!({})).unwrap();
        assert_eq!((azure.count("virtualMachines"), azure.count("virtualNetworks")), (1, 1), "at {at}");
        next.destroy(&made.handle).unwrap();
        azure.require_nothing_left(&format!("at {at}"));
        azure.control("POST", "reset", &Value::Null);
        azure.control("POST", "settings", &json!({"delays": {"default": 0.05}, "retry_after": 0}));
        if is_whole {
            break;
        }
        at += 1;
    }
    assert!(at > 5, "{at} requests");
}

#[test]
fn a_death_at_any_request_of_a_removal_is_made_good() {
    let Some(azure) = Azure::start("a_death_at_any_request_of_a_removal_is_made_good") else { return };
    let mut at = 0;
    loop {
        let made = azure.driver(&public()).create(ID, json!({})).unwrap();
        let (driver, count) = dying(&azure, at, &public());
        let answer = driver.destroy(&made.handle);
        let is_whole = count.get() <= at;
        assert_eq!(answer.is_ok(), is_whole, "at {at}: {answer:?}");
        if let Err(fault) = answer {
            assert_eq!(fault.reaction, Reaction::Retry, "at {at}: {fault:?}");
        }
        azure.driver(&public()).destroy(&made.handle).unwrap();
        azure.require_nothing_left(&format!("at {at}"));
        if is_whole {
            break;
        }
        at += 1;
    }
    assert!(at > 4, "{at} requests");
}

#[test]
fn parts_that_stand_alone_are_listed_and_removed() {
    let Some(azure) = Azure::start("parts_that_stand_alone_are_listed_and_removed") else { return };
    let driver = azure.driver(&public());
    let made = driver.create(ID, json!({})).unwrap();
    wait_for(&driver, &made.handle, Phase::Running);
    // Somebody lets the parts stay, and deletes the machine.
    let id = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/demo/providers/Microsoft.Compute/virtualMachines/occopus-{ID}"
    );
    let machine = azure.control("GET", &format!("body?id={id}"), &Value::Null);
    assert!(machine.to_string().contains("deleteOption"), "{machine}");
    azure.detach_all(&id);
    azure.control("POST", "delete", &json!({"id": id}));
    assert_eq!((azure.count("disks"), azure.count("networkInterfaces"), azure.count("publicIPAddresses")), (1, 1, 1));
    let (mut cursor, mut found) = (None, Vec::new());
    loop {
        let page = driver.list_owned(cursor.as_deref()).unwrap();
        found.extend(page.machines);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    let [left] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        (left.instance_id.as_str(), left.infrastructure_id.as_str(), left.observed.phase),
        (ID, "infra-1", Phase::Failed)
    );
    driver.destroy(&left.observed.handle).unwrap();
    assert_eq!(azure.resources(), []);
}

#[test]
fn a_network_goes_with_the_last_machine_even_at_the_same_time() {
    let Some(azure) = Azure::start("a_network_goes_with_the_last_machine_even_at_the_same_time") else { return };
    let driver = azure.driver(&public());
    let one = driver.create(ID, json!({})).unwrap();
    driver.destroy(&one.handle).unwrap();
    // The cache says that the network is there, and it went a moment ago: it is made again.
    let two = driver.create(ID, json!({})).unwrap();
    let network = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/demo/providers/Microsoft.Network/virtualNetworks/occopus-infra-1-westeurope"
    );
    driver.destroy(&two.handle).unwrap();
    let first = driver.create(ID, json!({})).unwrap();
    driver.observe(std::slice::from_ref(&first.handle)).unwrap();
    let other = azure.driver(&public());
    other.destroy(&first.handle).unwrap();
    // This driver's cache still has the network.
    let stale = azure.driver(&public());
    let kept = stale.create(ID, json!({})).unwrap();
    let host = occopus_sdk::testing::host(|host| host.cache.clone());
    azure.driver(&public()).destroy(&kept.handle).unwrap();
    assert_eq!(azure.count("virtualNetworks"), 0);
    let stale = azure.driver_on(FakeHost { cache: host, ..azure.host(|_| None) }, &public());
    let again = stale.create(OTHER, json!({})).unwrap();
    assert_eq!((azure.count("virtualNetworks"), azure.count("virtualMachines")), (1, 1), "{network}");
    stale.destroy(&again.handle).unwrap();
    assert_eq!(azure.resources(), []);
}

#[test]
fn what_was_made_for_a_machine_that_can_not_be_made_goes_again() {
    let Some(azure) = Azure::start("what_was_made_for_a_machine_that_can_not_be_made_goes_again") else { return };
    for (changes, pointer) in [
        (json!({"vm_size": "Standard_Nothing"}), "/vm_size"),
        (json!({"sku": "nosuch"}), "/sku"),
        (json!({"publisher": "bitnami", "offer": "x", "sku": "y"}), "/plan"),
        (json!({"zones": ["9"]}), "/zones"),
        (json!({"location": "nowhere"}), "/location"),
        (json!({"username": "administrator"}), "/username"),
        (json!({"password": "x"}), "/password"),
    ] {
        let fault = azure.driver(&changes).create(ID, json!({})).unwrap_err();
        assert_eq!(fault.reaction, Reaction::GiveUp, "{changes}: {fault:?}");
        assert!(fault.details.iter().any(|detail| detail.pointer == pointer), "{changes}: {fault:?}");
        assert!(fault.details.iter().any(|detail| detail.message.starts_with("correlation id ")), "{fault:?}");
        assert_eq!(azure.resources(), [], "{changes}");
    }
}

#[test]
fn locks_policies_rights_and_providers_are_told_in_azures_words() {
    let Some(azure) = Azure::start("locks_policies_rights_and_providers_are_told_in_azures_words") else { return };
    let driver = azure.driver(&json!({}));
    let made = driver.create(ID, json!({})).unwrap();
    let scope = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/demo");
    azure.control("POST", "locks", &json!({"scope": scope, "level": "CanNotDelete"}));
    let fault = driver.destroy(&made.handle).unwrap_err();
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Conflict, "azure.ScopeLocked"), "{fault:?}");
    azure.control("DELETE", "locks", &Value::Null);
    azure.control("POST", "settings", &json!({"denied": ["Microsoft.Compute/*/delete"]}));
    let fault = driver.destroy(&made.handle).unwrap_err();
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Denied, "azure.AuthorizationFailed"), "{fault:?}");
    azure.control("POST", "settings", &json!({"denied": []}));
    driver.destroy(&made.handle).unwrap();
    azure.control(
        "POST",
        "policies",
        &json!({"type": "Microsoft.Compute/virtualMachines", "locations": ["eastus"], "name": "allowed-locations"}),
    );
    let fault = driver.create(OTHER, json!({})).unwrap_err();
    assert_eq!(
        (fault.reaction, fault.code.as_str()),
        (Reaction::GiveUp, "azure.RequestDisallowedByPolicy"),
        "{fault:?}"
    );
    azure.control("DELETE", "policies", &Value::Null);
    azure.control("POST", "providers", &json!({"name": "Microsoft.Compute", "state": "NotRegistered"}));
    let fault = driver.create(OTHER, json!({})).unwrap_err();
    assert_eq!(
        (fault.reaction, fault.code.as_str()),
        (Reaction::GiveUp, "azure.MissingSubscriptionRegistration"),
        "{fault:?}"
    );
    assert_eq!(azure.resources(), []);
}
