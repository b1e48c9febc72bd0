//! Calls of the API of one location (<https://docs.cloudsigma.com/en/latest/api.html>).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::fmt::rfc2822::DateTimeParser;
use occopus_sdk::http::Response;
use occopus_sdk::{Fault, Reaction, Scope};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value;

use crate::refusal::{self, NOT_CLOUDSIGMA_CODE};
use crate::section::Section;

/// Pauses before a request is repeated that CloudSigma refused since something else was changing the same resource.
const CONCURRENCY_PAUSES: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_millis(700), Duration::from_millis(1500)];

/// Possible effect of a call whose answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Effect excluded: the call only reads, or may be repeated.
    None,
    /// Effect possible: CloudSigma may have made something.
    Possible,
}

/// A request below the endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ApiRequest<'t> {
    pub(crate) method: &'static str,
    pub(crate) path: &'t str,
    pub(crate) query: &'t [(&'t str, &'t str)],
    pub(crate) body: Option<&'t Value>,
    pub(crate) effect: Effect,
    /// Place in the section that refusals are about.
    pub(crate) pointer: &'static str,
}

impl<'t> ApiRequest<'t> {
    pub(crate) fn new(method: &'static str, path: &'t str) -> Self {
        Self { method, path, query: &[], body: None, effect: Effect::None, pointer: "" }
    }
}

/// The account that requests are made in.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) id: String,
    /// Seconds since 1970, by CloudSigma's clock.
    pub(crate) now: u64,
}

#[derive(Deserialize)]
struct Profile {
    #[serde(deserialize_with = "id")]
    uuid: String,
    email: String,
}

/// The API of a location.
pub(crate) struct Cloud<'a> {
    pub(crate) section: &'a Section,
    pub(crate) scope: &'a Scope<Section>,
    /// URL without a slash at its end.
    url: String,
    authorization: String,
}

/// Reads an id, which stands in paths and in handles: not empty, not long, and without spaces.
pub(crate) fn id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    if is_id(&id) { Ok(id) } else { Err(D::Error::custom("it has no id that can be used")) }
}

pub(crate) fn is_id(text: &str) -> bool {
    const LONGEST: usize = 64;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    is_plain && (1..=LONGEST).contains(&text.len())
}

impl<'a> Cloud<'a> {
    pub(crate) fn new(scope: &'a Scope<Section>) -> Result<Self, Fault> {
        let section = &scope.section;
        let url = scope.call().url_for(&section.endpoint).map_err(|fault| {
            fault.at("/endpoint", "write the URL of the API, such as https://zrh.cloudsigma.com/api/2.0")
        })?;
        let credential = scope.credential().ok_or_else(|| {
            Fault::denied("cloudsigma.no-credential", format!("there are no credentials for {}", section.endpoint))
                .detail("Add a rule for it to auth_data.yaml, with `email` and `password`.")
        })?;
        let email = credential.public("email").unwrap_or_default();
        let authorization = format!("Basic {}", credential.require("password")?.basic(&email));
        Ok(Self { section, scope, url: url.trim_end_matches('/').to_owned(), authorization })
    }

    /// Returns the host of the API, without its port.
    pub(crate) fn location(&self) -> &str {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        match host.find(']') {
            Some(end) => host.get(..=end).unwrap_or(host),
            None => host.split(':').next().unwrap_or_default(),
        }
    }

    /// Returns the account, as CloudSigma names it in this call.
    pub(crate) fn account(&self) -> Result<Account, Fault> {
        let call = ApiRequest::new("GET", "/profile/");
        let response = self.send(&call)?;
        let profile: Profile = response.json().map_err(|error| self.unreadable_fault(&call, &error.to_string()))?;
        if !profile.email.contains('@') {
            return Err(self.unreadable_fault(&call, "it is not a profile"));
        }
        let answered = || DateTimeParser::new().parse_timestamp(response.header("date")?).ok();
        let now = answered().and_then(|time| u64::try_from(time.as_second()).ok());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Ok(Account { id: profile.uuid, now: now.unwrap_or_else(clock) })
    }

    /// Returns the account, before anything is made in it.
    pub(crate) fn account_for_creation(&self) -> Result<Account, Fault> {
        self.account().map_err(|fault| match fault.code.as_str() {
            NOT_CLOUDSIGMA_CODE => Fault { reaction: Reaction::GiveUp, ..fault }
                .at("/endpoint", "is this the URL of the API? It looks like https://zrh.cloudsigma.com/api/2.0"),
            _ => fault,
        })
    }

    /// Sends a request; returns the answer if it is a success. Repeats it for a while if something else was changing the
    /// same resource.
    pub(crate) fn send(&self, call: &ApiRequest) -> Result<Response, Fault> {
        let mut pauses = CONCURRENCY_PAUSES.into_iter();
        loop {
            let response = self.attempt(call)?;
            if response.is_success() {
                return Ok(response);
            }
            let fault = refusal::fault(self.section, call, &response);
            match pauses.next() {
                Some(pause) if fault.code == refusal::CONCURRENCY_CODE && !self.scope.call().cancelled() => {
                    self.scope.call().wait(pause);
                }
                _ => return Err(fault),
            }
        }
    }

    /// Sends a request, and reads the content of the answer.
    pub(crate) fn read<T: DeserializeOwned>(&self, call: &ApiRequest) -> Result<T, Fault> {
        let response = self.send(call)?;
        response.json().map_err(|error| self.unreadable_fault(call, &error.to_string()))
    }

    /// Reads one thing; none if CloudSigma says that it does not exist.
    pub(crate) fn read_if_exists<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Fault> {
        match self.read(&ApiRequest::new("GET", path)) {
            Ok(found) => Ok(Some(found)),
            Err(fault) if fault.reaction == Reaction::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Sends a deletion; false if CloudSigma says that it does not exist.
    pub(crate) fn delete(&self, path: &str) -> Result<bool, Fault> {
        let call = ApiRequest::new("DELETE", path);
        match self.send(&call) {
            Err(fault) if fault.reaction == Reaction::NotFound => Ok(false),
            Err(fault) => Err(fault),
            Ok(response) if response.status == 204 || response.body.is_empty() => Ok(true),
            // A page of something in between, which has deleted nothing.
            Ok(_) => Err(self.unreadable_fault(&call, "there should be nothing in it")),
        }
    }

    pub(crate) fn unreadable_fault(&self, call: &ApiRequest, why: &str) -> Fault {
        let message = format!("the API at {} sent an answer that can't be read: {why}", self.section.endpoint);
        match call.effect {
            Effect::None => Fault::retry(NOT_CLOUDSIGMA_CODE, message),
            Effect::Possible => Fault::unknown_outcome(NOT_CLOUDSIGMA_CODE, message),
        }
    }

    fn attempt(&self, call: &ApiRequest) -> Result<Response, Fault> {
        let mut request = self.scope.http().request(call.method, format!("{}{}", self.url, call.path));
        request = request.header("authorization", &self.authorization).header("accept", "application/json");
        for (name, value) in call.query {
            request = request.query(name, value);
        }
        if let Some(body) = call.body {
            request = request.json(body);
        }
        request.send().map_err(|error| {
            let mut fault = match call.effect {
                Effect::None => error.of_reading("cloudsigma.unreachable"),
                Effect::Possible => error.of_change("cloudsigma.unreachable"),
            };
            fault.message = format!("no answer from the API at {}: {}", self.section.endpoint, fault.message);
            fault
        })
    }
}
