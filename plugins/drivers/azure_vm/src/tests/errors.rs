//! Every answer that Azure, or what stands in its place, can give to any call.

use std::rc::Rc;

use occopus_sdk::http::{HttpError, HttpErrorKind, Request, Response};
use occopus_sdk::testing::{self, FakeHost};
use occopus_sdk::{Fault, Handle, Reaction};
use serde_json::{Value, json};

use super::azure::Azure;
use super::life::{ID, OTHER};

const CALLS: [&str; 6] = ["create", "find", "observe", "observe-many", "destroy", "list-owned"];

type Answer = Result<Response, HttpError>;

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Ok(Response { status, headers, body: body.as_bytes().to_vec() })
}

fn azures(status: u16, code: &str) -> Answer {
    let body = json!({"error": {"code": code, "message": "Azure's words."}}).to_string();
    answer(status, &[("x-ms-correlation-request-id", "corr-7"), ("Retry-After", "7")], &body)
}

fn none(kind: HttpErrorKind) -> Answer {
    Err(HttpError { kind, message: "reset".to_owned() })
}

/// Returns the fault of a call if every request to the management host has this answer. There is one machine, and what it
/// shares with others is known.
fn failed(
    azure: &Rc<Azure>,
    call: &str,
    handle: &Handle,
    cache: &std::collections::BTreeMap<String, Vec<u8>>,
    given: &Answer,
) -> Fault {
    let given = given.clone();
    let host = azure.host(move |request: &Request| (!request.url.ends_with("/token")).then(|| given.clone()));
    let host = FakeHost { cache: cache.clone(), time_passes: false, ..host };
    let driver = azure.driver_on(host, &json!({}));
    let many = vec![handle.clone(); 3];
    let fault = match call {
        "create" => driver.create(OTHER, json!({})).err(),
        "find" => driver.find(ID).err(),
        "observe" => driver.observe(&many[..1]).err(),
        "observe-many" => driver.observe(&many).err(),
        "destroy" => driver.destroy(handle).err(),
        _ => driver.list_owned(None).err(),
    };
    let fault = fault.unwrap_or_else(|| {
        panic!("`{call}` takes it for success: {given:?}", given = testing::host(|host| host.requests.clone()))
    });
    assert!(!format!("{fault:?}").contains("Secret"), "{fault:?}");
    fault
}

#[test]
fn at_every_call() {
    use Reaction::{Denied, GiveUp, Retry, UnknownOutcome};
    let Some(azure) = Azure::start("at_every_call") else { return };
    let driver = azure.driver(&json!({}));
    let handle = driver.create(ID, json!({})).unwrap().handle;
    let cache = testing::host(|host| host.cache.clone());
    // The answer, the reaction of a creation, and that of the other calls.
    let cases: Vec<(Answer, Reaction, Reaction)> = vec![
        (azures(401, "InvalidAuthenticationToken"), Denied, Denied),
        (azures(403, "AuthorizationFailed"), Denied, Denied),
        (azures(404, "SubscriptionNotFound"), Denied, Denied),
        (azures(429, "TooManyRequests"), Retry, Retry),
        (azures(500, "InternalServerError"), UnknownOutcome, Retry),
        (azures(503, "ServerTimeout"), UnknownOutcome, Retry),
        (azures(409, "AnotherOperationInProgress"), Retry, Retry),
        (azures(400, "SomethingNew"), GiveUp, GiveUp),
        (answer(200, &[], "<!DOCTYPE html>"), UnknownOutcome, Retry),
        (answer(200, &[], "{}"), UnknownOutcome, Retry),
        (answer(200, &[], "[]"), UnknownOutcome, Retry),
        (answer(204, &[], ""), UnknownOutcome, Retry),
        (answer(404, &[], "{}"), GiveUp, Retry),
        (answer(404, &[], r#"{"error": {"code": "ResourceNotFound", "message": "x"}}"#), GiveUp, Retry),
        (answer(404, &[], r#"{"message": "no Route matched"}"#), GiveUp, Retry),
        (answer(403, &[], "Forbidden"), Denied, Denied),
        (answer(502, &[], "<html>"), UnknownOutcome, Retry),
        (answer(302, &[("location", "http://evil.test/")], ""), GiveUp, GiveUp),
        (none(HttpErrorKind::MaybeSent), UnknownOutcome, Retry),
        (none(HttpErrorKind::NotSent), Retry, Retry),
        (none(HttpErrorKind::Refused), Denied, Denied),
    ];
    for (given, creating, others) in &cases {
        for call in CALLS {
            let fault = failed(&azure, call, &handle, &cache, given);
            let expected = if call == "create" { *creating } else { *others };
            assert_eq!(fault.reaction, expected, "{call}, {given:?}: {fault:?}");
        }
    }
    for call in CALLS {
        let fault = failed(&azure, call, &handle, &cache, &azures(429, "TooManyRequests"));
        assert_eq!(fault.retry_after.map(|delay| delay.as_secs()), Some(7), "{call}: {fault:?}");
        assert!(fault.details.iter().any(|detail| detail.message == "correlation id corr-7"), "{call}: {fault:?}");
    }
    assert_eq!(azure.count("virtualMachines"), 1);
}

#[test]
fn other_subscriptions_know_nothing_of_our_machines() {
    let Some(azure) = Azure::start("other_subscriptions_know_nothing_of_our_machines") else { return };
    let driver = azure.driver(&json!({}));
    let made = driver.create(ID, json!({})).unwrap();
    let foreign =
        Handle::new(1, made.handle.data.replace(super::azure::SUBSCRIPTION, "33333333-cccc-4ccc-8ccc-000000000003"));
    let missing = Handle::new(1, made.handle.data.replace(ID, OTHER));
    for fault in [driver.destroy(&foreign).unwrap_err(), driver.observe(std::slice::from_ref(&foreign)).unwrap_err()] {
        assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Denied, "azure.other-subscription"), "{fault:?}");
    }
    let seen = driver.observe(&[foreign, missing, made.handle]).unwrap();
    let phases: Vec<_> = seen.iter().map(|one| one.phase).collect();
    assert_eq!(phases[1..2], [occopus_sdk::Phase::Gone]);
}

#[test]
fn wrong_credentials_never_look_like_missing_machines() {
    let Some(azure) = Azure::start("wrong_credentials_never_look_like_missing_machines") else { return };
    let made = azure.driver(&json!({})).create(ID, json!({})).unwrap();
    for (field, value, code) in [
        ("client_id", "99999999-0000-4000-8000-000000000000", "azure.AADSTS700016"),
        ("tenant_id", "99999999-0000-4000-8000-000000000000", "azure.AADSTS90002"),
        ("tenant_id", "nobody", "azure.AADSTS900023"),
        ("subscription_id", "99999999-0000-4000-8000-000000000000", ""),
        ("subscription_id", "nothing", ""),
    ] {
        let driver = azure.driver_on(azure.host(|_| None).credential(field, value), &json!({}));
        let faults = [
            driver.create(OTHER, json!({})).unwrap_err(),
            driver.find(ID).unwrap_err(),
            driver.observe(std::slice::from_ref(&made.handle)).unwrap_err(),
            driver.destroy(&made.handle).unwrap_err(),
            driver.list_owned(None).unwrap_err(),
        ];
        for fault in faults {
            assert_eq!(fault.reaction, Reaction::Denied, "{field} {value}: {fault:?}");
            assert!(code.is_empty() || fault.code == code, "{fault:?}");
        }
    }
    let application = json!({"client_id": "11111111-aaaa-4aaa-8aaa-000000000001", "secret": "other", "expired": ["test~Secret.of+the/test=Azure"]});
    azure.control("POST", "applications", &application);
    let fault = azure.driver(&json!({})).find(ID).unwrap_err();
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Denied, "azure.AADSTS7000222"));
    assert!(fault.details.iter().any(|detail| detail.message.contains("The secret has expired")), "{fault:?}");
    assert_eq!(azure.count("virtualMachines"), 1);
}

#[test]
fn a_token_that_ends_in_the_middle_is_renewed() {
    let Some(azure) = Azure::start("a_token_that_ends_in_the_middle_is_renewed") else { return };
    let driver = azure.driver(&json!({}));
    let made = driver.create(ID, json!({})).unwrap();
    azure.forget_requests();
    azure.control("POST", "expire-tokens", &Value::Null);
    driver.observe(std::slice::from_ref(&made.handle)).unwrap();
    assert_eq!(azure.requests()["POST token"], json!(1));
    azure.control("POST", "expire-tokens", &Value::Null);
    driver.destroy(&made.handle).unwrap();
    assert_eq!(azure.resources(), []);
}
