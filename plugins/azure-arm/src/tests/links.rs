//! Links that Azure gives: pages of lists, and operations.

use std::time::Duration;

use occopus_sdk::http::{Request, Response};
use occopus_sdk::testing;
use occopus_sdk::{Fault, Reaction};
use serde_json::{Value, json};

use super::{AZURE, answer, authorization, host, logged_in, with_arm, with_header};
use crate::{Call, Ended, Progress, Purpose};

fn list(answers: impl Fn(&Request) -> Response + 'static) -> Result<Vec<Value>, Fault> {
    with_arm(host().http(logged_in(answers)), AZURE, Purpose::Existing, |arm| {
        let arm = arm.unwrap();
        arm.list(&Call::get(&arm.in_subscription("Microsoft.Compute/virtualMachines"), "2024-07-01"))
    })
}

#[test]
fn pages_are_followed_as_azure_names_them() {
    let found = list(|request| match request.url.split_once("skiptoken=").map(|(_, token)| token) {
        None => answer(
            200,
            &json!({"value": [1, 2], "nextLink": "http://AZURE.test:80/subscriptions/sub-1/x?api-version=2019&$skiptoken=a%3D"}),
        ),
        Some("a%3D") => {
            answer(200, &json!({"value": [], "nextLink": "http://azure.test/subscriptions/sub-1/x?$skiptoken=b"}))
        }
        Some(_) => answer(200, &json!({"value": [3], "nextLink": null})),
    });
    assert_eq!(found.unwrap(), [json!(1), json!(2), json!(3)]);
    let urls =
        testing::host(|host| host.requests.iter().skip(1).map(|request| request.url.clone()).collect::<Vec<_>>());
    assert_eq!(
        urls,
        [
            "http://azure.test/subscriptions/sub-1/providers/Microsoft.Compute/virtualMachines?api-version=2024-07-01",
            "http://azure.test/subscriptions/sub-1/x?api-version=2019&$skiptoken=a%3D",
            "http://azure.test/subscriptions/sub-1/x?$skiptoken=b",
        ]
    );
}

#[test]
fn links_that_repeat_or_leave_the_host_are_refused() {
    let fault = list(|_| answer(200, &json!({"value": [1], "nextLink": "http://azure.test/same"}))).unwrap_err();
    assert_eq!((fault.code.as_str(), fault.reaction), ("azure.repeating-page", Reaction::Retry));
    assert!(testing::host(|host| host.requests.len()) < 5);
    for link in [
        "http://evil.test/x",
        "https://azure.test/x",
        "http://azure.test:81/x",
        "http://azure.test@evil.test/x",
        "/x",
        "x",
    ] {
        let fault = list(move |_| answer(200, &json!({"value": [1], "nextLink": link}))).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.reaction), ("azure.foreign-link", Reaction::Retry), "{link}");
        let requests = testing::host(|host| host.requests.clone());
        assert!(requests.iter().all(|request| request.url.starts_with("http://azure.test/")), "{link}");
    }
    for body in [json!([]), json!({}), json!({"value": 5}), json!("x")] {
        assert_eq!(list(move |_| answer(200, &body)).unwrap_err().code, "azure.bad-answer");
    }
    // A gateway has no machines, and says nothing of Azure's.
    let gateway = || Response { status: 200, headers: Vec::new(), body: br#"{"value": []}"#.to_vec() };
    assert_eq!(list(move |_| gateway()).unwrap_err().code, "azure.bad-answer");
    assert_eq!(list(|_| answer(200, &json!({"value": []}))).unwrap(), [] as [Value; 0]);
}

/// Returns the progress of an operation after a PUT with these headers.
fn progress(headers: &'static [(&'static str, &'static str)], polled: Response) -> Result<Option<Progress>, Fault> {
    let host = host().http(logged_in(move |request| match request.method.as_str() {
        "PUT" => headers.iter().fold(answer(201, &json!({})), |made, (name, value)| with_header(made, name, value)),
        _ => polled.clone(),
    }));
    with_arm(host, AZURE, Purpose::Creating, |arm| {
        let arm = arm.unwrap();
        let made = arm.send(&Call::put("/x", "1", json!({})))?;
        arm.operation_of(&made)?.map(|operation| arm.poll(&operation)).transpose()
    })
}

const BOTH: &[(&str, &str)] = &[
    ("Location", "http://azure.test/results/1?monitor=true"),
    ("Azure-AsyncOperation", "http://azure.test:80/operations/1?api-version=2018-06-01&t=x%2By"),
];

#[test]
fn operations_are_followed_as_azure_names_them() {
    let state = |status: &str| answer(200, &json!({"status": status}));
    let found = progress(BOTH, with_header(state("InProgress"), "Retry-After", "7"));
    assert_eq!(found.unwrap(), Some(Progress::Running(Duration::from_secs(7))));
    let last = testing::host(|host| host.requests.last().cloned()).unwrap();
    assert_eq!(last.url, "http://azure.test/operations/1?api-version=2018-06-01&t=x%2By");
    assert_eq!(authorization(&last), "Bearer t-1");
    for (status, expected) in
        [("Succeeded", Some(Progress::Succeeded)), ("Creating", Some(Progress::Running(Duration::from_secs(2))))]
    {
        assert_eq!(progress(BOTH, state(status)).unwrap(), expected);
    }
    assert_eq!(progress(&[], state("x")).unwrap(), None);
    assert_eq!(
        progress(&BOTH[..1], answer(202, &json!(null))).unwrap(),
        Some(Progress::Running(Duration::from_secs(2)))
    );
    assert_eq!(progress(&BOTH[..1], answer(204, &json!(null))).unwrap(), Some(Progress::Succeeded));
    for refusal in [
        answer(403, &json!({"error": {"code": "AuthorizationFailed", "message": "x"}})),
        answer(404, &json!({"error": {"code": "NotFound", "message": "x"}})),
    ] {
        assert_eq!(progress(BOTH, refusal).unwrap(), Some(Progress::Unknown));
    }
    assert_eq!(progress(BOTH, answer(200, &json!({}))).unwrap_err().code, "azure.bad-answer");
}

#[test]
fn a_failed_operation_is_a_failure_with_its_inner_code() {
    let body = json!({"status": "Failed", "error": {"code": "ResourceOperationFailure", "message": "failed", "details":
        [{"code": "ZonalAllocationFailed", "message": "no room in the zone"}]}});
    let Some(Progress::Failed(error)) = progress(BOTH, answer(200, &body)).unwrap() else { panic!("it failed") };
    assert_eq!((error.code.as_str(), error.message.as_str()), ("ZonalAllocationFailed", "no room in the zone"));
    let Some(Progress::Failed(error)) = progress(BOTH, answer(200, &json!({"status": "Canceled"}))).unwrap() else {
        panic!("it was canceled")
    };
    assert_eq!(error.code, "OperationCanceled");
    let fault = with_arm(host().http(logged_in(|_| answer(200, &json!({})))), AZURE, Purpose::Creating, move |arm| {
        let read = crate::ArmError::read(&body).unwrap();
        arm.unwrap().failure(&read)
    });
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::NoCapacity, "azure.ZonalAllocationFailed"));
    assert_eq!(fault.details[0].pointer, "/vm_size");
}

#[test]
fn an_operation_on_another_host_is_not_followed() {
    let fault =
        progress(&[("Azure-AsyncOperation", "http://evil.test/operations/1")], answer(200, &json!({}))).unwrap_err();
    assert_eq!((fault.code.as_str(), fault.reaction), ("azure.foreign-link", Reaction::Retry));
    assert!(fault.message.contains("evil.test"), "{}", fault.message);
    assert_eq!(testing::host(|host| host.requests.len()), 2);
}

#[test]
fn a_wait_ends_with_the_operation_or_with_the_time() {
    let ended = |remaining_ms, last: &'static str| {
        let polls = std::cell::Cell::new(0);
        let mut host = host().http(logged_in(move |request| {
            if request.method == "PUT" {
                return with_header(answer(201, &json!({})), "Azure-AsyncOperation", "http://azure.test/operations/1");
            }
            polls.set(polls.get() + 1);
            answer(200, &json!({"status": if polls.get() < 3 { "InProgress" } else { last }}))
        }));
        host.remaining_ms = remaining_ms;
        with_arm(host, AZURE, Purpose::Creating, |arm| {
            let arm = arm.unwrap();
            let made = arm.send(&Call::put("/x", "1", json!({}))).unwrap();
            arm.wait(&arm.operation_of(&made).unwrap().unwrap(), Duration::from_secs(60)).unwrap()
        })
    };
    assert_eq!(ended(60_000, "Succeeded"), Ended::Succeeded);
    assert!(matches!(ended(60_000, "Failed"), Ended::Failed(_)));
    assert_eq!(ended(6_000, "Succeeded"), Ended::StillRunning);
}
