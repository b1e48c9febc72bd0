//! Every error that the API, or what stands in its place, can give to any call. Refusals of creations alone are in
//! `refusals_say_what_to_do`.

use std::thread;

use jiff::{Timestamp, ToSpan as _};
use occopus_sdk::http::{HttpError, HttpErrorKind, Response};
use occopus_sdk::testing::{self, FakeHost};
use occopus_sdk::{Fault, Handle, Reaction};
use serde_json::json;

use super::{refusal, section};
use crate::Ec2;

const CALLS: [&str; 5] = ["create", "find", "observe", "destroy", "list-owned"];

type Answer = Result<Response, HttpError>;

/// Returns the fault of a call if every request has this answer.
fn failed(call: &str, answer: &Answer) -> Fault {
    let answer = answer.clone();
    let host =
        FakeHost::default().credential("accesskey", "AK").credential("secretkey", "SK").http(move |_| answer.clone());
    let ec2 = testing::driver::<Ec2>(host, section()).unwrap();
    let handle = Handle::new(1, "i-001@1700000000");
    let fault = match call {
        "create" => ec2.create("id-1", json!({})).err(),
        "find" => ec2.find("id-1").err(),
        "observe" => ec2.observe(&[handle]).err(),
        "destroy" => ec2.destroy(&handle).err(),
        _ => ec2.list_owned(None).err(),
    };
    fault.unwrap_or_else(|| panic!("`{call}` takes it for success"))
}

/// Checks every call: the code and the reaction (with `retry`, a change may have happened), the key that is pointed at,
/// and words of the message or of a detail. `find` lists more than once, so all are tried at the same time.
fn in_every_call(cases: &[(&str, Answer, Reaction, &str, &str)]) {
    thread::scope(|scope| {
        for (code, answer, reaction, pointer, said) in cases {
            for call in CALLS {
                scope.spawn(move || {
                    let fault = failed(call, answer);
                    let place = format!("{call}, {code}: {fault:?}");
                    assert_eq!(fault.code, format!("ec2.{code}"), "{place}");
                    assert_eq!(fault.reaction, *reaction, "{place}");
                    assert!(
                        fault.details.iter().any(|detail| detail.pointer == *pointer) || pointer.is_empty(),
                        "{place}"
                    );
                    let details = fault.details.iter().map(|detail| detail.message.as_str());
                    assert!(details.chain([fault.message.as_str()]).any(|text| text.contains(said)), "{said}: {place}");
                });
            }
        }
    });
}

fn says(status: u16, code: &str, words: &str) -> Answer {
    Ok(refusal(status, code, words))
}

fn with_header(answer: Answer, name: &str, value: &str) -> Answer {
    answer.map(|answer| Response { headers: vec![(name.to_owned(), value.to_owned())], ..answer })
}

fn without_document(status: u16) -> Answer {
    Ok(Response { status, headers: Vec::new(), body: b"<!DOCTYPE html><p>hello".to_vec() })
}

#[test]
fn keys_regions_clocks_and_tokens() {
    use Reaction::Denied;
    let keys = "Are `accesskey` and `secretkey` in auth_data.yaml those of this cloud?";
    let clock = "Is the clock of this machine right?";
    let unscoped = "Credential should be scoped to a valid region, not 'r1'.";
    let invalid = "AWS was not able to validate the provided access credentials";
    in_every_call(&[
        ("AuthFailure", says(401, "AuthFailure", invalid), Denied, "", keys),
        ("InvalidClientTokenId", says(403, "InvalidClientTokenId", "who?"), Denied, "", keys),
        ("MissingAuthenticationToken", says(403, "MissingAuthenticationToken", "who?"), Denied, "", keys),
        (
            "AuthFailure",
            says(401, "AuthFailure", unscoped),
            Denied,
            "/regionname",
            "the region that the endpoint serves",
        ),
        (
            "SignatureDoesNotMatch",
            says(403, "SignatureDoesNotMatch", unscoped),
            Denied,
            "/regionname",
            "the region that",
        ),
        ("SignatureDoesNotMatch", says(403, "SignatureDoesNotMatch", "no match"), Denied, "/regionname", "`secretkey`"),
        ("SignatureDoesNotMatch", says(403, "SignatureDoesNotMatch", "Signature expired: 2020"), Denied, "", clock),
        ("SignatureDoesNotMatch", says(403, "SignatureDoesNotMatch", "Signature not yet current"), Denied, "", clock),
        ("RequestExpired", says(400, "RequestExpired", "Request has expired."), Denied, "", clock),
        ("ExpiredToken", says(400, "ExpiredToken", "The token has expired"), Denied, "", "get new ones"),
        ("InvalidToken", says(400, "InvalidToken", "malformed"), Denied, "", "get new ones"),
        ("UnauthorizedOperation", says(403, "UnauthorizedOperation", "no"), Denied, "", "may not do this"),
        ("OptInRequired", says(401, "OptInRequired", "not subscribed"), Denied, "", "may not do this"),
    ]);
}

#[test]
fn a_clock_that_is_wrong_is_told_by_how_much() {
    let refused = || says(401, "AuthFailure", "AWS was not able to validate the provided access credentials");
    let at = |time: Timestamp| with_header(refused(), "Date", &time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    let now = Timestamp::now();
    in_every_call(&[
        ("AuthFailure", at(now - 61.minutes()), Reaction::Denied, "", "clock is 61 minutes ahead of the cloud's"),
        ("AuthFailure", at(now + 10.minutes() + 30.seconds()), Reaction::Denied, "", "10 minutes behind the cloud's"),
    ]);
    for answer in [at(now - 3.minutes()), with_header(refused(), "Date", "yesterday"), refused()] {
        let fault = failed("observe", &answer);
        assert!(!format!("{fault:?}").contains("clock is"), "{fault:?}");
    }
}

#[test]
fn throttling_has_its_delay() {
    for (answer, seconds) in [
        (says(503, "RequestLimitExceeded", "slow down"), 2),
        (with_header(says(503, "RequestLimitExceeded", "slow down"), "Retry-After", "9"), 9),
        (says(429, "Whatever", "slow down"), 2),
        (with_header(without_document(429), "Retry-After", "9"), 9),
    ] {
        for call in CALLS.into_iter().filter(|call| *call != "find") {
            let fault = failed(call, &answer);
            assert_eq!((fault.reaction, fault.retry_after.unwrap().as_secs()), (Reaction::Retry, seconds), "{call}");
        }
    }
}

#[test]
fn redirects_are_refused_with_the_grant_that_they_leave() {
    for status in [301, 302, 307, 308] {
        let redirect = with_header(without_document(status), "Location", "https://elsewhere.example/");
        let said = "redirects to https://elsewhere.example/; keys are not sent there, for the grant `endpoint` is of \
                    https://cloud.example:4567/api/ alone";
        in_every_call(&[("redirect", redirect, Reaction::GiveUp, "/endpoint", said)]);
    }
}

#[test]
fn other_servers_are_recognised() {
    let xhtml = Response { status: 200, headers: Vec::new(), body: b"<?xml version=\"1.0\"?><html/>".to_vec() };
    for call in CALLS {
        let fault = failed(call, &Ok(xhtml.clone()));
        // The outcome of a creation is unknown.
        let reaction = if call == "create" { Reaction::UnknownOutcome } else { Reaction::Retry };
        assert_eq!((fault.code.as_str(), fault.reaction), ("ec2.bad-answer", reaction), "{call}");
        let (code, reaction) = if call == "create" {
            ("ec2.bad-answer", Reaction::UnknownOutcome)
        } else {
            ("ec2.not-ec2", Reaction::Retry)
        };
        let fault = failed(call, &without_document(200));
        assert_eq!((fault.code.as_str(), fault.reaction), (code, reaction), "{call}");
    }
    let other = "is this the URL of an EC2 API?";
    in_every_call(&[
        ("InvalidAction", says(400, "InvalidAction", "no such operation"), Reaction::GiveUp, "/endpoint", other),
        ("MethodNotAllowed", says(405, "MethodNotAllowed", "not here"), Reaction::GiveUp, "/endpoint", other),
        ("denied", without_document(403), Reaction::Denied, "", "status 403"),
    ]);
    // Nothing is concluded from what answers in place of the API: a creation was not made, other calls are repeated.
    let json = |status, body: &str| Ok(Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() });
    let strangers = [
        without_document(404),
        without_document(405),
        without_document(501),
        json(404, "{\"message\": \"no Route matched with those values\"}"),
        json(404, "{}"),
        json(404, "[]"),
        json(404, "\"not found\""),
        json(410, ""),
        json(400, "InvalidInstanceID.NotFound"),
        json(404, "<Error><Message>i-001 does not exist</Message></Error>"),
    ];
    thread::scope(|scope| {
        for answer in &strangers {
            for call in CALLS {
                scope.spawn(move || {
                    let fault = failed(call, answer);
                    let reaction = if call == "create" { Reaction::GiveUp } else { Reaction::Retry };
                    assert_eq!((fault.code.as_str(), fault.reaction), ("ec2.not-ec2", reaction), "{call} {answer:?}");
                    assert!(fault.details.iter().any(|detail| detail.message.contains(other)), "{call}: {fault:?}");
                });
            }
        }
        for body in
            ["{}", "[]", "\"\"", "{\"reservationSet\": []}", "", "<a><reservationSet/></a>", "<TerminateInstances/>"]
        {
            for call in CALLS.into_iter().filter(|call| *call != "create") {
                scope.spawn(move || {
                    assert_eq!(failed(call, &json(200, body)).reaction, Reaction::Retry, "{call} {body}")
                });
            }
        }
    });
}

#[test]
fn what_may_have_been_done_is_told_apart_from_what_was_not() {
    let error = |kind, message: &str| Err(HttpError { kind, message: message.to_owned() });
    let tls = error(HttpErrorKind::NotSent, "no TLS session could be made; is it `http://`?");
    let cut = error(HttpErrorKind::MaybeSent, "connection reset");
    let ungranted = error(HttpErrorKind::Refused, "plugin `ec2` asked for 169.254.169.254:80");
    let both = [
        (tls, Reaction::Retry, Reaction::Retry),
        (cut, Reaction::UnknownOutcome, Reaction::Retry),
        (ungranted, Reaction::Denied, Reaction::Denied),
        (without_document(502), Reaction::UnknownOutcome, Reaction::Retry),
        (says(500, "InternalError", "oops"), Reaction::UnknownOutcome, Reaction::Retry),
        (says(503, "Unavailable", "later"), Reaction::Retry, Reaction::Retry),
    ];
    thread::scope(|scope| {
        for (answer, creating, others) in &both {
            for call in CALLS {
                scope.spawn(move || {
                    let fault = failed(call, answer);
                    assert_eq!(fault.reaction, if call == "create" { *creating } else { *others }, "{call}: {fault:?}");
                    let points = fault.details.iter().any(|detail| detail.pointer == "/endpoint");
                    assert_eq!(points, answer.is_err(), "{call}: {fault:?}");
                });
            }
        }
    });
}
