//! Client of one Docker engine: its address, the version of its API, and its refusals as faults.

use std::time::Duration;

use occopus_sdk::http::{HttpError, Request, Response};
use occopus_sdk::{Fault, Reaction, Scope};
use serde::Deserialize;

use crate::section::Section;

/// Version of the API that is used if the engine supports it. All that this driver uses is the same in every version
/// from 1.24 on. Engines refuse versions that are newer than they are, and lately also old ones.
const PREFERRED_API_VERSION: Version = Version(1, 44);
/// Time for which a version is cached. An engine may be upgraded while the host runs.
const VERSION_LIFETIME: Duration = Duration::from_secs(300);

/// A Docker engine.
pub(crate) struct Engine<'a> {
    pub(crate) scope: &'a Scope<Section>,
    /// URL with the version.
    base: String,
}

impl<'a> Engine<'a> {
    /// Agrees on a version with the engine, unless that was done a short while ago.
    pub(crate) fn connect(scope: &'a Scope<Section>) -> Result<Self, Fault> {
        let endpoint = &scope.section.endpoint;
        let root = scope.call().url_for(endpoint).map_err(|fault| {
            fault.at("/endpoint", "write `unix:///var/run/docker.sock` or `tcp://HOST:2375` (or http, https)")
        })?;
        let key = format!("api-version {endpoint}");
        let known = scope.cache().get(&key).and_then(|bytes| String::from_utf8(bytes).ok());
        let version = if let Some(version) = known {
            version
        } else {
            let engine = Self { scope, base: root.clone() };
            let version = engine.version()?;
            scope.cache().put(&key, version.as_bytes(), VERSION_LIFETIME);
            version
        };
        Ok(Self { scope, base: format!("{root}/v{version}") })
    }

    fn version(&self) -> Result<String, Fault> {
        let response = self.read("/version")?;
        if response.status != 200 {
            return Err(self.refusal_fault("say its version", &response));
        }
        let versions = response.json::<Versions>().ok().and_then(|versions| {
            let newest = Version::parse(&versions.newest)?;
            let oldest = versions.oldest.as_deref().and_then(Version::parse).unwrap_or(newest);
            Some(PREFERRED_API_VERSION.min(newest).max(oldest.min(newest)))
        });
        let Version(major, minor) = versions.ok_or_else(|| self.foreign_answer_fault("GET /version", &response))?;
        Ok(format!("{major}.{minor}"))
    }

    /// Sends a `GET`, which may be repeated if the answer is lost.
    pub(crate) fn read(&self, path: &str) -> Result<Response, Fault> {
        let request = self.scope.http().get(format!("{}{path}", self.base));
        request.send().map_err(|error| self.connection_fault(error, HttpError::of_reading))
    }

    /// Returns a `POST`; the caller must know the effect of a lost answer.
    pub(crate) fn post(&self, path: &str) -> Request {
        self.scope.http().post(format!("{}{path}", self.base))
    }

    /// Returns a `DELETE`.
    pub(crate) fn delete(&self, path: &str) -> Request {
        self.scope.http().delete(format!("{}{path}", self.base))
    }

    /// Sends a request that changes something: a lost answer is an unknown outcome.
    pub(crate) fn change(&self, request: Request) -> Result<Response, Fault> {
        request.send().map_err(|error| self.connection_fault(error, HttpError::of_change))
    }

    /// Returns the fault for an answer that did not come.
    pub(crate) fn connection_fault(&self, error: HttpError, typed: fn(HttpError, &str) -> Fault) -> Fault {
        let endpoint = &self.scope.section.endpoint;
        let mut fault = typed(error, "docker.unreachable");
        fault.message = format!("no answer from the Docker engine at {endpoint}: {}", fault.message);
        fault.at("/endpoint", "is this where the engine listens, and may this user connect to it?")
    }

    /// Returns the fault for an answer that is a refusal, of a call that only reads or that had no effect.
    ///
    /// A status that is not an engine's, or one without an engine's words, comes from something in between (a gateway,
    /// a page while the engine is away): it proves nothing about the engine, and the call may be repeated.
    pub(crate) fn refusal_fault(&self, doing: &str, response: &Response) -> Fault {
        let words = error_text(response);
        let message = format!("the Docker engine at {} can't {doing}: {words}", self.scope.section.endpoint);
        let fault = match response.status {
            _ if words.contains("no space left on device") => Fault::no_capacity("docker.no-space", message),
            401 | 403 => Fault::denied("docker.denied", message),
            429 | 500 | 502..=504 => Fault::retry("docker.engine-error", message),
            501 => Fault::unsupported("docker.unsupported", message),
            409 if is_refusal(response) => Fault::conflict("docker.conflict", message),
            400 | 405..=499 if is_refusal(response) => Fault::give_up("docker.refused", message),
            _ => self.foreign_answer_fault(&format!("the request to {doing}"), response),
        };
        match response.retry_after() {
            Some(delay) => fault.retry_after(delay),
            None => fault,
        }
    }

    /// Returns the fault for a refusal of a call that changes something. A gateway may have passed the call on before,
    /// so only the engine's own words prove that nothing happened.
    pub(crate) fn refused_change_fault(&self, doing: &str, response: &Response) -> Fault {
        let fault = self.refusal_fault(doing, response);
        let passed_on = matches!(response.status, 0..=399 | 502 | 504);
        let silent = response.status == 500 && !is_refusal(response);
        if passed_on || silent { Fault { reaction: Reaction::UnknownOutcome, ..fault } } else { fault }
    }

    /// Returns the fault for an answer that no Docker engine gives.
    pub(crate) fn foreign_answer_fault(&self, asked: &str, response: &Response) -> Fault {
        let endpoint = &self.scope.section.endpoint;
        let message = format!("the server at {endpoint} does not answer like a Docker engine");
        let said = format!("{asked} was answered with status {}: {}", response.status, error_text(response));
        Fault::retry("docker.no-engine", message).at("/endpoint", said)
    }
}

/// Returns the message of a refusal as engines write it; none if something else refuses.
pub(crate) fn message_of(response: &Response) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    response.json::<Refusal>().ok().map(|refusal| refusal.message)
}

fn is_refusal(response: &Response) -> bool {
    message_of(response).is_some()
}

/// Returns the engine's own words, at most a few lines of them.
pub(crate) fn error_text(response: &Response) -> String {
    truncate(&message_of(response).unwrap_or_else(|| response.text()))
}

pub(crate) fn truncate(text: &str) -> String {
    const MAX_CHARS: usize = 600;
    let text = text.trim();
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None if text.is_empty() => "(no explanation)".to_owned(),
        None => text.to_owned(),
    }
}

/// Versions in the answer to `GET /version`.
#[derive(Deserialize)]
struct Versions {
    #[serde(rename = "ApiVersion")]
    newest: String,
    #[serde(rename = "MinAPIVersion")]
    oldest: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}
