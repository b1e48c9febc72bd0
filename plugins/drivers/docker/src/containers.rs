//! What is asked of an engine about containers.

use std::collections::HashMap;
use std::time::Duration;

use occopus_sdk::http::encoded;
use occopus_sdk::{Fault, Handle, Observed, Phase, Reaction};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::container::{Container, INSTANCE, NewContainer};
use crate::engine::{Engine, words};

/// Ids in one query: 73 bytes each, and proxies take lines of 8 KiB.
const OBSERVED_AT_ONCE: usize = 100;
const PAGE: usize = 500;
/// An engine lists a container a moment after it has begun to create it.
const SETTLING: Duration = Duration::from_millis(500);

/// How the engine answers a creation.
pub(crate) enum Created {
    New(String),
    NameTaken,
    NoImage,
}

impl Engine<'_> {
    pub(crate) fn create(&self, name: &str, container: &NewContainer) -> Result<Created, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            id: String,
        }
        let request = self.post(&format!("/containers/create?name={}", encoded(name))).json(container);
        let response = self.change(request)?;
        match response.status {
            201 => response.json::<Answer>().map(|answer| Created::New(answer.id)).map_err(|error| {
                let message = format!("the Docker engine's answer to a creation can't be read: {error}");
                Fault::unknown_outcome("docker.bad-answer", message)
            }),
            404 => Ok(Created::NoImage),
            409 => Ok(Created::NameTaken),
            // Podman's way to say the same.
            500 if words(&response).contains("already in use") => Ok(Created::NameTaken),
            _ => Err(explained(self.refusal("create a container", &response))),
        }
    }

    /// The container that has the name of ours: its id, and whether it was ever started.
    pub(crate) fn adopt(&self, name: &str, instance_id: &str) -> Result<(String, bool), Fault> {
        let response = self.read(&format!("/containers/{}/json", encoded(name)))?;
        match response.status {
            // It is on its way in or out.
            404 => Err(Fault::retry("docker.name-busy", format!("the name `{name}` is in use, by no container yet"))),
            200 => {
                let seen: Value = response.json().unwrap_or_default();
                let id = seen["Id"].as_str().unwrap_or_default();
                if id.is_empty() || seen["Config"]["Labels"][INSTANCE] != instance_id {
                    let message = format!("a container with the name `{name}` exists and is not ours");
                    return Err(Fault::conflict("docker.name-taken", message));
                }
                let state = seen["State"]["Status"].as_str().unwrap_or_default();
                Ok((id.to_owned(), !Container::is_new(state)))
            }
            _ => Err(self.refusal("look at a container", &response)),
        }
    }

    /// Starts a container; ok when it runs already. Whatever else, it is there.
    pub(crate) fn start(&self, id: &str) -> Result<(), Fault> {
        let response = self.change(self.post(&format!("/containers/{}/start", encoded(id)))).map_err(|mut fault| {
            fault.reaction = Reaction::UnknownOutcome;
            fault
        })?;
        match response.status {
            204 | 304 => Ok(()),
            status => {
                let mut fault = self.refusal("start the container", &response);
                let refused = (400..500).contains(&status) && fault.reaction != Reaction::Retry;
                if refused || words(&response).contains("OCI runtime") {
                    fault.reaction = Reaction::GiveUp;
                    fault.code = "docker.start-failed".to_owned();
                }
                Err(explained(fault))
            }
        }
    }

    /// Starts what has just been created. When that fails nothing is left behind.
    pub(crate) fn start_or_remove(&self, id: &str) -> Result<(), Fault> {
        self.start(id).map_err(|fault| match fault.reaction {
            Reaction::UnknownOutcome => fault,
            _ => match self.remove(id) {
                Ok(()) => fault,
                Err(removal) => Fault { reaction: Reaction::UnknownOutcome, ..fault.detail(removal.message) },
            },
        })
    }

    /// Kills and removes a container with its anonymous volumes.
    pub(crate) fn remove(&self, id: &str) -> Result<(), Fault> {
        let request = self.delete(&format!("/containers/{}?force=true&v=true", encoded(id)));
        let response = self.change(request)?;
        match response.status {
            204 => Ok(()),
            200 | 404 if response.json::<serde_json::Value>().is_ok() => Ok(()),
            // A page of something in between, which has removed nothing.
            200 | 404 => Err(Fault { reaction: Reaction::Retry, ..self.refusal("remove the container", &response) }),
            409 if words(&response).contains("already in progress") => Ok(()),
            409 => Err(Fault { reaction: Reaction::Retry, ..self.refusal("remove the container", &response) }),
            _ => Err(self.refusal("remove the container", &response)),
        }
    }

    pub(crate) fn observe(&self, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        let mut seen = HashMap::with_capacity(handles.len());
        for some in handles.chunks(OBSERVED_AT_ONCE) {
            let ids: Vec<&str> = some.iter().map(|handle| handle.data.as_str()).collect();
            let listed = self.list(&json!({"id": ids}), None)?;
            seen.extend(listed.into_iter().map(|container| (container.id.clone(), container)));
        }
        let of = |handle: &Handle| match seen.get(&handle.data) {
            Some(container) => container.observed(),
            None => Observed::new(handle.clone(), Phase::Gone),
        };
        Ok(handles.iter().map(of).collect())
    }

    pub(crate) fn by_instance(&self, instance_id: &str) -> Result<Option<Container>, Fault> {
        let listed = self.list(&json!({"label": [format!("{INSTANCE}={instance_id}")]}), None)?;
        Ok(listed.into_iter().next())
    }

    /// The same, once nothing is on its way: a creation whose connection broke may still be in the engine's hands.
    pub(crate) fn settled(&self, instance_id: &str) -> Result<Option<Container>, Fault> {
        if let Some(container) = self.by_instance(instance_id)? {
            return Ok(Some(container));
        }
        std::thread::sleep(SETTLING);
        self.by_instance(instance_id)
    }

    /// Containers with our mark, newest first, and the cursor for the rest.
    pub(crate) fn marked(&self, cursor: Option<&str>) -> Result<(Vec<Container>, Option<String>), Fault> {
        let listed = match cursor {
            None => self.list(&json!({"label": [INSTANCE]}), Some(PAGE))?,
            Some(last) => match self.list(&json!({"label": [INSTANCE], "before": [last]}), Some(PAGE)) {
                Ok(listed) => listed,
                // The container that the cursor names is gone, so where to go on is not known: all of the rest is within
                // all of them.
                Err(fault) if fault.message.to_lowercase().contains("no such container") => {
                    return Ok((self.list(&json!({"label": [INSTANCE]}), None)?, None));
                }
                Err(fault) => return Err(fault),
            },
        };
        let more = listed.len() == PAGE;
        let cursor = listed.last().filter(|_| more).map(|last| last.id.clone());
        Ok((listed, cursor))
    }

    fn list(&self, filters: &Value, limit: Option<usize>) -> Result<Vec<Container>, Fault> {
        let limit = limit.map_or(String::new(), |limit| format!("&limit={limit}"));
        let response =
            self.read(&format!("/containers/json?all=true{limit}&filters={}", encoded(&filters.to_string())))?;
        if !response.is_success() {
            return Err(self.refusal("list its containers", &response));
        }
        response.json().map_err(|error| {
            Fault::retry("docker.bad-answer", format!("the Docker engine's list of containers can't be read: {error}"))
        })
    }
}

/// Nothing but a change by the user helps.
pub(crate) fn is_final(fault: &Fault) -> bool {
    matches!(fault.reaction, Reaction::GiveUp | Reaction::Unsupported)
}

/// Adds what the user can do about refusals that concern the command.
fn explained(fault: Fault) -> Fault {
    let message = &fault.message;
    if message.contains("No command specified") {
        fault.detail("The image has no command of its own: write `command` in the contextualisation section.")
    } else if message.contains("executable file not found") || message.contains("no such file or directory") {
        fault.detail("Is `command` in the contextualisation section a program of the image?")
    } else if message.contains("permission denied") {
        fault.detail("Is `command` in the contextualisation section executable in the image?")
    } else if message.contains("invalid reference format") {
        fault.at("/image", "this is no name of an image: small letters, and a tag without spaces")
    } else {
        fault
    }
}
