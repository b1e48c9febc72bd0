//! Refusals of the services as faults
//! (<https://docs.openstack.org/api-guide/compute/faults.html>).

use std::time::Duration;

use occopus_sdk::http::Response;
use occopus_sdk::{Fault, Reaction};
use serde_json::{Map, Value};

use crate::catalogue::Service;
use crate::cloud::Effect;

/// Delay before a throttled call is repeated, if the service does not give one.
const DEFAULT_THROTTLE_DELAY: Duration = Duration::from_secs(2);

/// Code of a status 409 that may be repeated: the server is in a state in which the call is not possible.
pub(crate) const BUSY_CODE: &str = "nova.busy";

/// Returns the service's message, from any of the shapes in which services of OpenStack send it.
pub(crate) fn error_text(response: &Response) -> String {
    let text = response.text();
    let said = serde_json::from_str::<Value>(&text).ok().and_then(|body| {
        let fields = body.as_object()?;
        let inner = fields.values().find_map(|value| value.get("message").and_then(Value::as_str));
        let plain = fields.values().find_map(Value::as_str);
        inner.or(plain).map(|words| words.trim().to_owned())
    });
    said.filter(|words| !words.is_empty()).unwrap_or_else(|| {
        let start: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
        if start.is_empty() || start.starts_with('<') { format!("status {}", response.status) } else { start }
    })
}

/// Adds the request's id, and the time before which the call is not repeated.
pub(crate) fn with_request_id(mut fault: Fault, response: &Response) -> Fault {
    let id = ["x-openstack-request-id", "x-compute-request-id"].iter().find_map(|name| response.header(name));
    if let Some(id) = id {
        fault = fault.detail(format!("request id {id}"));
    }
    match response.retry_after() {
        Some(delay) => fault.retry_after(delay),
        None if response.status == 429 || response.status == 413 => fault.retry_after(DEFAULT_THROTTLE_DELAY),
        None => fault,
    }
}

pub(crate) fn fault(endpoint: &str, service: Service, effect: Effect, response: &Response) -> Fault {
    let said = error_text(response);
    if response.status == 404 && !is_service_not_found(service, response) {
        // A page or a word of something in between proves nothing about the request.
        let reaction = if effect == Effect::Possible { Reaction::GiveUp } else { Reaction::Retry };
        let message =
            format!("what answers for {} of the cloud at {endpoint} is not OpenStack: {said}", service.kind());
        return with_request_id(Fault::new(reaction, "nova.not-openstack", message), response);
    }
    let (reaction, pointer, hint) = classify(&said, response.status, effect);
    let message = if matches!(response.status, 300..=399) {
        let target = response.header("location").unwrap_or("another place");
        format!(
            "{} of the cloud at {endpoint} redirects to {target}; tokens are not sent there, for the grant `announced` is of \
             what the catalogue names",
            service.kind()
        )
    } else {
        format!("{} of the cloud at {endpoint} refuses: {said}", service.kind())
    };
    let is_busy = response.status == 409 && reaction == Reaction::Retry;
    let code = if is_busy { BUSY_CODE.to_owned() } else { format!("nova.{}", code(reaction)) };
    let mut fault = Fault::new(reaction, code, message);
    if !hint.is_empty() {
        fault = fault.at(pointer, hint);
    }
    with_request_id(fault, response)
}

/// Returns true for a 404 as the service itself sends it. Nova: `{"itemNotFound": {"code": 404, "message": "..."}}`.
/// Neutron: `{"NeutronError": {"type": "FloatingIPNotFound", "message": "...", "detail": ""}}`.
fn is_service_not_found(service: Service, response: &Response) -> bool {
    let name = match service {
        Service::Compute => "itemNotFound",
        Service::Network => "NeutronError",
        Service::Image => return false,
    };
    let body = response.json::<Map<String, Value>>().ok();
    body.is_some_and(|body| body.get(name).and_then(|inner| inner.get("message")).is_some_and(Value::is_string))
}

fn code(reaction: Reaction) -> &'static str {
    match reaction {
        Reaction::Retry => "try-again",
        Reaction::UnknownOutcome => "server-error",
        Reaction::NotFound => "not-found",
        Reaction::Conflict => "conflict",
        Reaction::Denied => "denied",
        Reaction::NoCapacity => "no-capacity",
        Reaction::Unsupported => "unsupported",
        _ => "refused",
    }
}

/// Returns the reaction, and the place in the section that it is about with a hint.
fn classify(said: &str, status: u16, effect: Effect) -> (Reaction, &'static str, &'static str) {
    use Reaction::{Conflict, Denied, GiveUp, NoCapacity, NotFound, Retry, UnknownOutcome, Unsupported};
    let lower = said.to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
    match status {
        403 | 409 | 413 if says(&["quota", "exceeded for resource"]) => (NoCapacity, "", ""),
        400 | 409 if says(&["no more ip addresses", "ip address generation failure"]) => {
            (NoCapacity, "/network_id", "this network has no free address")
        }
        413 | 429 => (Retry, "", ""),
        401 => (Denied, "", "The cloud does not take the token that it just gave."),
        403 => (Denied, "", "The user in auth_data.yaml may not do this in this project."),
        409 if says(&["multiple possible networks"]) => (GiveUp, "/network_id", "say which network the server gets"),
        400 | 404 if says(&["external network"]) => {
            (GiveUp, "/floating_ip_pool", "the server's network has no router to this one")
        }
        404 if effect == Effect::Possible => (GiveUp, "", ""),
        404 => (NotFound, "", ""),
        412 => (Conflict, "", ""),
        409 if says(&["locked"]) => (Conflict, "", "Somebody locked the server: unlock it."),
        409 if effect == Effect::Possible => (Conflict, "", ""),
        409 => (Retry, "", ""),
        400 if says(&["image", "kernel", "ramdisk"]) && !says(&["flavor's"]) => {
            (GiveUp, "/image_id", "the cloud can't use this image")
        }
        400 if says(&["flavor"]) => (GiveUp, "/flavor_name", "the cloud can't use this flavor"),
        400 if says(&["key_name", "keypair", "key pair"]) => (GiveUp, "/key_name", "no such key pair here"),
        400 if says(&["security group", "security_group"]) => {
            (GiveUp, "/security_groups", "no such security group here")
        }
        400 if says(&["user_data", "user data", "userdata"]) => {
            (GiveUp, "#user-data", "the cloud does not take what was rendered here")
        }
        400 if says(&["network", "subnet", "port"]) => (GiveUp, "/network_id", "the cloud can't use this network"),
        400 if says(&["volume", "block device"]) => (GiveUp, "/volume_size", "the cloud can't make this volume"),
        400 if says(&["name"]) => (GiveUp, "/server_name", "the cloud does not take this name"),
        501 => (Unsupported, "", ""),
        500.. if effect == Effect::Possible => (UnknownOutcome, "", ""),
        500.. => (Retry, "", ""),
        _ => (GiveUp, "", ""),
    }
}
