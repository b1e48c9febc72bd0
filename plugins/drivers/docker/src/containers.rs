//! What is asked of an engine about containers.

use std::time::Duration;

use occopus_sdk::http::encoded;
use occopus_sdk::{Fault, Reaction};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::container::{Container, INSTANCE, Inspected, NewContainer};
use crate::engine::{Engine, message_of, words};
use crate::identity::{Reference, is_absence_of, is_id};
use crate::output;

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
        let said = message_of(&response).unwrap_or_default().to_lowercase();
        match response.status {
            201 => {
                let made = response.json::<Answer>().map_err(|error| error.to_string());
                let made = made.and_then(|made| is_id(&made.id).then_some(made.id).ok_or("it has no id".to_owned()));
                made.map(Created::New).map_err(|why| {
                    let message = format!("the Docker engine's answer to a creation can't be read: {why}");
                    Fault::unknown_outcome("docker.bad-answer", message)
                })
            }
            // Docker's words, and Podman's.
            404 if said.contains("no such image") || said.contains("image not known") => Ok(Created::NoImage),
            409 if !said.is_empty() => Ok(Created::NameTaken),
            // Podman's way to say the same.
            500 if said.contains("already in use") => Ok(Created::NameTaken),
            _ => Err(explained(self.refused_change("create a container", &response))),
        }
    }

    /// The container that has the name of ours: its id, and whether it was ever started.
    pub(crate) fn adopt(&self, name: &str, instance_id: &str) -> Result<(String, bool), Fault> {
        let response = self.read(&format!("/containers/{}/json", encoded(name)))?;
        match response.status {
            // It is on its way in or out.
            404 => Err(Fault::retry("docker.name-busy", format!("the name `{name}` is in use, by no container yet"))),
            200 => {
                let seen = response.json::<Inspected>().ok().filter(|seen| is_id(&seen.id));
                let seen = seen.ok_or_else(|| self.stranger("GET /containers/NAME/json", &response))?;
                if seen.instance() != Some(instance_id) {
                    let message = format!("a container with the name `{name}` exists and is not ours");
                    return Err(Fault::conflict("docker.name-taken", message));
                }
                Ok((seen.id.clone(), !seen.never_started()))
            }
            _ => Err(self.refusal("look at a container", &response)),
        }
    }

    /// Starts a container; ok when it runs already. Whatever else, it is there, unless the fault is `not-found`.
    pub(crate) fn start(&self, id: &str) -> Result<(), Fault> {
        let response = self.change(self.post(&format!("/containers/{}/start", encoded(id)))).map_err(|mut fault| {
            fault.reaction = Reaction::UnknownOutcome;
            fault
        })?;
        match response.status {
            204 | 304 => Ok(()),
            404 if is_absence_of(&response, id) => Err(Fault::not_found("docker.not-found", words(&response))),
            status => {
                let mut fault = self.refused_change("start the container", &response);
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
    pub(crate) fn start_or_remove(&self, reference: &Reference) -> Result<(), Fault> {
        self.start(&reference.container).map_err(|fault| match fault.reaction {
            Reaction::UnknownOutcome => fault,
            _ => match self.remove(reference) {
                // Somebody removed it before it was started: it may be created again.
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
            // What is in between may say so too, and has removed nothing.
            200 | 204 => self.require_absence(id),
            404 if is_absence_of(&response, id) => self.prove_absence(reference),
            409 if words(&response).contains("already in progress") => {
                self.scope.call().wait(SETTLING);
                self.prove_absence(reference)
            }
            409 => Err(Fault { reaction: Reaction::Retry, ..self.refusal(DOING, &response) }),
            _ => Err(self.refused_change(DOING, &response)),
        }
    }

    /// The containers of an instance, oldest first.
    pub(crate) fn by_instance(&self, instance_id: &str) -> Result<Vec<Container>, Fault> {
        let mut listed = self.list(&json!({"label": [format!("{INSTANCE}={instance_id}")]}), None)?;
        listed.retain(|container| container.instance() == Some(instance_id));
        listed.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(listed)
    }

    /// The same, once nothing is on its way in the engine: it may still be at work on a creation whose connection broke. None
    /// only when the engine itself shows none in two answers.
    pub(crate) fn settled(&self, instance_id: &str) -> Result<Vec<Container>, Fault> {
        let found = self.by_instance(instance_id)?;
        if !found.is_empty() {
            return Ok(found);
        }
        self.require_engine_of_creation(instance_id)?;
        self.scope.call().wait(SETTLING);
        self.by_instance(instance_id)
    }

    /// Containers with our mark, newest first, and the cursor for the rest.
    pub(crate) fn marked(&self, cursor: Option<&str>) -> Result<(Vec<Container>, Option<String>), Fault> {
        let ours = json!({"label": [INSTANCE]});
        let mut listed = match cursor {
            None => self.list(&ours, Some(PAGE))?,
            Some(last) => match self.list(&json!({"label": [INSTANCE], "before": [last]}), Some(PAGE)) {
                Ok(listed) => listed,
                // The container that the cursor names is gone, so where to go on is not known: all of the rest is within
                // all of them.
                Err(fault) if fault.code == LOST_PLACE => return Ok((self.list(&ours, None)?, None)),
                Err(fault) => return Err(fault),
            },
        };
        if listed.is_empty() && cursor.is_none() {
            // Anything answers with an empty list; only an engine tells its id.
            self.identify()?;
            listed = self.list(&ours, Some(PAGE))?;
        }
        let more = listed.len() == PAGE;
        let cursor = listed.last().filter(|_| more).map(|last| last.id.clone());
        Ok((listed, cursor))
    }

    pub(crate) fn list(&self, filters: &Value, limit: Option<usize>) -> Result<Vec<Container>, Fault> {
        let limit = limit.map_or(String::new(), |limit| format!("&limit={limit}"));
        let response =
            self.read(&format!("/containers/json?all=true{limit}&filters={}", encoded(&filters.to_string())))?;
        if response.status != 200 {
            let mut fault = self.refusal("list its containers", &response);
            let place = filters["before"][0].as_str().unwrap_or_default();
            let said = message_of(&response).unwrap_or_default().to_lowercase();
            if !place.is_empty() && said.contains("no such container") {
                fault.code = LOST_PLACE.to_owned();
            }
            return Err(fault);
        }
        let listed = response.json::<Vec<Container>>().ok();
        let engines = listed.filter(|listed| listed.iter().all(|container| is_id(&container.id)));
        engines.ok_or_else(|| self.stranger("GET /containers/json", &response))
    }

    /// The last lines of a container's output.
    pub(crate) fn tail(&self, id: &str, lines: u32) -> Result<String, Fault> {
        let path = format!("/containers/{}/logs?stdout=true&stderr=true&tail={lines}", encoded(id));
        let response = self.read(&path)?;
        match response.status {
            200 => Ok(output::text(&response.body)),
            404 if is_absence_of(&response, id) => Err(Fault::not_found("docker.not-found", words(&response))),
            // Docker's answer where the logs go to another place.
            500 | 501 if words(&response).contains("does not support reading") => {
                Err(Fault::unsupported("docker.no-output", words(&response)))
            }
            _ => Err(self.refusal("show what the container wrote", &response)),
        }
    }
}

/// Code of the fault for a page of the inventory whose beginning has been removed.
const LOST_PLACE: &str = "docker.lost-place";

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
        fault.at("/image", "this is not the name of an image: small letters, and a tag without spaces")
    } else {
        fault
    }
}
