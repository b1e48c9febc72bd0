//! Calls of Azure Resource Manager, with a token.

use std::cell::RefCell;

use occopus_sdk::http::{Http, HttpError, Response, encoded};
use occopus_sdk::{Cache, Credential, Fault, Reaction, Scope};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cloud::{Cloud, endpoint_mistake};
use crate::codes::Subject;
use crate::credentials::Identity;
use crate::error::ArmError;
use crate::link;
use crate::reaction;
use crate::token::{Login, Origin, Token};

/// Code of an answer that is not Azure's.
pub const NOT_AZURE_CODE: &str = "azure.not-azure";

/// Length from which a token is looked for in messages. Real ones have more than a thousand bytes.
const MIN_TOKEN_BYTES: usize = 16;

/// Possible effect of a call whose answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Effect excluded: the call only reads, or may be repeated.
    None,
    /// Effect possible: Azure may have acted.
    Possible,
}

/// Purpose of a session, which says what an answer that is not Azure's means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A machine is to be made: the user's endpoint is wrong.
    Creating,
    /// Machines may exist: what answers in the place of Azure may go away again.
    Existing,
}

/// A request, below the management host.
#[derive(Debug, Clone)]
#[must_use = "a call does nothing until it is sent"]
pub struct Call {
    method: &'static str,
    target: Target,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
    effect: Effect,
}

#[derive(Debug, Clone)]
enum Target {
    /// Path below the endpoint.
    Path(String),
    /// Path and query as Azure gave them, from the root of the host.
    Link(String),
}

impl Call {
    fn new(method: &'static str, path: &str, api_version: &str) -> Self {
        let query = vec![("api-version", api_version.to_owned())];
        Self {
            method,
            target: Target::Path(path.to_owned()),
            query,
            headers: Vec::new(),
            body: None,
            effect: Effect::None,
        }
    }

    /// Returns a call that reads.
    pub fn get(path: &str, api_version: &str) -> Self {
        Self::new("GET", path, api_version)
    }

    /// Returns a call that makes or changes a resource by its name, and may be repeated.
    pub fn put(path: &str, api_version: &str, body: Value) -> Self {
        Self { body: Some(body), ..Self::new("PUT", path, api_version) }
    }

    /// Returns a call that changes parts of a resource, and may be repeated.
    pub fn patch(path: &str, api_version: &str, body: Value) -> Self {
        Self { body: Some(body), ..Self::new("PATCH", path, api_version) }
    }

    /// Returns a call of an action of a resource.
    pub fn post(path: &str, api_version: &str) -> Self {
        Self::new("POST", path, api_version)
    }

    /// Returns a call that deletes a resource, and may be repeated.
    pub fn delete(path: &str, api_version: &str) -> Self {
        Self::new("DELETE", path, api_version)
    }

    /// Returns a call that reads what a link of Azure names, by path and query ([`Arm::page`], [`Arm::operation_of`]).
    pub fn follow(link: &str) -> Self {
        Self { target: Target::Link(link.to_owned()), query: Vec::new(), ..Self::new("GET", "", "") }
    }

    /// Adds a parameter to the query.
    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Says that a lost answer leaves the outcome unknown: the call makes a machine.
    pub fn may_have_effect(self) -> Self {
        Self { effect: Effect::Possible, ..self }
    }
}

/// Azure Resource Manager, after the log-in.
pub struct Arm<'a> {
    endpoint: &'a str,
    cloud: Cloud,
    identity: Identity,
    credential: Option<&'a Credential>,
    cache: Cache,
    call: &'a occopus_sdk::Call,
    http: Box<dyn Fn() -> Http + 'a>,
    token: RefCell<Token>,
    purpose: Purpose,
    pointer: fn(Subject) -> &'static str,
}

impl<'a> Arm<'a> {
    /// Logs in, or takes the token of an earlier call. `pointer` says which key of the driver's section a subject is; empty
    /// if none is.
    ///
    /// # Errors
    /// `denied` without good credentials, `give-up` if the endpoint is not Azure's, `retry` if it may be later.
    pub fn new<S>(
        scope: &'a Scope<S>,
        endpoint: &'a str,
        purpose: Purpose,
        pointer: fn(Subject) -> &'static str,
    ) -> Result<Self, Fault> {
        let example = "write https://management.azure.com, or the management host of your cloud";
        let url = scope.call().url_for(endpoint).map_err(|fault| fault.at("/endpoint", example))?;
        if let Some(mistake) = endpoint_mistake(&url) {
            let message =
                format!("no secret is sent to {endpoint}: that is not the management host of a cloud of Azure");
            return Err(Fault::give_up("azure.bad-endpoint", message).at("/endpoint", mistake));
        }
        let cloud = Cloud::of(&url);
        let credential = scope.credential();
        let identity = Identity::of(credential, endpoint)?;
        let http = Box::new(|| scope.http());
        let login = Login { cloud: &cloud, identity: &identity, credential, cache: scope.cache(), endpoint };
        let token = RefCell::new(login.token(http()).map_err(|fault| for_purpose(purpose, fault))?);
        Ok(Self {
            endpoint,
            cloud,
            identity,
            credential,
            cache: scope.cache(),
            call: scope.call(),
            http,
            token,
            purpose,
            pointer,
        })
    }

    /// Returns the id of the subscription.
    pub fn subscription(&self) -> &str {
        &self.identity.subscription
    }

    /// Returns the endpoint as the user wrote it.
    pub fn endpoint(&self) -> &str {
        self.endpoint
    }

    /// Returns the URLs of the cloud.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// Returns the call in progress.
    pub fn call(&self) -> &occopus_sdk::Call {
        self.call
    }

    /// Returns the host's memory across calls.
    pub fn cache(&self) -> Cache {
        self.cache
    }

    /// Returns the path of a resource group, which is also its id.
    pub fn group(&self, group: &str) -> String {
        format!("/subscriptions/{}/resourceGroups/{}", encoded(self.subscription()), encoded(group))
    }

    /// Returns the path of a resource, which is also its id. `kind` is a type such as `Microsoft.Compute/virtualMachines`.
    /// An empty name makes the path of the list.
    pub fn in_group(&self, group: &str, kind: &str, name: &str) -> String {
        let list = format!("{}/providers/{kind}", self.group(group));
        if name.is_empty() { list } else { format!("{list}/{}", encoded(name)) }
    }

    /// Returns the path of the list of all resources of a type in the subscription.
    pub fn in_subscription(&self, kind: &str) -> String {
        format!("/subscriptions/{}/providers/{kind}", encoded(self.subscription()))
    }

    /// Sends a call; returns the answer if it is a success. Logs in again if Azure no longer takes the token.
    ///
    /// # Errors
    /// The fault that the table of codes has for the refusal.
    pub fn send(&self, call: &Call) -> Result<Response, Fault> {
        let mut response = self.attempt(call)?;
        // Nothing was done, so it may be done again.
        if response.status == 401 && matches!(self.token.borrow().origin, Origin::Cached | Origin::Accepted) {
            let token = self.login().request((self.http)()).map_err(|fault| for_purpose(self.purpose, fault))?;
            self.token.replace(token);
            response = self.attempt(call)?;
        }
        if response.status != 401 && self.token.borrow().origin == Origin::Fresh {
            self.token.borrow_mut().origin = Origin::Accepted;
        }
        if response.is_success() { Ok(response) } else { Err(self.refusal(call, &response)) }
    }

    /// Sends a call, and reads the content of the answer.
    ///
    /// # Errors
    /// As [`Arm::send`]; also if the answer has another shape.
    pub fn read<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Fault> {
        let response = self.send(call)?;
        response.json().map_err(|error| self.unreadable(call.effect, &error.to_string()))
    }

    /// Reads a resource; none if Azure says of its own accord that it does not exist.
    ///
    /// # Errors
    /// As [`Arm::read`].
    pub fn read_if_there<T: DeserializeOwned>(&self, call: &Call) -> Result<Option<T>, Fault> {
        match self.read(call) {
            Ok(found) => Ok(Some(found)),
            Err(fault) if fault.reaction == Reaction::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Deletes a resource; none if Azure says of its own accord that it does not exist. The answer may name an operation.
    ///
    /// # Errors
    /// As [`Arm::send`]; `retry` if something answered in the place of Azure.
    pub fn remove(&self, call: &Call) -> Result<Option<Response>, Fault> {
        match self.send(call) {
            Err(fault) if fault.reaction == Reaction::NotFound => Ok(None),
            Err(fault) => Err(fault),
            Ok(response) if !is_azures(&response) => {
                Err(self.unreadable(Effect::None, "nothing in it shows that Azure sent it"))
            }
            Ok(response) if response.status == 204 => Ok(None),
            Ok(response) => Ok(Some(response)),
        }
    }

    /// Returns the fault of an error, as it came in an operation that failed, or in a resource.
    pub fn failure(&self, error: &ArmError) -> Fault {
        let fault = reaction::fault(self.endpoint, error, 200, Effect::None, self.pointer);
        // It did not come with a status that would say so.
        if fault.reaction == Reaction::NotFound { Fault { reaction: Reaction::GiveUp, ..fault } } else { fault }
    }

    /// Returns the fault of an answer with another content than expected.
    pub fn unreadable(&self, effect: Effect, why: &str) -> Fault {
        let message = format!("Azure at {} sent an answer that can't be read: {why}", self.endpoint);
        let fault = match effect {
            Effect::None => Fault::retry("azure.bad-answer", message),
            Effect::Possible => Fault::unknown_outcome("azure.bad-answer", message),
        };
        self.without_token(fault)
    }

    /// Takes the token out of a fault: an answer may repeat what it was sent.
    fn without_token(&self, mut fault: Fault) -> Fault {
        let header = self.token.borrow().header.clone();
        let token = header.strip_prefix("Bearer ").unwrap_or_default();
        if token.len() >= MIN_TOKEN_BYTES {
            let texts = [&mut fault.message, &mut fault.code].into_iter();
            for text in texts.chain(fault.details.iter_mut().map(|detail| &mut detail.message)) {
                *text = text.replace(token, "<token>");
            }
        }
        fault
    }

    fn login(&self) -> Login<'_> {
        let Self { cloud, identity, credential, cache, endpoint, .. } = self;
        Login { cloud, identity, credential: *credential, cache: *cache, endpoint }
    }

    fn attempt(&self, call: &Call) -> Result<Response, Fault> {
        let url = match &call.target {
            // The host's name must end where it does.
            Target::Path(path) => format!("{}/{}", self.cloud.management, path.trim_start_matches('/')),
            Target::Link(link) => link::at_origin(&self.cloud.management, link),
        };
        let token = self.token.borrow().header.clone();
        let mut request = (self.http)().request(call.method, url).header("authorization", token);
        request = request.header("accept", "application/json");
        for (name, value) in &call.query {
            request = request.query(name, value);
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        request.send().map_err(|error| self.connection_fault(call.effect, error))
    }

    fn connection_fault(&self, effect: Effect, error: HttpError) -> Fault {
        let mut fault = match effect {
            Effect::None => error.of_reading("azure.unreachable"),
            Effect::Possible => error.of_change("azure.unreachable"),
        };
        fault.message = format!("no answer from Azure at {}: {}", self.endpoint, fault.message);
        fault.at("/endpoint", "is this the management host of Azure?")
    }

    fn refusal(&self, call: &Call, response: &Response) -> Fault {
        let effect = call.effect;
        if matches!(response.status, 300..=399) {
            let target = response.header("location").unwrap_or("another place");
            let message = format!("{} redirects to {target}; tokens are not sent there", self.endpoint);
            return Fault::give_up("azure.redirect", message).at("/endpoint", "if that is Azure, write its URL here");
        }
        let Some(error) = ArmError::of(response).filter(|_| response.status != 404 || is_azures(response)) else {
            return with_ids(for_purpose(self.purpose, self.foreign(effect, response)), response);
        };
        let mut fault = reaction::fault(self.endpoint, &error, response.status, effect, self.pointer);
        // A card that is reserved after a failure is free again in minutes.
        if call.method == "PUT" && reaction::is_in_use(&fault) && !error.has("NicReservedForAnotherVm") {
            fault = reaction::taken(fault, self.pointer);
        }
        if response.status == 401 && self.token.borrow().origin == Origin::Given {
            fault = fault.detail("`access_token` in auth_data.yaml has ended, or is not for this host: get a new one.");
        }
        self.without_token(with_ids(reaction::delayed(fault, response), response))
    }

    /// Returns the fault of a refusal without an error of Azure: a gateway's, or another program's.
    fn foreign(&self, effect: Effect, response: &Response) -> Fault {
        let (endpoint, status) = (self.endpoint, response.status);
        let message = format!("{endpoint} answers with status {status}, and not with an error of Azure");
        let fault = match status {
            429 => return reaction::delayed(Fault::retry("azure.throttled", message), response),
            401 | 403 => Fault::denied("azure.denied", message),
            500.. if effect == Effect::Possible => Fault::unknown_outcome("azure.server-error", message),
            500.. => Fault::retry("azure.server-error", message),
            _ => Fault::give_up(NOT_AZURE_CODE, message).at("/endpoint", "is this the management host of Azure?"),
        };
        reaction::delayed(fault, response)
    }
}

/// Returns a fault of an answer that is not Azure's, as the purpose of the session has it.
fn for_purpose(purpose: Purpose, fault: Fault) -> Fault {
    match fault.code.as_str() {
        NOT_AZURE_CODE if purpose == Purpose::Existing => Fault { reaction: Reaction::Retry, ..fault },
        _ => fault,
    }
}

/// Headers of which Azure Resource Manager sends at least one with every answer.
const ID_HEADERS: [(&str, &str); 4] = [
    ("x-ms-correlation-request-id", "correlation id"),
    ("x-ms-request-id", "request id"),
    ("x-ms-routing-request-id", "routing request id"),
    ("x-ms-arm-service-request-id", "request id of the service"),
];

/// Returns true for an answer that Azure Resource Manager sent: others answer 404 in JSON, too.
pub(crate) fn is_azures(response: &Response) -> bool {
    ID_HEADERS.iter().any(|(name, _)| response.header(name).is_some())
}

/// Adds Azure's ids of a request.
fn with_ids(mut fault: Fault, response: &Response) -> Fault {
    for (name, words) in &ID_HEADERS[..2] {
        if let Some(id) = response.header(name) {
            fault = fault.detail(format!("{words} {id}"));
        }
    }
    fault
}
