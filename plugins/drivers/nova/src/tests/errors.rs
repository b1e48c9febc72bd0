//! Every error that the services, or what stands in their place, can give to any call. Refusals of creations alone are
//! in `refusals_say_where_and_what_to_do`.

use std::sync::{Arc, PoisonError};
use std::thread;

use occopus_sdk::http::{HttpError, HttpErrorKind, Response};
use occopus_sdk::testing::{self, FakeHost};
use occopus_sdk::{Fault, Handle, Reaction};
use serde_json::{Value, json};

use super::cloud::{Cloud, Shared};
use super::section;
use crate::Nova;

const CALLS: [&str; 5] = ["create", "find", "observe", "destroy", "list-owned"];

type Answer = Result<Response, HttpError>;

/// Returns the fault of a call with this section if every request that begins with one of these has this answer.
fn failed(call: &str, more: &Value, starts: &'static [&'static str], answer: &Answer) -> Fault {
    let cloud = Shared::default();
    let server = json!({"name": "n", "metadata": {"occopus.instance": "instance-1"}, "flavorRef": "4"});
    cloud.lock().unwrap().make(&server);
    let (inner, answer) = (Arc::clone(&cloud), answer.clone());
    let host =
        FakeHost::default().credential("username", "demo").credential("password", "hunter2").http(move |request| {
            let what = format!("{} {}", request.method, request.url.trim_start_matches("http://"));
            match starts.iter().any(|start| what.starts_with(start)) {
                true => answer.clone(),
                false => inner.lock().unwrap_or_else(PoisonError::into_inner).answer(request),
            }
        });
    let nova = testing::driver::<Nova>(host, section(more)).unwrap();
    let handle = Handle::new(1, "server-0");
    let fault = match call {
        "create" => nova.create("instance-2", json!({})).err(),
        "find" => nova.find("instance-1").err(),
        "observe" => nova.observe(&[handle]).err(),
        "destroy" => nova.destroy(&handle).err(),
        _ => nova.list_owned(None).err(),
    };
    assert_eq!(cloud.lock().unwrap().servers.len(), 1, "`{call}` made or removed something");
    let fault = fault.unwrap_or_else(|| panic!("`{call}` takes it for success"));
    assert!(!format!("{fault:?}").contains("hunter2"));
    fault
}

/// The code, the reaction of a creation and of the other calls, the key that is pointed at, and words of the message or of
/// a detail.
struct Case(&'static str, Answer, [Reaction; 2], &'static str, &'static str);

/// Checks every call. `find` lists more than once, so all are tried at the same time.
fn in_every_call(starts: &'static [&'static str], cases: &[Case]) {
    thread::scope(|scope| {
        for Case(code, answer, [creating, others], pointer, said) in cases {
            for call in CALLS {
                scope.spawn(move || {
                    let fault = failed(call, &json!({}), starts, answer);
                    let place = format!("{call}, {code}: {fault:?}");
                    assert_eq!(fault.code, format!("nova.{code}"), "{place}");
                    assert_eq!(fault.reaction, if call == "create" { *creating } else { *others }, "{place}");
                    assert!(pointer.is_empty() || fault.details.iter().any(|one| one.pointer == *pointer), "{place}");
                    let details = fault.details.iter().map(|detail| detail.message.as_str());
                    assert!(details.chain([fault.message.as_str()]).any(|text| text.contains(said)), "{said}: {place}");
                });
            }
        }
    });
}

fn says(status: u16, words: &str) -> Answer {
    let body = json!({"error": {"code": status, "message": words}}).to_string().into_bytes();
    Ok(Response { status, headers: vec![("x-openstack-request-id".to_owned(), "req-7".to_owned())], body })
}

fn page(status: u16, header: Option<(&str, &str)>) -> Answer {
    let headers = header.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    Ok(Response { status, headers, body: b"<!DOCTYPE html><p>hello".to_vec() })
}

fn json(status: u16, body: &str) -> Answer {
    Ok(Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() })
}

fn none(kind: HttpErrorKind, message: &str) -> Answer {
    Err(HttpError { kind, message: message.to_owned() })
}

#[test]
fn at_the_login() {
    use Reaction::{Denied, GiveUp, Retry};
    let location = Some(("Location", "http://elsewhere.example/"));
    let left = "redirects to http://elsewhere.example/; passwords are not sent there, for the grant `endpoint` is of \
                http://keystone:5000 alone";
    let keystone = "is this the URL of Keystone";
    let tls = none(HttpErrorKind::NotSent, "no TLS session could be made; is it `http://`?");
    in_every_call(
        &["POST keystone"],
        &[
            Case(
                "denied",
                says(401, "requires authentication"),
                [Denied; 2],
                "/project_id",
                "Are the user and the password",
            ),
            Case("denied", says(403, "no"), [Denied; 2], "", "req-7"),
            Case("refused", says(400, "Expecting to find domain"), [GiveUp; 2], "", "Expecting to find domain"),
            Case("not-keystone", says(404, "not here"), [GiveUp, Retry], "/endpoint", keystone),
            Case("not-keystone", page(404, None), [GiveUp, Retry], "/endpoint", keystone),
            Case("not-keystone", page(405, None), [GiveUp, Retry], "/endpoint", keystone),
            Case("not-keystone", page(200, None), [GiveUp, Retry], "/endpoint", keystone),
            Case("not-keystone", says(201, "no token"), [GiveUp, Retry], "/endpoint", keystone),
            Case("redirect", page(301, location), [GiveUp; 2], "/endpoint", left),
            Case("redirect", page(307, location), [GiveUp; 2], "/endpoint", left),
            Case("throttled", says(429, "slow down"), [Retry; 2], "", "slow down"),
            Case("server-error", page(502, None), [Retry; 2], "", "refuses"),
            Case("unreachable", tls, [Retry; 2], "/endpoint", "no TLS session"),
            Case("unreachable", none(HttpErrorKind::MaybeSent, "reset"), [Retry; 2], "/endpoint", "reset"),
            Case("unreachable", none(HttpErrorKind::Refused, "not granted"), [Denied; 2], "/endpoint", "not granted"),
        ],
    );
}

#[test]
fn at_the_services() {
    use Reaction::{Denied, GiveUp, Retry, UnknownOutcome};
    let location = Some(("Location", "http://elsewhere.example/"));
    let left =
        "redirects to http://elsewhere.example/; tokens are not sent there, for the grant `announced` is of what";
    in_every_call(
        &["GET nova/v2.1/servers", "POST nova/v2.1/servers", "DELETE nova/v2.1/servers"],
        &[
            Case("denied", says(401, "who?"), [Denied; 2], "", "the token that it just gave"),
            Case("denied", says(403, "Policy doesn't allow it"), [Denied; 2], "", "may not do this in this project"),
            Case("try-again", says(429, "slow down"), [Retry; 2], "", "slow down"),
            Case("try-again", says(413, "Over limit"), [Retry; 2], "", "req-7"),
            Case("refused", page(302, location), [GiveUp; 2], "", left),
            Case("unsupported", says(501, "not here"), [Reaction::Unsupported; 2], "", "not here"),
            Case("not-openstack", page(404, None), [GiveUp, Retry], "", "not OpenStack"),
            Case("not-openstack", json(404, r#"{"message": "no Route matched"}"#), [GiveUp, Retry], "", "no Route"),
            Case("not-openstack", json(404, r#"{"NeutronError": {"message": "x"}}"#), [GiveUp, Retry], "", "x"),
            Case("not-openstack", json(404, r#"{"itemNotFound": "x"}"#), [GiveUp, Retry], "", "x"),
            Case("not-openstack", json(404, "{}"), [GiveUp, Retry], "", "{}"),
            Case("not-openstack", json(404, "[]"), [GiveUp, Retry], "", "[]"),
            Case("not-openstack", json(404, "\"gone\""), [GiveUp, Retry], "", "gone"),
            Case("bad-answer", json(200, "{}"), [UnknownOutcome, Retry], "", "can't be read"),
            Case("bad-answer", json(200, "[]"), [UnknownOutcome, Retry], "", "can't be read"),
            Case("bad-answer", json(200, "\"\""), [UnknownOutcome, Retry], "", "can't be read"),
            Case("bad-answer", page(200, None), [UnknownOutcome, Retry], "", "can't be read"),
            Case("unreachable", none(HttpErrorKind::MaybeSent, "reset"), [UnknownOutcome, Retry], "", "at nova: reset"),
            Case("unreachable", none(HttpErrorKind::NotSent, "no TLS session"), [Retry; 2], "", "no TLS session"),
            Case("unreachable", none(HttpErrorKind::Refused, "not granted"), [Denied; 2], "", "not granted"),
        ],
    );
    for status in [500, 502, 503, 504] {
        for call in ["create", "observe", "destroy", "list-owned"] {
            let fault =
                failed(call, &json!({}), &["GET nova/v2.1/servers", "POST nova", "DELETE nova"], &page(status, None));
            assert_eq!(fault.reaction, if call == "create" { UnknownOutcome } else { Retry }, "{call} {status}");
        }
    }
}

#[test]
fn throttling_has_its_delay() {
    let answer = page(429, Some(("Retry-After", "9")));
    for call in CALLS {
        let fault = failed(call, &json!({}), &["POST keystone"], &answer);
        assert_eq!((fault.reaction, fault.retry_after.unwrap().as_secs()), (Reaction::Retry, 9), "{call}");
    }
    for call in CALLS.into_iter().filter(|call| *call != "find") {
        let fault = failed(call, &json!({}), &["GET nova/v2.1/servers", "POST nova", "DELETE nova"], &answer);
        assert_eq!((fault.reaction, fault.retry_after.unwrap().as_secs()), (Reaction::Retry, 9), "{call}");
    }
}

#[test]
fn regions_that_are_not_there() {
    for call in CALLS {
        let fault = failed(call, &json!({"region_name": "Mars"}), &[], &says(500, "never sent"));
        assert_eq!((fault.code.as_str(), fault.reaction), ("nova.no-such-region", Reaction::GiveUp), "{call}");
        assert_eq!(
            (fault.details[0].pointer.as_str(), fault.details[0].message.as_str()),
            ("/region_name", "it has: One")
        );
    }
}

/// Checks that tokens of a cloud whose clock differs are good all the same.
#[test]
fn clocks_that_differ_cost_nothing() {
    let cloud = Shared::default();
    cloud.lock().unwrap().token_expiry = Some("2001-01-01T00:00:00.000000Z");
    let inner = Arc::clone(&cloud);
    let host = FakeHost::default()
        .credential("username", "demo")
        .credential("password", "hunter2")
        .http(move |request| inner.lock().unwrap().answer(request));
    let nova = testing::driver::<Nova>(host, section(&json!({}))).unwrap();
    let made = nova.create("instance-1", json!({})).unwrap();
    nova.destroy(&made.handle).unwrap();
    let cloud: &Cloud = &cloud.lock().unwrap();
    assert_eq!((cloud.logins, cloud.servers.len()), (1, 0), "a lifetime is of the cloud's own clock");
}
