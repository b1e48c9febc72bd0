//! The table of Azure's codes: code, where it comes, reaction, subject.

use occopus_sdk::Reaction::{self, Conflict, Denied, GiveUp, NoCapacity, NotFound, Retry, UnknownOutcome, Unsupported};
use occopus_sdk::http::Response;
use occopus_sdk::testing;
use serde_json::json;

use super::{AZURE, answer, details, host, logged_in, with_arm, with_header};
use crate::codes::TABLE;
use crate::{ArmError, Call, Effect, Purpose, Subject, classify, is_busy, is_in_use, names_missing_reference};

/// Status of an operation that failed.
const OPERATION: u16 = 200;

/// Code, words, status, reaction, subject.
const CASES: &[(&str, &str, u16, Reaction, Subject)] = &[
    ("SkuNotAvailable", "The requested VM size is not available", 409, NoCapacity, Subject::Size),
    ("AllocationFailed", "We do not have sufficient capacity", OPERATION, NoCapacity, Subject::Size),
    ("ZonalAllocationFailed", "no room", OPERATION, NoCapacity, Subject::Size),
    ("OverconstrainedAllocationRequest", "no room", OPERATION, NoCapacity, Subject::Size),
    ("OverconstrainedZonalAllocationRequest", "no room", 409, NoCapacity, Subject::Size),
    ("QuotaExceeded", "x", 409, NoCapacity, Subject::Size),
    ("OperationNotAllowed", "exceeding approved standardDSv3Family Cores quota", 409, NoCapacity, Subject::Size),
    ("OperationNotAllowed", "exceeding approved LowPriorityCores", 409, NoCapacity, Subject::Size),
    ("OperationNotAllowed", "Operation 'x' is not allowed in this state", 409, Conflict, Subject::None),
    ("PublicIPCountLimitReached", "x", 400, NoCapacity, Subject::Size),
    ("IPv4BasicSkuPublicIpCountLimitReached", "Cannot create more than 0", 400, GiveUp, Subject::None),
    ("ContainerGroupQuotaReached", "x", 400, NoCapacity, Subject::Size),
    (
        "ServiceUnavailable",
        "The requested resource is not available in the location 'westeurope' at this moment",
        409,
        NoCapacity,
        Subject::Location,
    ),
    ("ServiceUnavailable", "container group quota 'x' exceeded", 409, NoCapacity, Subject::Size),
    ("ServiceUnavailable", "x", 503, Retry, Subject::None),
    ("MissingIpAddressPorts", "x", 400, GiveUp, Subject::Ports),
    ("SpotPriorityContainerGroupNotSupportedForInboundConnectivity", "x", 400, GiveUp, Subject::Priority),
    ("InvalidOsType", "x", 400, GiveUp, Subject::OperatingSystem),
    ("SubnetNotFound", "x", 400, GiveUp, Subject::Subnet),
    ("SubnetMissingRequiredDelegation", "Subnet missing required delegation", 400, GiveUp, Subject::Subnet),
    ("ResourceRequestsNotSpecified", "x", 400, GiveUp, Subject::Size),
    ("SubnetIsFull", "x", 400, NoCapacity, Subject::Subnet),
    ("InsufficientSubnetSize", "x", 400, NoCapacity, Subject::Subnet),
    ("TooManyRequests", "x", 429, Retry, Subject::None),
    ("OperationNotAllowed", "The server rejected the request because too many requests", 429, Retry, Subject::None),
    ("RetryableErrorDueToAnotherOperation", "x", 429, Retry, Subject::None),
    ("AnotherOperationInProgress", "x", 409, Retry, Subject::None),
    ("ReferencedResourceNotProvisioned", "x", 400, Retry, Subject::None),
    ("ContainerGroupTransitioning", "x", 409, Retry, Subject::None),
    ("RegistryErrorResponse", "x", 409, Retry, Subject::Registry),
    ("InUseSubnetCannotBeDeleted", "x", 400, Retry, Subject::None),
    ("NicInUse", "x", 400, Retry, Subject::None),
    ("NicReservedForAnotherVm", "x", 400, Retry, Subject::None),
    ("PublicIPAddressCannotBeDeleted", "x", 400, Retry, Subject::None),
    ("NetworkProfileAlreadyInUse", "x", 400, Retry, Subject::None),
    ("BadRequest", "Subnet x requires any of the following delegation(s) [y]", 400, Retry, Subject::None),
    ("AuthorizationFailed", "The client does not have authorization", 403, Denied, Subject::None),
    ("LinkedAuthorizationFailed", "x", 403, Denied, Subject::None),
    ("InvalidAuthenticationToken", "x", 401, Denied, Subject::None),
    ("InvalidAuthenticationTokenTenant", "x", 401, Denied, Subject::None),
    ("ExpiredAuthenticationToken", "x", 401, Denied, Subject::None),
    ("SubscriptionNotFound", "The subscription 'x' could not be found.", 404, Denied, Subject::None),
    ("InvalidSubscriptionId", "x", 400, Denied, Subject::None),
    ("ReadOnlyDisabledSubscription", "x", 409, Denied, Subject::None),
    ("RequestDisallowedByPolicy", "x", 403, GiveUp, Subject::None),
    ("RequestDisallowedByPolicy", "disallowed by policy 'Allowed locations'", 403, GiveUp, Subject::Location),
    ("RequestDisallowedByPolicy", "Require a tag", 403, GiveUp, Subject::Tags),
    ("ScopeLocked", "x", 409, Conflict, Subject::Group),
    (
        "MissingSubscriptionRegistration",
        "not registered to use namespace 'Microsoft.Compute'",
        409,
        GiveUp,
        Subject::None,
    ),
    ("PropertyChangeNotAllowed", "x", 409, Conflict, Subject::None),
    ("PreconditionFailed", "x", 412, Conflict, Subject::None),
    ("InvalidResourceGroupLocation", "exists in location 'x'", 409, GiveUp, Subject::Group),
    ("LocationNotAvailableForResourceType", "x", 400, GiveUp, Subject::Location),
    ("LocationNotAvailableForResourceGroup", "x", 400, GiveUp, Subject::Location),
    ("ImageNotFound", "x", 404, GiveUp, Subject::Image),
    ("PlatformImageNotFound", "x", 404, GiveUp, Subject::Image),
    ("InaccessibleImage", "x", 400, GiveUp, Subject::Image),
    (
        "VMMarketplaceInvalidInput",
        "Creating a virtual machine from Marketplace image requires Plan information",
        400,
        GiveUp,
        Subject::Plan,
    ),
    ("ResourcePurchaseValidationFailed", "x", 400, GiveUp, Subject::Plan),
    ("InvalidParameter", "The value Standard_Z1 provided for the VM size is not valid", 400, GiveUp, Subject::Size),
    ("InvalidParameter", "The Admin Username specified is not allowed.", 400, GiveUp, Subject::Username),
    ("InvalidParameter", "The supplied password must be between 6-72 characters long", 400, GiveUp, Subject::Password),
    ("InvalidParameter", "Custom data in OSProfile must be in Base64 encoding", 400, GiveUp, Subject::UserData),
    (
        "InvalidParameter",
        "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid",
        400,
        GiveUp,
        Subject::SshKey,
    ),
    (
        "InvalidParameter",
        "The following list of images referenced from the deployment template are not found",
        400,
        GiveUp,
        Subject::Image,
    ),
    ("InvalidAvailabilityZone", "x", 400, GiveUp, Subject::Zones),
    ("InvalidTagNameCharacters", "x", 400, GiveUp, Subject::Tags),
    ("TagLimitExceeded", "x", 400, GiveUp, Subject::Tags),
    ("InvalidParameter", "imageRegistryCredentials", 400, GiveUp, Subject::Registry),
    (
        "InvalidResourceReference",
        "Resource .../subnets/x referenced by resource y was not found",
        400,
        GiveUp,
        Subject::Subnet,
    ),
    ("DnsRecordInUse", "x", 409, Conflict, Subject::None),
    ("InvalidApiVersionParameter", "x", 400, Unsupported, Subject::Endpoint),
    ("ResourceNotFound", "x", 404, NotFound, Subject::None),
    ("ResourceGroupNotFound", "Resource group 'x' could not be found.", 404, NotFound, Subject::None),
    ("NotFound", "x", 404, NotFound, Subject::None),
    ("SomethingNew", "x", 400, GiveUp, Subject::None),
    ("SomethingNew", "x", 401, Denied, Subject::None),
    ("SomethingNew", "x", 403, Denied, Subject::None),
    ("SomethingNew", "x", 409, Conflict, Subject::None),
    ("SomethingNew", "x", 500, Retry, Subject::None),
    ("InternalServerError", "x", 503, Retry, Subject::None),
];

fn error(code: &str, message: &str) -> ArmError {
    ArmError { code: code.to_owned(), message: message.to_owned(), ..ArmError::default() }
}

#[test]
fn every_code_has_its_reaction_and_its_subject() {
    for (code, words, status, reaction, subject) in CASES {
        let verdict = classify(&error(code, words), *status, Effect::None);
        assert_eq!((verdict.reaction, verdict.subject), (*reaction, *subject), "{code} {status} {words}");
        // Azure's codes compare without regard to case, and may stand inside of others.
        let inner = ArmError { outer: vec!["DeploymentFailed".to_owned()], ..error(&code.to_uppercase(), words) };
        assert_eq!(classify(&inner, *status, Effect::None), verdict, "{code}");
        if *status >= 500 {
            assert_eq!(classify(&error(code, words), *status, Effect::Possible).reaction, UnknownOutcome, "{code}");
        } else {
            assert_eq!(classify(&error(code, words), *status, Effect::Possible), verdict, "{code}");
        }
    }
}

#[test]
fn each_code_and_word_reaches_its_own_row() {
    for (number, row) in TABLE.iter().enumerate() {
        for code in row.codes.iter().map(|code| code.replace('*', "x")) {
            for word in if row.words.is_empty() { &[""] } else { row.words } {
                let reached = TABLE.iter().position(|row| row.fits(&code, &word.to_ascii_lowercase()));
                assert_eq!(reached, Some(number), "{code} with `{word}`");
            }
        }
    }
}

#[test]
fn a_target_says_what_an_error_is_about() {
    for (target, subject) in [
        ("vmSize", Subject::Size),
        ("adminPassword", Subject::Password),
        ("adminUsername", Subject::Username),
        ("osProfile.computerName", Subject::ComputerName),
        ("customData", Subject::UserData),
        ("imageReference", Subject::Image),
        ("linuxConfiguration.ssh.publicKeys.keyData", Subject::SshKey),
        ("location", Subject::Location),
        ("zones", Subject::Zones),
        ("priority", Subject::Priority),
        ("properties.something", Subject::None),
    ] {
        let told =
            ArmError { target: Some(target.to_owned()), ..error("InvalidParameter", "Required parameter is missing.") };
        assert_eq!(classify(&told, 400, Effect::None).subject, subject, "{target}");
    }
}

/// Returns the fault of a call that is answered so.
fn refused(purpose: Purpose, call: Call, response: Response) -> occopus_sdk::Fault {
    with_arm(host().http(logged_in(move |_| response.clone())), AZURE, purpose, move |arm| {
        arm.unwrap().send(&call).unwrap_err()
    })
}

fn get() -> Call {
    Call::get("/x", "1")
}

#[test]
fn a_fault_has_azures_words_and_its_ids() {
    let body = json!({"error": {"code": "SkuNotAvailable", "message": "Not here."}});
    let fault = refused(Purpose::Creating, get(), answer(409, &body));
    assert_eq!(fault.message, "Azure at http://azure.test refuses: Not here. (SkuNotAvailable)");
    assert_eq!((fault.code.as_str(), fault.details[0].pointer.as_str()), ("azure.SkuNotAvailable", "/vm_size"));
    assert!(details(&fault).contains("correlation id corr-7") && details(&fault).contains("request id req-7"));
}

#[test]
fn throttling_has_its_delay_and_its_limits() {
    let body = json!({"error": {"code": "TooManyRequests", "message": "x"}});
    let limited = with_header(answer(429, &body), "x-ms-ratelimit-remaining-resource", "Microsoft.Compute/PutVM3Min;0");
    let fault = refused(Purpose::Creating, get(), with_header(limited.clone(), "Retry-After", "17"));
    assert_eq!((fault.reaction, fault.retry_after.unwrap().as_secs()), (Retry, 17));
    assert!(details(&fault).contains("PutVM3Min;0"), "{fault:?}");
    assert_eq!(refused(Purpose::Creating, get(), limited).retry_after.unwrap().as_secs(), 5);
    let page = Response { status: 429, headers: vec![("retry-after".into(), "9".into())], body: b"slow".to_vec() };
    let fault = refused(Purpose::Creating, get(), page);
    assert_eq!((fault.reaction, fault.retry_after.unwrap().as_secs()), (Retry, 9));
    let busy = json!({"error": {"code": "RetryableErrorDueToAnotherOperation", "message": "x"}});
    let fault = refused(Purpose::Creating, get(), answer(409, &busy));
    assert!(is_busy(&fault) && !is_in_use(&fault) && fault.retry_after.is_some());
    let used = json!({"error": {"code": "InUseSubnetCannotBeDeleted", "message": "x"}});
    assert!(is_in_use(&refused(Purpose::Existing, get(), answer(400, &used))));
    let missing = json!({"error": {"code": "InvalidResourceReference", "message": "x"}});
    assert!(names_missing_reference(&refused(Purpose::Creating, get(), answer(400, &missing))));
}

#[test]
fn answers_of_others_prove_nothing() {
    let other = |status: u16, body: &str| Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() };
    let forged = r#"{"error": {"code": "ResourceNotFound", "message": "The Resource was not found."}}"#;
    for body in ["<p>not found", "{}", "[]", r#"{"message": "no Route matched"}"#, forged] {
        assert_eq!(refused(Purpose::Existing, get(), other(404, body)).reaction, Retry, "{body}");
        let fault = refused(Purpose::Creating, get(), other(404, body));
        assert_eq!((fault.reaction, fault.code.as_str()), (GiveUp, "azure.not-azure"), "{body}");
    }
    for (status, reading, making) in [
        (500, Retry, UnknownOutcome),
        (502, Retry, UnknownOutcome),
        (503, Retry, UnknownOutcome),
        (403, Denied, Denied),
    ] {
        assert_eq!(refused(Purpose::Existing, get(), other(status, "<p>")).reaction, reading, "{status}");
        let put = Call::put("/x", "1", json!({})).may_have_effect();
        assert_eq!(refused(Purpose::Creating, put, other(status, "<p>")).reaction, making, "{status}");
    }
    let away = with_header(other(307, ""), "location", "http://evil.test/x");
    let fault = refused(Purpose::Existing, get(), away);
    assert_eq!((fault.reaction, fault.code.as_str()), (GiveUp, "azure.redirect"));
    // A page, or another program, deletes nothing.
    for status in [200, 204] {
        let fault = with_arm(host().http(logged_in(move |_| other(status, ""))), AZURE, Purpose::Existing, |arm| {
            arm.unwrap().remove(&Call::delete("/x", "1")).unwrap_err()
        });
        assert_eq!(fault.reaction, Retry, "{status}");
    }
    let gone = with_arm(host().http(logged_in(|_| answer(204, &json!(null)))), AZURE, Purpose::Existing, |arm| {
        arm.unwrap().remove(&Call::delete("/x", "1")).unwrap()
    });
    assert_eq!(gone, None);
    assert_eq!(testing::host(|host| host.requests.len()), 2);
}

#[test]
fn what_another_has_is_waited_for_at_a_deletion_alone() {
    let refusal = |code: &str| answer(400, &json!({"error": {"code": code, "message": "used by another"}}));
    let put = || Call::put("/x", "1", json!({}));
    for (call, code, reaction) in [
        (put(), "NicInUse", GiveUp),
        (put(), "NicReservedForAnotherVm", Retry),
        (Call::delete("/x", "1"), "NicInUse", Retry),
        (Call::delete("/x", "1"), "NicReservedForAnotherVm", Retry),
    ] {
        let fault = refused(Purpose::Creating, call, refusal(code));
        assert_eq!((fault.reaction, is_in_use(&fault)), (reaction, reaction == Retry), "{code}: {fault:?}");
    }
}

#[test]
fn a_token_is_in_no_message_and_no_secret_goes_out_in_clear_text() {
    let secret = "eyJ0eXAiOiJKV1Qi.long.token";
    let host = || {
        host().http(move |request| {
            let echo = json!({"error": {"code": format!("No{secret}"), "message": super::authorization(request)}});
            Ok(if super::is_log_in(request) { super::token(secret) } else { answer(400, &echo) })
        })
    };
    let fault = with_arm(host(), AZURE, Purpose::Existing, |arm| arm.unwrap().send(&get()).unwrap_err());
    assert!(!format!("{fault:?}").contains(secret) && fault.message.contains("<token>"), "{fault:?}");
    for endpoint in ["http://management.azure.com", "http://azure.example"] {
        let fault = with_arm(host(), endpoint, Purpose::Existing, |arm| arm.map(drop).unwrap_err());
        assert_eq!((fault.reaction, fault.code.as_str()), (GiveUp, "azure.bad-endpoint"), "{endpoint}");
        assert!(testing::host(|host| host.requests.is_empty()), "{endpoint}");
    }
}
