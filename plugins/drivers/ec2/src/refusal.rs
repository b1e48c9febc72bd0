//! Refusals of the API as faults
//! (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>).

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use occopus_sdk::http::Response;
use occopus_sdk::{Fault, Reaction};
use roxmltree::Document;

use crate::api::Effect;
use crate::xml::text;

/// Content of an error document.
pub(crate) struct Refusal {
    pub(crate) code: String,
    message: String,
    request_id: Option<String>,
}

impl Refusal {
    pub(crate) fn read(document: &Document) -> Option<Self> {
        let found = |name: &str| document.descendants().find(|node| node.tag_name().name() == name);
        let error = found("Error")?;
        let request_id = found("RequestID").or_else(|| found("RequestId"));
        Some(Self {
            code: text(error, "Code")?.to_owned(),
            message: text(error, "Message").unwrap_or("(no explanation)").trim().to_owned(),
            request_id: request_id.and_then(|node| node.text()).map(str::to_owned),
        })
    }
}

/// Code of the API's own answer about a machine that it does not see.
pub(crate) const NOT_FOUND_CODE: &str = "ec2.InvalidInstanceID.NotFound";
/// Minimum clock skew that is reported. Signatures are good for five minutes.
const MIN_REPORTED_SKEW_S: i64 = 240;
/// Delay before a throttled call is repeated, if the API does not give one: its buckets refill by a few tokens a
/// second.
const DEFAULT_THROTTLE_DELAY: Duration = Duration::from_secs(2);

pub(crate) fn fault(endpoint: &str, effect: Effect, response: &Response, refusal: Option<Refusal>) -> Fault {
    let status = response.status;
    let Some(refusal) = refusal else { return fault_without_document(endpoint, effect, response) };
    let (code, words) = (refusal.code.as_str(), &refusal.message);
    let (reaction, pointer, hint) = classify(code, words, status, effect);
    let mut fault =
        Fault::new(reaction, format!("ec2.{code}"), format!("the EC2 API at {endpoint} refuses: {words} ({code})"));
    if !hint.is_empty() {
        fault = fault.at(pointer, hint);
    }
    if reaction == Reaction::Denied
        && let Some(skew) = describe_skew(response, Timestamp::now())
    {
        fault = fault.detail(skew);
    }
    if let Some(id) = refusal.request_id {
        fault = fault.detail(format!("request id {id}"));
    }
    match response.retry_after() {
        Some(delay) => fault.retry_after(delay),
        None if reaction == Reaction::Retry => fault.retry_after(DEFAULT_THROTTLE_DELAY),
        None => fault,
    }
}

/// Returns the time of an answer, by its `Date`.
pub(crate) fn answer_time(response: &Response) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(response.header("date")?).ok()
}

/// Describes the clock skew, by the answer's `Date`. Clouds report a signature of the wrong time as a wrong key, and
/// many say no more.
fn describe_skew(response: &Response, now: Timestamp) -> Option<String> {
    let theirs = answer_time(response)?;
    let ahead = now.as_second() - theirs.as_second();
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    (ahead.abs() > MIN_REPORTED_SKEW_S)
        .then(|| format!("This machine's clock is {} minutes {side} the cloud's.", ahead.abs() / 60))
}

/// Returns the reaction, and the place in the section that it is about with a hint.
fn classify(code: &str, words: &str, status: u16, effect: Effect) -> (Reaction, &'static str, &'static str) {
    use Reaction::{Conflict, Denied, GiveUp, NoCapacity, Retry, UnknownOutcome, Unsupported};
    let about = |prefix: &str| code.starts_with(prefix);
    match code {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "RequestThrottled"
        | "Unavailable"
        | "ServiceUnavailable"
        | "EC2ThrottledException" => (Retry, "", ""),
        "InsufficientInstanceCapacity"
        | "InsufficientCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientFreeAddressesInSubnet"
        | "InsufficientAddressCapacity"
        | "InsufficientVolumeCapacity"
        | "InstanceLimitExceeded"
        | "VcpuLimitExceeded"
        | "ResourceLimitExceeded"
        | "MaxSpotInstanceCountExceeded"
        | "SpotMaxPriceTooLow"
        | "VolumeLimitExceeded"
        | "AddressLimitExceeded"
        | "NetworkInterfaceLimitExceeded"
        | "PrivateIpAddressLimitExceeded" => (NoCapacity, "", ""),
        "AuthFailure" if words.contains("images") => (Denied, "/image_id", "this account may not use this image"),
        "AuthFailure" | "SignatureDoesNotMatch" | "InvalidSignatureException" if words.contains("valid region") => {
            (Denied, "/regionname", "is this the name of the region that the endpoint serves?")
        }
        "AuthFailure" | "InvalidClientTokenId" | "MissingAuthenticationToken" | "UnrecognizedClientException" => {
            (Denied, "", "Are `accesskey` and `secretkey` in auth_data.yaml those of this cloud?")
        }
        "SignatureDoesNotMatch" | "IncompleteSignature" if !words.contains("expired") && !words.contains("yet") => {
            let hint =
                "Is `secretkey` in auth_data.yaml the one of this access key, and `regionname` the cloud's region?";
            (Denied, "/regionname", hint)
        }
        "RequestExpired"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "RequestInTheFuture"
        | "RequestTimeTooSkewed" => {
            (Denied, "", "Is the clock of this machine right? Signatures are good for a few minutes.")
        }
        "ExpiredToken" | "ExpiredTokenException" | "InvalidToken" => {
            (Denied, "", "The temporary credentials are no longer good: get new ones.")
        }
        "UnauthorizedOperation"
        | "AccessDenied"
        | "AccessDeniedException"
        | "OptInRequired"
        | "PendingVerification"
        | "Blocked" => (Denied, "", "The account behind this access key may not do this."),
        "OperationNotPermitted" => (Conflict, "", "Is the machine protected against termination?"),
        // This alone proves nothing: see `absence`.
        "InvalidInstanceID.NotFound" => (Retry, "", ""),
        "IdempotentParameterMismatch" => (Conflict, "", "A machine with other properties was made under the same id."),
        "Unsupported" | "UnsupportedOperation" => (Unsupported, "/instance_type", "the cloud can't do this"),
        _ if about("InvalidAMIID") || code == "InvalidAMIId.NotFound" => (GiveUp, "/image_id", "no such image here"),
        _ if about("InvalidKeyPair") => (GiveUp, "/key_name", "no such key pair here"),
        _ if about("InvalidGroup") || about("InvalidSecurityGroup") => {
            (GiveUp, "/security_group_ids", "no such security group here")
        }
        _ if about("InvalidSubnet") => (GiveUp, "/subnet_id", "no such subnet here"),
        _ if about("InvalidUserData") || words.to_lowercase().contains("user data") => {
            (GiveUp, "#user-data", "the cloud does not take what was rendered here")
        }
        _ if about("InvalidInstanceType") || words.to_lowercase().contains("instance type") => {
            (GiveUp, "/instance_type", "no such instance type here")
        }
        _ if about("InvalidTag") || code == "TagLimitExceeded" => {
            (GiveUp, "/tags", "the cloud does not take these tags")
        }
        // Another service of the same cloud.
        "InvalidAction" | "MethodNotAllowed" | "UnknownOperationException" | "NoSuchVersion" => {
            (GiveUp, "/endpoint", "is this the URL of an EC2 API?")
        }
        _ if status >= 500 && effect == Effect::Possible => (UnknownOutcome, "", ""),
        _ if status >= 500 || status == 429 => (Retry, "", ""),
        _ if status == 401 || status == 403 => (Denied, "", ""),
        _ => (GiveUp, "", ""),
    }
}

fn fault_without_document(endpoint: &str, effect: Effect, response: &Response) -> Fault {
    let status = response.status;
    let message = format!("the EC2 API at {endpoint} answers with status {status}");
    let fault = match status {
        300..=399 => {
            let target = response.header("location").unwrap_or("another place");
            let message = format!(
                "{endpoint} redirects to {target}; keys are not sent there, for the grant `endpoint` is of {endpoint} alone"
            );
            Fault::give_up("ec2.redirect", message).at("/endpoint", "if that is the cloud, write its URL here")
        }
        429 => Fault::retry("ec2.throttled", message).retry_after(DEFAULT_THROTTLE_DELAY),
        501 | 505 => foreign_answer_fault(effect, message),
        500.. if effect == Effect::Possible => Fault::unknown_outcome("ec2.server-error", message),
        500.. => Fault::retry("ec2.server-error", message),
        401 | 403 => Fault::denied("ec2.denied", message),
        _ => foreign_answer_fault(effect, message),
    };
    match response.retry_after() {
        Some(delay) => fault.retry_after(delay),
        None => fault,
    }
}

/// Returns the fault for an answer of something else: a creation has not happened. It may answer in place of the API
/// for a while, so that searches and removals are repeated.
fn foreign_answer_fault(effect: Effect, message: String) -> Fault {
    let reaction = if effect == Effect::Possible { Reaction::GiveUp } else { Reaction::Retry };
    Fault::new(reaction, "ec2.not-ec2", format!("{message}, and not like an EC2 API"))
        .at("/endpoint", "is this the URL of an EC2 API?")
}
