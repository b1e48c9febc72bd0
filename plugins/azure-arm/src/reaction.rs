//! Azure's codes, and what the host does about them. One table for both drivers
//! (<https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors>).

use std::time::Duration;

use occopus_sdk::http::Response;
use occopus_sdk::{Fault, Reaction};

use crate::client::Effect;
use crate::codes::{IN_USE, RIGHTS, Subject, TABLE, Verdict, WAIT};
use crate::error::ArmError;

/// Delay before a throttled call is repeated, if Azure does not give one.
const DEFAULT_THROTTLE_DELAY: Duration = Duration::from_secs(5);
/// Delay before a call is repeated that met another change of the same resource.
const BUSY_DELAY: Duration = Duration::from_secs(3);

/// Codes of answers about what does not exist.
const NOT_FOUND: [&str; 5] =
    ["ResourceNotFound", "ResourceGroupNotFound", "NotFound", "ParentResourceNotFound", "EntityNotFound"];

/// Returns the judgement of an error, by its code, the codes around it, its words, and the status that it came with. A status
/// of 200 stands for an operation that failed.
pub fn classify(error: &ArmError, status: u16, effect: Effect) -> Verdict {
    let text = format!("{}\n{}", error.target.as_deref().unwrap_or_default(), error.message).to_ascii_lowercase();
    let codes = || std::iter::once(&error.code).chain(error.outer.iter().rev());
    if status == 404 && NOT_FOUND.iter().any(|code| error.has(code)) {
        return Verdict { reaction: Reaction::NotFound, subject: Subject::None, hint: "" };
    }
    if let Some(row) = codes().find_map(|code| TABLE.iter().find(|row| row.fits(code, &text))) {
        return row.verdict;
    }
    let reaction = match status {
        429 => Reaction::Retry,
        401 | 403 => Reaction::Denied,
        409 | 412 => Reaction::Conflict,
        500.. if effect == Effect::Possible => Reaction::UnknownOutcome,
        408 | 500.. => Reaction::Retry,
        _ => Reaction::GiveUp,
    };
    let hint = if status == 403 { RIGHTS } else { "" };
    Verdict { reaction, subject: Subject::None, hint }
}

/// Returns the fault of an error of Azure.
pub(crate) fn fault(
    endpoint: &str,
    error: &ArmError,
    status: u16,
    effect: Effect,
    pointer: fn(Subject) -> &'static str,
) -> Fault {
    let Verdict { reaction, subject, hint } = classify(error, status, effect);
    let (code, words) = (&error.code, &error.message);
    let verb = if status == 200 { "reports a failure" } else { "refuses" };
    let message = format!("Azure at {endpoint} {verb}: {words} ({code})");
    let place = match subject {
        Subject::Endpoint => "/endpoint",
        Subject::None => "",
        other => pointer(other),
    };
    let fault = Fault::new(reaction, format!("azure.{code}"), message);
    if hint.is_empty() { fault } else { fault.at(place, hint) }
}

/// Adds the time before which a call is not repeated, and for a throttled one the rest of the limits that Azure names.
pub(crate) fn delayed(mut fault: Fault, response: &Response) -> Fault {
    if response.status == 429 {
        let limits = response
            .headers
            .iter()
            .filter(|(name, _)| name.to_ascii_lowercase().starts_with("x-ms-ratelimit-remaining"));
        for (name, rest) in limits {
            fault = fault.detail(format!("{name}: {rest}"));
        }
    }
    let is_later = fault.reaction == Reaction::Retry;
    match response.retry_after() {
        Some(delay) if is_later || matches!(fault.reaction, Reaction::NoCapacity | Reaction::UnknownOutcome) => {
            fault.retry_after(delay)
        }
        None if response.status == 429 => fault.retry_after(DEFAULT_THROTTLE_DELAY),
        None if is_later && is_busy(&fault) => fault.retry_after(BUSY_DELAY),
        _ => fault,
    }
}

fn has_hint(fault: &Fault, hint: &str) -> bool {
    fault.details.iter().any(|detail| detail.message == hint)
}

/// Returns true if Azure refused because another change of the same resource is under way.
pub fn is_busy(fault: &Fault) -> bool {
    has_hint(fault, WAIT)
}

/// Returns the fault of a request that names something that another has, such as a network card: it does not end by itself.
pub(crate) fn taken(fault: Fault, pointer: fn(Subject) -> &'static str) -> Fault {
    let subject = match fault.code.as_str() {
        "azure.NicInUse" => Subject::Card,
        code if code.contains("Subnet") => Subject::Subnet,
        _ => Subject::None,
    };
    let mut fault = Fault { reaction: Reaction::GiveUp, ..fault };
    fault.details.retain(|detail| detail.message != IN_USE);
    fault.at(pointer(subject), "something else has it: write another")
}

/// Returns true if Azure refused to delete something because something else refers to it.
pub fn is_in_use(fault: &Fault) -> bool {
    has_hint(fault, IN_USE)
}

/// Returns true if Azure refused because something that the request names does not exist, or no longer.
pub fn names_missing_reference(fault: &Fault) -> bool {
    let codes = [
        "InvalidResourceReference",
        "ReferencedResourceNotFound",
        "NetcfgInvalidSubnet",
        "ResourceGroupNotFound",
        "ParentResourceNotFound",
    ];
    codes.iter().any(|code| fault.code == format!("azure.{code}"))
}
