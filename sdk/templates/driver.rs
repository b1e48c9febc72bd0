//! The `NAME` driver. It speaks to a small made-up cloud; put your own in its place.

use occopus_sdk::http::{HttpError, Request, Response, encoded};
use occopus_sdk::{
    About, Address, Driver, Encoding, Fault, Handle, Inventory, NodeRequest, Observed, Owned, Page, Phase, Reaction, Scope,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

/// Section that the user writes below `resource`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// URL of the cloud's API. The driver may connect there, and nowhere else.
    pub endpoint: String,
    /// Size of the machine.
    pub size: String,
}

/// Credentials that the user writes into `auth_data.yaml`. The values stay with the host.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "for its schema")]
#[schemars(deny_unknown_fields)]
pub struct Credentials {
    /// Key of the API.
    key: String,
}

/// A machine, as the cloud shows it.
#[derive(Deserialize)]
struct Machine {
    id: String,
    state: String,
    address: Option<String>,
    instance: String,
    infrastructure: String,
}

/// Page of machines.
#[derive(Deserialize)]
struct Machines {
    machines: Vec<Machine>,
    next: Option<String>,
}

pub struct Plugin;

impl Driver for Plugin {
    type Section = Section;
    type Credentials = Credentials;

    const ABOUT: About = About {
        name: "NAME",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "NAME",
        summary: "Machines of a made-up cloud",
        ..About::DRIVER
    };

    /// Creates a machine. The instance's id is the token of the creation: this cloud makes one machine for it, however
    /// often it is requested. For a cloud without tokens there is `occopus_sdk::idempotent`.
    fn create(request: &NodeRequest<Section>) -> Result<Observed, Fault> {
        let body = json!({
            "instance": request.instance_id,
            "infrastructure": request.infrastructure_id,
            "name": request.machine_name,
            "size": request.scope.section.size,
            "user_data": request.user_data.as_deref().map(String::from_utf8_lossy),
        });
        let call = call(&request.scope, "POST", "/machines")?.json(&body);
        // If the answer was lost, the machine may exist: `of_change` says so, and the host calls `find`.
        let response = call.send().map_err(|error| error.of_change("NAME.unreachable"))?;
        // So it may be when the answer says nothing, such as a 500 or the page of something in between.
        let (cloud, machine) = read::<Machine>(response, Reaction::UnknownOutcome)?;
        Ok(machine.observed(&cloud))
    }

    /// Finds a machine. None is believed only if the answer carries the cloud's name.
    fn find(scope: &Scope<Section>, instance_id: &str) -> Result<Option<Observed>, Fault> {
        let (cloud, found) = list(scope, &format!("/machines?instance={}", encoded(instance_id)))?;
        Ok(found.machines.into_iter().next().map(|machine| machine.observed(&cloud)))
    }

    /// Observes machines: as many answers as handles, in their order.
    fn observe(scope: &Scope<Section>, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        let mut machines = Vec::new();
        let mut next = Some(String::new());
        while let Some(cursor) = next {
            let (cloud, page) = list(scope, &format!("/machines?after={}", encoded(&cursor)))?;
            // What is not on another cloud's list is not gone.
            for handle in handles {
                is_of(handle, &cloud)?;
            }
            machines.extend(page.machines.into_iter().map(|machine| machine.observed(&cloud)));
            next = page.next;
        }
        let seen = |handle: &Handle| machines.iter().find(|machine| machine.handle == *handle).cloned();
        Ok(handles
            .iter()
            .map(|handle| seen(handle).unwrap_or_else(|| Observed::new(handle.clone(), Phase::Gone)))
            .collect())
    }

    fn destroy(scope: &Scope<Section>, handle: &Handle) -> Result<(), Fault> {
        // Another cloud may have a machine of this number, which is not ours.
        let (cloud, _) = get::<serde_json::Value>(scope, "/")?;
        let id = is_of(handle, &cloud)?;
        let call = call(scope, "DELETE", &format!("/machines/{}", encoded(id)))?;
        let response = call.send().map_err(|error| error.of_reading("NAME.unreachable"))?;
        // Gone already is fine, when this cloud says so of this machine.
        let is_gone = response.status == 404 && response.text().contains(id);
        if is_gone && name_of_cloud(&response).is_some_and(|answering| answering == cloud) {
            return Ok(());
        }
        read::<serde_json::Value>(response, Reaction::Retry).map(|_| ())
    }
}

impl Inventory for Plugin {
    fn list_owned(scope: &Scope<Section>, cursor: Option<&str>) -> Result<Page, Fault> {
        let (cloud, page) = list(scope, &format!("/machines?after={}", encoded(cursor.unwrap_or_default())))?;
        let owned = page.machines.into_iter().map(|machine| Owned {
            instance_id: machine.instance.clone(),
            infrastructure_id: machine.infrastructure.clone(),
            observed: machine.observed(&cloud),
        });
        Ok(Page { machines: owned.collect(), cursor: page.next })
    }
}

impl Machine {
    /// Returns the observation. Its handle has the cloud's name beside the machine's id, so that later answers of
    /// another cloud prove nothing.
    fn observed(self, cloud: &str) -> Observed {
        let phase = match self.state.as_str() {
            "starting" => Phase::Pending,
            "running" => Phase::Running,
            "stopped" => Phase::Stopped,
            _ => Phase::Unknown,
        };
        let mut observed = Observed::new(Handle::new(1, format!("{cloud}/{}", self.id)), phase);
        observed.addresses = self.address.into_iter().map(|value| Address { value, internal: false }).collect();
        observed
    }
}

/// Returns a call with the key in a header. The driver never sees the key: the host puts it where the placeholder is.
fn call(scope: &Scope<Section>, method: &str, path: &str) -> Result<Request, Fault> {
    let url = scope.call().url_for(&scope.section.endpoint)?;
    let credential =
        scope.credential().ok_or_else(|| Fault::denied("NAME.no-credential", "there is no key for this cloud"))?;
    let key = credential.require("key")?.placeholder(Encoding::Plain);
    Ok(scope.http().request(method, format!("{url}{path}")).header("authorization", format!("Bearer {key}")))
}

fn list(scope: &Scope<Section>, path: &str) -> Result<(String, Machines), Fault> {
    get(scope, path)
}

/// Sends a call that only reads; returns the cloud that answered, and the content.
fn get<T: serde::de::DeserializeOwned>(scope: &Scope<Section>, path: &str) -> Result<(String, T), Fault> {
    let response = call(scope, "GET", path)?.send().map_err(|error: HttpError| error.of_reading("NAME.unreachable"))?;
    read(response, Reaction::Retry)
}

/// Returns the id of a machine, if it is a machine of this cloud.
fn is_of<'a>(handle: &'a Handle, cloud: &str) -> Result<&'a str, Fault> {
    match handle.data.split_once('/') {
        Some((its, id)) if its == cloud => Ok(id),
        _ => Err(Fault::retry("NAME.another-cloud", format!("the machine {} is not of the cloud {cloud}", handle.data))),
    }
}

fn name_of_cloud(response: &Response) -> Option<&str> {
    response.header("cloud")
}

/// Reads the answer; returns the cloud that gave it, and the content. `nothing_said` is the reaction to answers that
/// prove nothing about the request.
fn read<T: serde::de::DeserializeOwned>(response: Response, nothing_said: Reaction) -> Result<(String, T), Fault> {
    let response = accepted(response, nothing_said)?;
    let unreadable = |error| Fault::new(nothing_said, "NAME.bad-answer", format!("the answer can't be read: {error}"));
    let content = response.json().map_err(unreadable)?;
    Ok((name_of_cloud(&response).unwrap_or_default().to_owned(), content))
}

/// Returns refusals as faults, in terms of what the host should do next.
fn accepted(response: Response, nothing_said: Reaction) -> Result<Response, Fault> {
    let said = words(&response);
    let is_the_cloud = name_of_cloud(&response).is_some();
    let fault = match response.status {
        200..=299 if is_the_cloud => return Ok(response),
        401 | 403 => Fault::denied("NAME.denied", said).detail("Is `key` in auth_data.yaml the key of this cloud?"),
        429 => Fault::retry("NAME.throttled", said),
        507 if is_the_cloud => Fault::no_capacity("NAME.full", said),
        500.. => Fault::new(nothing_said, "NAME.server-error", said),
        // A gateway, a portal, another program at this address: nothing follows from what it says.
        _ if !is_the_cloud => Fault::new(nothing_said, "NAME.not-the-cloud", format!("that is not the cloud's answer: {said}")),
        422 => Fault::give_up("NAME.bad-size", said).at("/size", "no such size here"),
        _ => Fault::give_up("NAME.refused", said),
    };
    Err(match response.retry_after() {
        Some(delay) => fault.retry_after(delay),
        None => fault,
    })
}

fn words(response: &Response) -> String {
    format!("the cloud answers with status {}: {}", response.status, response.text().chars().take(200).collect::<String>())
}

occopus_sdk::export_driver!(Plugin, inventory);
