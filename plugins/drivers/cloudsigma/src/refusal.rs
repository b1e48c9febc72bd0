//! Refusals of the API as faults: a list of `{error_type, error_message, error_point}`
//! (<https://docs.cloudsigma.com/en/latest/errors.html>).

use std::time::Duration;

use occopus_sdk::http::Response;
use occopus_sdk::{Fault, Reaction};
use serde::Deserialize;
use serde_json::Value;

use crate::cloud::{ApiRequest, Effect};
use crate::section::Section;

/// Code of an answer that is not CloudSigma's.
pub(crate) const NOT_CLOUDSIGMA_CODE: &str = "cloudsigma.not-cloudsigma";
/// Code of a refusal since something else was changing the same resource.
pub(crate) const CONCURRENCY_CODE: &str = "cloudsigma.concurrency";
/// Code of a refusal since the server or the drive is in a state in which this is not possible.
pub(crate) const BUSY_CODE: &str = "cloudsigma.busy";
/// Delay before a throttled call is repeated, if CloudSigma does not give one.
const DEFAULT_THROTTLE_DELAY: Duration = Duration::from_secs(3);
/// Characters of a message.
const MAX_MESSAGE_CHARS: usize = 1000;

/// An error of the API.
#[derive(Debug, Deserialize)]
struct ApiError {
    error_type: String,
    error_message: String,
    #[serde(default)]
    error_point: Option<Value>,
}

/// Row of the table: the type, words of which one must be in the message (none match all), and what follows.
struct Row {
    kinds: &'static [&'static str],
    words: &'static [&'static str],
    reaction: Reaction,
    code: &'static str,
    hint: &'static str,
}

const fn row(
    kinds: &'static [&'static str],
    words: &'static [&'static str],
    reaction: Reaction,
    code: &'static str,
    hint: &'static str,
) -> Row {
    Row { kinds, words, reaction, code, hint }
}

const BALANCE: &str =
    "The balance or the subscriptions of the account do not cover this: top up, or buy what is missing.";
const RIGHTS: &str = "The account in auth_data.yaml may not do this.";
const LIMIT: &str = "A limit of the account is reached: ask CloudSigma for more, or remove something.";

/// The first row that matches counts. Types are CloudSigma's own; words tell apart what has one type there.
const TABLE: &[Row] = &[
    row(&["concurrency"], &[], Reaction::Retry, CONCURRENCY_CODE, ""),
    row(&["billing", "payment"], &[], Reaction::NoCapacity, "cloudsigma.balance", BALANCE),
    row(&["permission"], &["in state", "mounted", "is running"], Reaction::Retry, BUSY_CODE, ""),
    row(&["permission", "validation"], &["limit", "quota"], Reaction::NoCapacity, "cloudsigma.limit", LIMIT),
    row(&["permission"], &[], Reaction::Denied, "cloudsigma.denied", RIGHTS),
    row(&["notexist"], &[], Reaction::NotFound, "cloudsigma.not-found", ""),
    row(&["backend"], &["not enough", "no suitable host"], Reaction::NoCapacity, "cloudsigma.no-capacity", ""),
    row(&["backend", "database"], &[], Reaction::UnknownOutcome, "cloudsigma.server-error", ""),
    row(&["validation"], &[], Reaction::GiveUp, "cloudsigma.refused", ""),
];

fn read(response: &Response) -> Option<ApiError> {
    let errors: Vec<ApiError> = response.json().ok()?;
    errors.into_iter().next().filter(|error| !error.error_type.is_empty())
}

pub(crate) fn fault(section: &Section, call: &ApiRequest, response: &Response) -> Fault {
    let fault = match read(response) {
        Some(error) => typed(section, call, response.status, &error),
        None => untyped(section, call, response),
    };
    let fault = match response.header("x-request-id") {
        Some(id) => fault.detail(format!("request id {id}")),
        None => fault,
    };
    match response.retry_after() {
        Some(delay) => fault.retry_after(delay),
        None if response.status == 429 => fault.retry_after(DEFAULT_THROTTLE_DELAY),
        None => fault,
    }
}

fn typed(section: &Section, call: &ApiRequest, status: u16, error: &ApiError) -> Fault {
    let said: String = error.error_message.trim().chars().take(MAX_MESSAGE_CHARS).collect();
    let message = format!("CloudSigma at {} refuses: {said}", section.endpoint);
    let lower = said.to_lowercase();
    let fits = |row: &&Row| {
        row.kinds.contains(&error.error_type.as_str())
            && (row.words.is_empty() || row.words.iter().any(|word| lower.contains(word)))
    };
    let Some(row) = TABLE.iter().find(fits) else {
        return Fault::new(by_status(status, call.effect), "cloudsigma.refused", message)
            .detail(format!("its type is `{}`", error.error_type.chars().take(64).collect::<String>()));
    };
    let reaction = match (row.reaction, call.effect) {
        (Reaction::UnknownOutcome, Effect::None) => Reaction::Retry,
        (Reaction::NotFound, Effect::Possible) => Reaction::GiveUp,
        (reaction, _) => reaction,
    };
    let mut fault = Fault::new(reaction, row.code, message);
    if !row.hint.is_empty() {
        fault = fault.detail(row.hint);
    }
    if reaction == Reaction::GiveUp && !call.pointer.is_empty() {
        let point = error.error_point.as_ref().and_then(Value::as_str);
        fault = fault.at(pointer(section, call.pointer, point), "CloudSigma does not take this");
    }
    fault
}

/// Returns the place in the user's section. Points of errors are names of members, with the steps to them.
fn pointer(section: &Section, base: &str, point: Option<&str>) -> String {
    let steps = point.unwrap_or_default().split(['.', '/', '[', ']']).filter(|step| !step.is_empty());
    let mut steps = steps.skip_while(|step| *step == "objects" || step.bytes().all(|byte| byte.is_ascii_digit()));
    match steps.next() {
        Some(first) if base == "/description" => {
            let is_written =
                matches!(first, "cpu" | "mem" | "vnc_password") || section.description.get(first).is_some();
            if is_written { format!("{base}/{first}") } else { base.to_owned() }
        }
        _ => base.to_owned(),
    }
}

fn by_status(status: u16, effect: Effect) -> Reaction {
    match (status, effect) {
        (401 | 403, _) => Reaction::Denied,
        (402, _) => Reaction::NoCapacity,
        (408 | 429, _) => Reaction::Retry,
        (500.., Effect::Possible) => Reaction::UnknownOutcome,
        (500.., Effect::None) => Reaction::Retry,
        _ => Reaction::GiveUp,
    }
}

/// Returns the fault of an answer without the API's list of errors: what stands before it refuses, or it is something
/// else.
fn untyped(section: &Section, call: &ApiRequest, response: &Response) -> Fault {
    let endpoint = &section.endpoint;
    let text: String = response.text().split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
    let said = if text.is_empty() || text.starts_with(['<', '{', '[']) {
        format!("status {}", response.status)
    } else {
        format!("{text} (status {})", response.status)
    };
    match response.status {
        300..=399 => {
            let target = response.header("location").unwrap_or("another place");
            let message = format!(
                "{endpoint} redirects to {target}; passwords are not sent there, for the grant `endpoint` is of {endpoint} \
                 alone"
            );
            Fault::give_up("cloudsigma.redirect", message).at("/endpoint", "if that is the API, write its URL here")
        }
        401 => Fault::denied(
            "cloudsigma.unauthorized",
            format!("CloudSigma at {endpoint} refuses the credentials: {said}"),
        )
        .detail("Are the e-mail address and the password in auth_data.yaml those of this account?"),
        403 => Fault::denied("cloudsigma.unauthorized", format!("{endpoint} refuses: {said}")),
        429 => Fault::retry("cloudsigma.throttled", format!("CloudSigma at {endpoint} is asked too often: {said}")),
        status @ 500.. => Fault::new(
            by_status(status, call.effect),
            "cloudsigma.server-error",
            format!("CloudSigma at {endpoint} has failed: {said}"),
        ),
        _ => {
            let message = format!("what answers at {endpoint} is not the API of CloudSigma: {said}");
            match call.effect {
                Effect::None => Fault::retry(NOT_CLOUDSIGMA_CODE, message),
                Effect::Possible => Fault::unknown_outcome(NOT_CLOUDSIGMA_CODE, message),
            }
        }
    }
}

/// Returns true if CloudSigma itself refused, in its own shape, and would again.
pub(crate) fn is_final_refusal(fault: &Fault) -> bool {
    let is_own = TABLE.iter().any(|row| row.code == fault.code);
    is_own && !matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome)
}
