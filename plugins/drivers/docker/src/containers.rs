//! Calls of an engine that create, start, remove and list containers.

use std::time::Duration;

use occopus_sdk::http::encoded;
use occopus_sdk::{Fault, Reaction};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::container::{Container, INSTANCE_LABEL, Inspected, NewContainer};
use crate::engine::{Engine, error_text, message_of};
use crate::identity::{Reference, is_absence_of, is_id};
use crate::output;

const PAGE_SIZE: usize = 500;
/// Delay after which an engine lists a container that it has begun to create.
const SETTLE_DELAY: Duration = Duration::from_millis(500);

/// Answers of the engine to a creation.
pub(crate) enum CreateOutcome {
    New(String),
    NameTaken,
    NoImage,
}

impl Engine<'_> {
    pub(crate) fn create(&self, name: &str, container: &NewContainer) -> Result<CreateOutcome, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            id: String,
        }
        let request = self.post(&format!("/containers/create?name={}", encoded(name))).json(container);
        let response = self.change(request)?;
        let said = message_of(&response).unwrap_or_default().to_lowercase();
        match response.status {
            201 => {
                let answer = response.json::<Answer>().map_err(|error| error.to_string());
                let id =
                    answer.and_then(|answer| is_id(&answer.id).then_some(answer.id).ok_or("it has no id".to_owned()));
                id.map(CreateOutcome::New).map_err(|why| {
                    let message = format!("the Docker engine's answer to a creation can't be read: {why}");
                    Fault::unknown_outcome("docker.bad-answer", message)
                })
            }
            // Docker's words, and Podman's.
            404 if said.contains("no such image") || said.contains("image not known") => Ok(CreateOutcome::NoImage),
            409 if !said.is_empty() => Ok(CreateOutcome::NameTaken),
            // Podman's way to say the same.
            500 if said.contains("already in use") => Ok(CreateOutcome::NameTaken),
            _ => Err(with_command_hint(self.refused_change_fault("create a container", &response))),
        }
    }

    /// Adopts the container that has the name of ours; returns its id, and true if it was ever started.
    pub(crate) fn adopt(&self, name: &str, instance_id: &str) -> Result<(String, bool), Fault> {
        let response = self.read(&format!("/containers/{}/json", encoded(name)))?;
        match response.status {
            // It is being created or removed.
            404 => Err(Fault::retry("docker.name-busy", format!("the name `{name}` is in use, by no container yet"))),
            200 => {
                let seen = response.json::<Inspected>().ok().filter(|seen| is_id(&seen.id));
                let seen = seen.ok_or_else(|| self.foreign_answer_fault("GET /containers/NAME/json", &response))?;
                if seen.instance() != Some(instance_id) {
                    let message = format!("a container with the name `{name}` exists and is not ours");
                    return Err(Fault::conflict("docker.name-taken", message));
                }
                Ok((seen.id.clone(), !seen.never_started()))
            }
            _ => Err(self.refusal_fault("look at a container", &response)),
        }
    }

    /// Starts a container; succeeds if it runs already. It exists after a fault too, unless that is `not-found`.
    pub(crate) fn start(&self, id: &str) -> Result<(), Fault> {
        let response = self.change(self.post(&format!("/containers/{}/start", encoded(id)))).map_err(|mut fault| {
            fault.reaction = Reaction::UnknownOutcome;
            fault
        })?;
        match response.status {
            204 | 304 => Ok(()),
            404 if is_absence_of(&response, id) => Err(Fault::not_found("docker.not-found", error_text(&response))),
            status => {
                let mut fault = self.refused_change_fault("start the container", &response);
                let refused = (400..500).contains(&status) && fault.reaction != Reaction::Retry;
                if refused || error_text(&response).contains("OCI runtime") {
                    fault.reaction = Reaction::GiveUp;
                    fault.code = "docker.start-failed".to_owned();
                }
                Err(with_command_hint(fault))
            }
        }
    }

    /// Starts a container that has just been created, and removes it if that fails.
    pub(crate) fn start_or_remove(&self, reference: &Reference) -> Result<(), Fault> {
        self.start(&reference.container).map_err(|fault| match fault.reaction {
            Reaction::UnknownOutcome => fault,
            _ => match self.remove(reference) {
                // It was removed before it was started: it may be created again.
                Ok(()) if fault.reaction == Reaction::NotFound => Fault { reaction: Reaction::Retry, ..fault },
                Ok(()) => fault,
                Err(removal) => Fault { reaction: Reaction::UnknownOutcome, ..fault.detail(removal.message) },
            },
        })
    }

    /// Kills and removes a container with its anonymous volumes, and makes sure that it is gone.
    pub(crate) fn remove(&self, reference: &Reference) -> Result<(), Fault> {
        const DOING: &str = "remove the container";
        let id = &reference.container;
        let response = self.change(self.delete(&format!("/containers/{}?force=true&v=true", encoded(id))))?;
        match response.status {
            // A gateway may answer so too, and has removed nothing.
            200 | 204 => self.require_absence(id),
            404 if is_absence_of(&response, id) => self.prove_absence(reference),
            409 if error_text(&response).contains("already in progress") => {
                self.scope.call().wait(SETTLE_DELAY);
                self.prove_absence(reference)
            }
            409 => Err(Fault { reaction: Reaction::Retry, ..self.refusal_fault(DOING, &response) }),
            _ => Err(self.refused_change_fault(DOING, &response)),
        }
    }

    /// Lists the containers of an instance, oldest first.
    pub(crate) fn by_instance(&self, instance_id: &str) -> Result<Vec<Container>, Fault> {
        let mut listed = self.list(&json!({"label": [format!("{INSTANCE_LABEL}={instance_id}")]}), None)?;
        listed.retain(|container| container.instance() == Some(instance_id));
        listed.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(listed)
    }

    /// Lists the containers of an instance once creations under way have settled: the engine may still be at work on
    /// one whose connection broke. Empty only if the engine itself shows none in two answers.
    pub(crate) fn by_instance_after_settling(&self, instance_id: &str) -> Result<Vec<Container>, Fault> {
        let found = self.by_instance(instance_id)?;
        if !found.is_empty() {
            return Ok(found);
        }
        self.require_engine_of_creation(instance_id)?;
        self.scope.call().wait(SETTLE_DELAY);
        self.by_instance(instance_id)
    }

    /// Lists containers with our ownership label, newest first, with the cursor for the rest.
    pub(crate) fn list_labelled(&self, cursor: Option<&str>) -> Result<(Vec<Container>, Option<String>), Fault> {
        let ours = json!({"label": [INSTANCE_LABEL]});
        let mut listed = match cursor {
            None => self.list(&ours, Some(PAGE_SIZE))?,
            Some(last) => match self.list(&json!({"label": [INSTANCE_LABEL], "before": [last]}), Some(PAGE_SIZE)) {
                Ok(listed) => listed,
                // The container that the cursor names is gone, so the position is unknown: the rest is among all of
                // them.
                Err(fault) if fault.code == LOST_CURSOR_CODE => return Ok((self.list(&ours, None)?, None)),
                Err(fault) => return Err(fault),
            },
        };
        if listed.is_empty() && cursor.is_none() {
            // Anything may answer with an empty list; only an engine sends its id.
            self.identify()?;
            listed = self.list(&ours, Some(PAGE_SIZE))?;
        }
        let more = listed.len() == PAGE_SIZE;
        let cursor = listed.last().filter(|_| more).map(|last| last.id.clone());
        Ok((listed, cursor))
    }

    pub(crate) fn list(&self, filters: &Value, limit: Option<usize>) -> Result<Vec<Container>, Fault> {
        let limit = limit.map_or(String::new(), |limit| format!("&limit={limit}"));
        let response =
            self.read(&format!("/containers/json?all=true{limit}&filters={}", encoded(&filters.to_string())))?;
        if response.status != 200 {
            let mut fault = self.refusal_fault("list its containers", &response);
            let cursor = filters["before"][0].as_str().unwrap_or_default();
            let said = message_of(&response).unwrap_or_default().to_lowercase();
            if !cursor.is_empty() && said.contains("no such container") {
                fault.code = LOST_CURSOR_CODE.to_owned();
            }
            return Err(fault);
        }
        let listed = response.json::<Vec<Container>>().ok();
        let engines = listed.filter(|listed| listed.iter().all(|container| is_id(&container.id)));
        engines.ok_or_else(|| self.foreign_answer_fault("GET /containers/json", &response))
    }

    /// Returns the last lines of a container's output.
    pub(crate) fn tail(&self, id: &str, lines: u32) -> Result<String, Fault> {
        let path = format!("/containers/{}/logs?stdout=true&stderr=true&tail={lines}", encoded(id));
        let response = self.read(&path)?;
        match response.status {
            200 => Ok(output::text(&response.body)),
            404 if is_absence_of(&response, id) => Err(Fault::not_found("docker.not-found", error_text(&response))),
            // Docker's answer if the logs go elsewhere.
            500 | 501 if error_text(&response).contains("does not support reading") => {
                Err(Fault::unsupported("docker.no-output", error_text(&response)))
            }
            _ => Err(self.refusal_fault("show what the container wrote", &response)),
        }
    }
}

/// Code of the fault for a page of the inventory whose beginning has been removed.
const LOST_CURSOR_CODE: &str = "docker.lost-place";

/// Returns true if only a change by the user helps.
pub(crate) fn is_final(fault: &Fault) -> bool {
    matches!(fault.reaction, Reaction::GiveUp | Reaction::Unsupported)
}

/// Adds help on refusals that concern the command.
fn with_command_hint(fault: Fault) -> Fault {
    let message = &fault.message;
    if message.contains("No command specified") {
        fault.detail("The image has no command of its own: write `command` in the contextualisation section.")
    } else if message.contains("executable file not found") || message.contains("no such file or directory") {
        fault.detail("Is `command` in the contextualisation section a program of the image?")
    } else if message.contains("permission denied") {
        fault.detail("Is `command` in the contextualisation section executable in the image?")
    } else if message.contains("invalid reference format") {
        fault.at("/image", "this is not the name of an image: small letters, and a tag without spaces")
    } else {
        fault
    }
}
