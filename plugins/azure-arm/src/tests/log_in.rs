//! Log-ins: who gets the secret and who the token, for how long a token is kept, and what refusals mean.

use std::cell::Cell;

use occopus_sdk::http::{HttpError, HttpErrorKind, Response};
use occopus_sdk::testing::{self, FakeHost};
use occopus_sdk::{Fault, Reaction};
use serde_json::json;

use super::{AZURE, answer, authorization, details, host, is_log_in, token, with_arm};
use crate::{Call, Purpose};

const PUBLIC: &str = "https://management.azure.com";

fn read_groups(arm: Result<crate::Arm, Fault>) -> Result<(), Fault> {
    let arm = arm?;
    arm.send(&Call::get(&arm.group("rg"), "2021-04-01")).map(drop)
}

#[test]
fn the_secret_goes_to_the_log_in_host_and_the_token_to_the_management_host() {
    for (endpoint, login) in [
        (PUBLIC, "https://login.microsoftonline.com"),
        ("https://management.chinacloudapi.cn/", "https://login.chinacloudapi.cn"),
        ("https://management.usgovcloudapi.net", "https://login.microsoftonline.us"),
        (AZURE, AZURE),
    ] {
        let host = host().http(|request| Ok(if is_log_in(request) { token("t-1") } else { answer(200, &json!({})) }));
        with_arm(host, endpoint, Purpose::Creating, read_groups).unwrap();
        let requests = testing::host(|host| host.requests.clone());
        let [log_in, read] = requests.as_slice() else { panic!("{requests:?}") };
        assert_eq!(log_in.url, format!("{login}/tenant-1/oauth2/v2.0/token"));
        let scope = format!("scope={}%2F.default", occopus_sdk::http::encoded(endpoint.trim_end_matches('/')));
        let form = String::from_utf8(log_in.body.clone()).unwrap();
        for part in
            ["grant_type=client_credentials", "client_id=client-1", &scope, "client_secret=<secret client_secret>"]
        {
            assert!(form.split('&').any(|pair| pair == part), "{part} in {form}");
        }
        assert!(authorization(log_in).is_empty());
        let base = endpoint.trim_end_matches('/');
        assert_eq!(read.url, format!("{base}/subscriptions/sub-1/resourceGroups/rg?api-version=2021-04-01"));
        assert_eq!(authorization(read), "Bearer t-1");
        assert!(!format!("{read:?}").contains("secret"), "{read:?}");
    }
}

#[test]
fn other_credentials() {
    let federated = FakeHost { time_passes: false, ..FakeHost::default() }
        .credential("subscription_id", "sub-1")
        .credential("tenant_id", "t")
        .credential("client_id", "c")
        .credential("federated_token", "jwt")
        .http(|request| Ok(if is_log_in(request) { token("t-1") } else { answer(200, &json!({})) }));
    with_arm(federated, AZURE, Purpose::Creating, read_groups).unwrap();
    let form = testing::host(|host| String::from_utf8(host.requests[0].body.clone()).unwrap());
    assert!(
        form.contains("client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"),
        "{form}"
    );
    assert!(form.contains("client_assertion=<secret federated_token>"), "{form}");

    let ready = || FakeHost::default().credential("subscription_id", "sub-1").credential("access_token", "x");
    let accepting = ready().http(|_| Ok(answer(200, &json!({}))));
    with_arm(accepting, AZURE, Purpose::Creating, read_groups).unwrap();
    let requests = testing::host(|host| host.requests.clone());
    assert_eq!((requests.len(), authorization(&requests[0]).as_str()), (1, "Bearer <secret access_token>"));
    let refusing =
        ready().http(|_| Ok(answer(401, &json!({"error": {"code": "ExpiredAuthenticationToken", "message": "old"}}))));
    let fault = with_arm(refusing, AZURE, Purpose::Creating, read_groups).unwrap_err();
    assert_eq!(fault.reaction, Reaction::Denied);
    assert!(details(&fault).contains("`access_token` in auth_data.yaml has ended"), "{fault:?}");
    assert_eq!(testing::host(|host| host.requests.len()), 1, "nobody but the user has another");
}

#[test]
fn a_token_serves_many_calls_and_is_renewed_in_the_middle_of_one() {
    let log_ins = Cell::new(0);
    let host = host().http(move |request| {
        if is_log_in(request) {
            log_ins.set(log_ins.get() + 1);
            return Ok(token(&format!("t-{}", log_ins.get())));
        }
        let is_old = authorization(request) == "Bearer t-1" && request.url.contains("late");
        Ok(if is_old {
            answer(401, &json!({"error": {"code": "ExpiredAuthenticationToken", "message": "x"}}))
        } else {
            answer(200, &json!({}))
        })
    });
    with_arm(host, AZURE, Purpose::Creating, |arm| {
        let arm = arm.unwrap();
        for path in ["/early", "/early", "/late", "/late"] {
            arm.send(&Call::get(path, "1")).unwrap();
        }
    });
    let (count, kept) = testing::host(|host| {
        (
            host.requests.iter().filter(|request| is_log_in(request)).count(),
            host.cache.values().cloned().collect::<Vec<_>>(),
        )
    });
    assert_eq!((count, kept), (2, vec![b"t-2".to_vec()]));

    // A token that Azure refuses at once is not asked for again and again.
    let refusing = super::host().http(|request| {
        Ok(if is_log_in(request) {
            token("t")
        } else {
            answer(401, &json!({"error": {"code": "InvalidAuthenticationToken", "message": "no"}}))
        })
    });
    let fault = with_arm(refusing, AZURE, Purpose::Creating, read_groups).unwrap_err();
    assert_eq!((fault.reaction, testing::host(|host| host.requests.len())), (Reaction::Denied, 2));
}

#[test]
fn tokens_that_can_not_be_used_are_not_azures() {
    for body in [
        json!({"token_type": "Bearer", "expires_in": 3599, "access_token": ""}),
        json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "a\r\nb: c"}),
        json!({"token_type": "mac", "expires_in": 3599, "access_token": "t"}),
        json!({"access_token": "t"}),
        json!({"token_type": "Bearer", "access_token": 5}),
        json!([]),
        json!("ok"),
    ] {
        let answered = body.clone();
        let host = host().http(move |_| Ok(answer(200, &answered)));
        let fault = with_arm(host, AZURE, Purpose::Creating, read_groups).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.reaction), ("azure.not-azure", Reaction::GiveUp), "{body}");
    }
    // The older endpoint writes numbers as texts.
    let host = host().http(|request| {
        let body = json!({"token_type": "bearer", "expires_in": "3599", "access_token": "t"});
        Ok(if is_log_in(request) { answer(200, &body) } else { answer(200, &json!({})) })
    });
    with_arm(host, AZURE, Purpose::Creating, read_groups).unwrap();
    assert_eq!(testing::host(|host| host.cache.len()), 1);
}

/// Returns answers of the log-in, each with the reaction, the code and a part of the text that follow.
fn refusals() -> Vec<(Result<Response, HttpError>, Reaction, &'static str, &'static str)> {
    let entra = |status: u16, error: &str, code: u64, words: &str| {
        let body = json!({"error": error, "error_description": format!("AADSTS{code}: {words}\r\nTrace ID: t-9\r\nTimestamp: now"),
            "error_codes": [code], "trace_id": "t-9", "correlation_id": "c-9"});
        Ok(answer(status, &body))
    };
    use Reaction::{Denied, GiveUp, Retry};
    let page = |status| Ok(Response { status, headers: Vec::new(), body: b"<!DOCTYPE html>".to_vec() });
    vec![
        (
            entra(401, "invalid_client", 7_000_215, "Invalid client secret provided."),
            Denied,
            "azure.AADSTS7000215",
            "not its id",
        ),
        (
            entra(401, "invalid_client", 7_000_222, "The provided client secret keys are expired."),
            Denied,
            "azure.AADSTS7000222",
            "has expired",
        ),
        (
            entra(400, "unauthorized_client", 700_016, "Application not found."),
            Denied,
            "azure.AADSTS700016",
            "`client_id`",
        ),
        (entra(400, "invalid_request", 90_002, "Tenant not found."), Denied, "azure.AADSTS90002", "`tenant_id`"),
        (
            entra(400, "invalid_grant", 70_021, "No matching federated identity."),
            Denied,
            "azure.AADSTS70021",
            "federated",
        ),
        (entra(400, "invalid_scope", 12_345, "Something new."), Denied, "azure.AADSTS12345", "c-9"),
        (entra(400, "temporarily_unavailable", 90_033, "Later."), Retry, "azure.AADSTS90033", "not available"),
        (entra(503, "temporarily_unavailable", 1, "Later."), Retry, "azure.AADSTS1", "c-9"),
        (Ok(answer(400, &json!({"error": "invalid_client"}))), Denied, "azure.invalid_client", ""),
        (page(429), Retry, "azure.throttled", ""),
        (page(502), Retry, "azure.server-error", ""),
        (page(404), GiveUp, "azure.not-azure", "management host"),
        (page(200), GiveUp, "azure.not-azure", "management host"),
        (page(401), GiveUp, "azure.not-azure", "management host"),
        (Ok(answer(404, &json!({"message": "no Route matched"}))), GiveUp, "azure.not-azure", "management host"),
        (
            Ok(super::with_header(answer(302, &json!(null)), "location", "http://evil.test/")),
            GiveUp,
            "azure.redirect",
            "management host",
        ),
        (
            Err(HttpError { kind: HttpErrorKind::MaybeSent, message: "reset".into() }),
            Retry,
            "azure.unreachable",
            "management host",
        ),
        (
            Err(HttpError { kind: HttpErrorKind::Refused, message: "not granted".into() }),
            Denied,
            "azure.unreachable",
            "",
        ),
    ]
}

#[test]
fn refusals_of_the_log_in() {
    for (answer, reaction, code, said) in refusals() {
        for purpose in [Purpose::Creating, Purpose::Existing] {
            let answer = answer.clone();
            let host = host().http(move |_| answer.clone());
            let fault = with_arm(host, AZURE, purpose, read_groups).unwrap_err();
            let is_foreign = code == "azure.not-azure" && purpose == Purpose::Existing;
            assert_eq!(fault.code, code);
            assert_eq!(fault.reaction, if is_foreign { Reaction::Retry } else { reaction }, "{fault:?}");
            assert!(details(&fault).contains(said), "{said}: {fault:?}");
            assert!(!format!("{fault:?}").contains("hunter2") && !fault.message.contains("Trace ID"));
        }
    }
}

#[test]
fn credentials_that_are_missing_or_can_not_be_sent() {
    let nobody = FakeHost::default();
    let fault = with_arm(nobody, AZURE, Purpose::Creating, read_groups).unwrap_err();
    assert_eq!((fault.reaction, fault.code.as_str()), (Reaction::Denied, "azure.no-credential"));
    for (field, value) in
        [("tenant_id", ""), ("tenant_id", "../x"), ("tenant_id", "a/b"), ("subscription_id", "a?b"), ("client_id", " ")]
    {
        let fault = with_arm(host().credential(field, value), AZURE, Purpose::Creating, read_groups).unwrap_err();
        assert_eq!(
            (fault.reaction, fault.code.as_str()),
            (Reaction::Denied, "azure.bad-credential"),
            "{field} {value}"
        );
        assert!(fault.message.contains(field), "{fault:?}");
    }
}

#[test]
fn the_schema_of_the_credentials_takes_three_kinds() {
    let schema = testing::section_schema::<crate::Credentials>();
    for public in ["subscription_id", "tenant_id", "client_id"] {
        assert_eq!(schema["properties"][public]["x-public"], json!(true), "{public}");
    }
    for secret in ["client_secret", "federated_token", "access_token"] {
        assert!(
            schema["properties"][secret].is_object() && schema["properties"][secret].get("x-public").is_none(),
            "{secret}"
        );
    }
}
