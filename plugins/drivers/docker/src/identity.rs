//! Identity of the engine that answers, and the proof that it has no container of an id.
//!
//! Between this program and an engine there may be gateways that answer for it, and behind an endpoint there may be another
//! engine tomorrow. So a container counts as gone only when the engine on which it was created says so of the container's
//! id, in two answers that are independent of each other.

use std::time::Duration;

use occopus_sdk::http::{Response, encoded};
use occopus_sdk::{Fault, Handle, Reaction};
use serde::{Deserialize, Serialize};

use crate::container::Inspected;
use crate::engine::{Engine, message_of};

/// Version of handles that hold nothing but the container's id.
const HANDLE_VERSION_ID_ONLY: u32 = 1;
/// Version of handles that hold a [`Reference`] as JSON.
const HANDLE_VERSION_WITH_ENGINE: u32 = 2;
/// Time for which an engine's id is taken from the cache for new handles. Proofs of absence always request it.
const ENGINE_ID_CACHE_LIFETIME: Duration = Duration::from_secs(10);
/// Time for which the engine of a creation with an unknown outcome is remembered; the host keeps nothing longer.
const CREATION_CACHE_LIFETIME: Duration = Duration::from_secs(3600);

/// A container, and the engine on which it was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) container: String,
    /// Id of the engine; none if it does not send one, and in handles of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) engine: Option<String>,
}

/// Returns whether this can be the id of a container, as engines make them: it stands in paths and in handles.
pub(crate) fn is_id(text: &str) -> bool {
    const LONGEST: usize = 128;
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

impl Reference {
    /// Reads a handle of any version.
    pub(crate) fn read(handle: &Handle) -> Result<Self, Fault> {
        let unreadable =
            |why: String| Fault::give_up("docker.bad-handle", format!("a record of a container can't be read: {why}"));
        match handle.version {
            HANDLE_VERSION_ID_ONLY => Ok(Self { container: handle.data.clone(), engine: None }),
            HANDLE_VERSION_WITH_ENGINE => {
                serde_json::from_str(&handle.data).map_err(|error| unreadable(error.to_string()))
            }
            newer => Err(unreadable(format!("its version {newer} is newer than this driver"))),
        }
    }

    /// Returns the handle that the host keeps.
    pub(crate) fn handle(&self) -> Handle {
        Handle::new(HANDLE_VERSION_WITH_ENGINE, serde_json::json!(self).to_string())
    }
}

/// Presence of one container on an engine.
pub(crate) enum Presence {
    Present(Box<Inspected>),
    /// Absent: the answer names the container's id.
    Absent,
}

/// The part of `GET /info` that distinguishes engines.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info {
    #[serde(rename = "ID")]
    id: Option<String>,
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "DockerRootDir")]
    root: Option<String>,
}

impl Info {
    /// Returns what stays the same for as long as the engine keeps its containers.
    fn identity(self, podman: bool) -> Option<String> {
        let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        if podman {
            // Podman sends another `ID` in each answer.
            return Some(format!("podman {} {}", given(self.name)?, given(self.root)?));
        }
        given(self.id)
    }
}

impl Engine<'_> {
    /// Returns the engine's id for new handles; it may be some seconds old. None if a gateway forbids the request.
    pub(crate) fn id(&self) -> Result<Option<String>, Fault> {
        let known = self.scope.cache().get(&self.engine_id_cache_key()).and_then(|bytes| String::from_utf8(bytes).ok());
        known.map_or_else(|| self.identify(), |known| Ok(Some(known)))
    }

    /// Requests the engine's id. None if a gateway forbids it, as one that passes on only some calls does.
    pub(crate) fn identify(&self) -> Result<Option<String>, Fault> {
        let response = self.read("/info")?;
        match response.status {
            200 => {
                let podman = response.header("libpod-api-version").is_some();
                let info = response.json::<Info>().ok();
                let id = info
                    .and_then(|info| info.identity(podman))
                    .ok_or_else(|| self.foreign_answer_fault("GET /info", &response))?;
                self.scope.cache().put(&self.engine_id_cache_key(), id.as_bytes(), ENGINE_ID_CACHE_LIFETIME);
                Ok(Some(id))
            }
            403 => Ok(None),
            _ => Err(self.refusal_fault("say which engine it is", &response)),
        }
    }

    fn engine_id_cache_key(&self) -> String {
        format!("engine-id {}", self.scope.section.endpoint)
    }

    /// Checks that the engine that answered with this id is the one of a creation.
    ///
    /// # Errors
    /// `retry` if it is another one, `denied` if its id is unknown; nothing is concluded from its answers then.
    pub(crate) fn require_same(&self, created_on: Option<&str>, answering: Option<&str>) -> Result<(), Fault> {
        let Some(created_on) = created_on else { return Ok(()) };
        let endpoint = &self.scope.section.endpoint;
        match answering {
            Some(answering) if answering == created_on => Ok(()),
            Some(answering) => Err(Fault::retry(
                "docker.other-engine",
                format!(
                    "the Docker engine at {endpoint} ({answering}) is not the one on which the container was created \
                     ({created_on}), so nothing is known of the container"
                ),
            )
            .at("/endpoint", "does it lead to the engine on which the node was created?")),
            None => Err(Fault::denied(
                "docker.engine-unknown",
                format!(
                    "{endpoint} forbids requests for the engine's id, so it is not known whether it is the right one"
                ),
            )
            .at("/endpoint", "allow `GET /info`")),
        }
    }

    /// Inspects one container by its id.
    pub(crate) fn inspect(&self, container: &str) -> Result<Presence, Fault> {
        let response = self.read(&format!("/containers/{}/json", encoded(container)))?;
        match response.status {
            200 => match response.json::<Inspected>() {
                Ok(seen) if seen.id == container => Ok(Presence::Present(Box::new(seen))),
                _ => Err(self.foreign_answer_fault("GET /containers/ID/json", &response)),
            },
            404 if is_absence_of(&response, container) => Ok(Presence::Absent),
            _ => Err(self.refusal_fault("look at a container", &response)),
        }
    }

    /// Proves that a container that an answer lacked is not there: the engine of its creation says so of its id.
    ///
    /// # Errors
    /// Fails if it exists, or nothing is proven.
    pub(crate) fn prove_absence(&self, reference: &Reference) -> Result<(), Fault> {
        let answering = self.identify()?;
        self.require_same(reference.engine.as_deref(), answering.as_deref())?;
        self.require_absence(&reference.container)
    }

    /// Checks that the engine does not know the container.
    ///
    /// # Errors
    /// `retry` if it exists.
    pub(crate) fn require_absence(&self, container: &str) -> Result<(), Fault> {
        match self.inspect(container)? {
            Presence::Absent => Ok(()),
            Presence::Present(_) => {
                let message = format!("the Docker engine at {} still has the container", self.scope.section.endpoint);
                Err(Fault::retry("docker.still-there", message))
            }
        }
    }

    /// Remembers the engine of a creation whose outcome is unknown.
    pub(crate) fn remember_creation(&self, instance_id: &str, engine: Option<&str>, fault: Fault) -> Fault {
        if let (Reaction::UnknownOutcome, Some(engine)) = (fault.reaction, engine) {
            self.scope.cache().put(&creation_cache_key(instance_id), engine.as_bytes(), CREATION_CACHE_LIFETIME);
        }
        fault
    }

    /// Checks that the engine that answers got the creation of this instance, as far as that is remembered.
    pub(crate) fn require_engine_of_creation(&self, instance_id: &str) -> Result<(), Fault> {
        let answering = self.identify()?;
        let remembered = self.scope.cache().get(&creation_cache_key(instance_id));
        let remembered = remembered.and_then(|bytes| String::from_utf8(bytes).ok());
        self.require_same(remembered.as_deref(), answering.as_deref())
    }
}

fn creation_cache_key(instance_id: &str) -> String {
    format!("created-on {instance_id}")
}

/// Returns true if a refusal is an engine's own and says that this container does not exist. Docker writes `No such
/// container: ID`, Podman `no container with name or ID "ID" found: no such container`.
pub(crate) fn is_absence_of(response: &Response, container: &str) -> bool {
    let Some(message) = message_of(response) else { return false };
    !container.is_empty() && message.to_lowercase().contains("no such container") && message.contains(container)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn handles_of_both_versions_are_read() {
        let new = Reference { container: "ab".into(), engine: Some("e1".into()) };
        assert_eq!(Reference::read(&new.handle()).unwrap(), new);
        let old = Reference::read(&Handle::new(1, "ab")).unwrap();
        assert_eq!(old, Reference { container: "ab".into(), engine: None });
        assert_eq!(Reference::read(&old.handle()).unwrap(), old);
        for bad in [Handle::new(2, "ab"), Handle::new(3, "{}")] {
            assert_eq!(Reference::read(&bad).unwrap_err().reaction, Reaction::GiveUp);
        }
    }

    #[test]
    fn only_an_engine_that_names_the_container_says_that_it_is_absent() {
        let says = |body: &str| {
            is_absence_of(&Response { status: 404, headers: Vec::new(), body: body.as_bytes().to_vec() }, "ab12")
        };
        assert!(says(r#"{"message":"No such container: ab12"}"#));
        assert!(says(
            r#"{"cause":"no such container","message":"no container with name or ID \"ab12\" found: no such container","response":404}"#
        ));
        for stranger in [
            r#"{"message":"No such container: cd34"}"#,
            r#"{"message":"no Route matched with those values"}"#,
            r#"{"message":"not found: /containers/ab12"}"#,
            r#"{"message":{"text":"No such container: ab12"}}"#,
            "{}",
            "[]",
            "\"No such container: ab12\"",
            "No such container: ab12",
            "<!DOCTYPE html>",
            "",
        ] {
            assert!(!says(stranger), "{stranger}");
        }
    }

    #[test]
    fn engines_are_told_apart() {
        let identity = |value, podman| serde_json::from_value::<Info>(value).unwrap().identity(podman);
        assert_eq!(identity(json!({"ID": "ZOXF:5QUE"}), false).unwrap(), "ZOXF:5QUE");
        for nobody in [json!({}), json!({"ID": " "}), json!({"message": "hello"})] {
            assert_eq!(identity(nobody.clone(), false), None);
            assert_eq!(identity(nobody, true), None);
        }
        let podman = |id: &str| identity(json!({"ID": id, "Name": "host", "DockerRootDir": "/var/lib/c"}), true);
        assert!(podman("a").is_some());
        assert_eq!(podman("a"), podman("b"));
    }
}
