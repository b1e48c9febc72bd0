//! Containers as the engine takes and gives them.

use std::collections::BTreeMap;

use occopus_sdk::{Address, Launch, Observed, Owned, Phase};
use serde::{Deserialize, Serialize};

use crate::identity::Reference;

/// Label with the instance's id. Set by the host on every machine.
pub(crate) const INSTANCE_LABEL: &str = "occopus.instance";
const INFRASTRUCTURE_LABEL: &str = "occopus.infrastructure";
/// Label with the name under which this driver created the container. `docker commit` copies labels into the image, and
/// every container of that image has them; but a name has only one container.
const CONTAINER_NAME_LABEL: &str = "occopus.container";
/// Base of exit statuses of commands that a signal ended: 128 and the signal's number.
const SIGNAL_EXIT_BASE: i64 = 128;

/// The body of `POST /containers/create`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NewContainer {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd: Option<Vec<String>>,
    env: Vec<String>,
    labels: BTreeMap<String, String>,
}

impl NewContainer {
    pub(crate) fn new(
        name: &str,
        image: String,
        launch: Launch,
        labels: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let environment = launch.environment.into_iter();
        Self {
            image,
            cmd: launch.command,
            // A name without a value removes a variable of the image.
            env: environment
                .map(|(name, value)| value.map_or(name.clone(), |value| format!("{name}={value}")))
                .collect(),
            labels: labels.into_iter().chain([(CONTAINER_NAME_LABEL.to_owned(), name.to_owned())]).collect(),
        }
    }
}

/// An entry of `GET /containers/json`. Whatever is missing is read as empty.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Container {
    pub(crate) id: String,
    names: Vec<String>,
    image: String,
    state: String,
    status: String,
    /// Time of creation in seconds since 1970, by the engine's clock.
    pub(crate) created: i64,
    labels: Option<BTreeMap<String, String>>,
    network_settings: Option<NetworkSettings>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Network>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Network {
    #[serde(rename = "IPAddress")]
    ipv4: String,
    #[serde(rename = "GlobalIPv6Address")]
    ipv6: String,
}

impl Container {
    fn name(&self) -> &str {
        self.names.first().map_or("", |name| name.trim_start_matches('/'))
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.as_ref()?.get(name).map(String::as_str)
    }

    /// Returns the instance for which this driver created the container; none for a foreign container, also when its
    /// image carries our labels.
    pub(crate) fn instance(&self) -> Option<&str> {
        let instance = self.label(INSTANCE_LABEL)?;
        let ours = match self.label(CONTAINER_NAME_LABEL) {
            Some(name) => self.names.iter().any(|one| one.trim_start_matches('/') == name),
            // Created by a version that did not record the name; it ends in the end of the instance's id.
            None => {
                let end = instance.char_indices().rev().nth(7).map_or(instance, |(at, _)| &instance[at..]);
                self.name().ends_with(&safe_name(end))
            }
        };
        ours.then_some(instance)
    }

    /// Returns the entry of the inventory; none if the container is not ours.
    pub(crate) fn owned(&self, engine: Option<&str>) -> Option<Owned> {
        Some(Owned {
            instance_id: self.instance()?.to_owned(),
            infrastructure_id: self.label(INFRASTRUCTURE_LABEL).unwrap_or_default().to_owned(),
            observed: self.observed(engine),
        })
    }

    pub(crate) fn observed(&self, engine: Option<&str>) -> Observed {
        let reference = Reference { container: self.id.clone(), engine: engine.map(str::to_owned) };
        Observed {
            handle: reference.handle(),
            phase: self.phase(),
            addresses: self.addresses(),
            attributes: [("container_id", self.id.as_str()), ("container_name", self.name()), ("image", &self.image)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            message: self.message(),
        }
    }

    /// Returns true if only [`Inspected`] has the reason for the container's state: it ended, or it may restart by
    /// itself.
    pub(crate) fn needs_inspection(&self, now: i64) -> bool {
        /// Maximum number of seconds between the creation of a container and its first start.
        const MAX_START_DELAY_S: i64 = 10;
        let was_started_again = |up: i64| now - self.created > up + MAX_START_DELAY_S;
        match self.state.as_str() {
            "exited" | "stopped" | "dead" | "restarting" => true,
            "running" => self.seconds_up().is_some_and(was_started_again),
            _ => false,
        }
    }

    /// Reads the seconds from `Up 3 seconds`, or `Up 3 seconds (healthy)`; none for a container that has been running
    /// for a minute.
    fn seconds_up(&self) -> Option<i64> {
        let up = self.status.strip_prefix("Up ")?.split(" (").next()?;
        let number = up.strip_suffix(" seconds").or_else(|| up.strip_suffix(" second"))?;
        if number == "Less than a" { Some(0) } else { number.parse().ok() }
    }

    /// Returns true if it was created, and not started since.
    pub(crate) fn never_started(&self) -> bool {
        Self::is_created_state(&self.state)
    }

    /// Returns true for Docker's state of a container that was never started, and Podman's.
    pub(crate) fn is_created_state(state: &str) -> bool {
        matches!(state, "created" | "configured" | "initialized")
    }

    /// Returns the phase for the states of Docker, and those that Podman adds.
    fn phase(&self) -> Phase {
        match self.state.as_str() {
            new if Self::is_created_state(new) => Phase::Pending,
            // Not ready, and not dead: `docker commit` pauses a container for a moment, and one that is paused by hand
            // is meant to go on.
            "restarting" | "paused" => Phase::Pending,
            "running" => Phase::Running,
            // Not gone yet: a removal may fail.
            "exited" | "stopped" | "stopping" | "removing" => Phase::Stopped,
            // Left behind by a removal that failed half-way: it can't be started again.
            "dead" => Phase::Failed,
            _ => Phase::Unknown,
        }
    }

    /// Returns the reason that the list has; [`Inspected::message`] has more.
    fn message(&self) -> Option<String> {
        match self.state.as_str() {
            "exited" | "stopped" => Some(self.exit_code().map_or("the container ended".to_owned(), describe_exit)),
            "restarting" => Some("it restarts by itself".to_owned()),
            "paused" => Some("paused; `docker unpause` lets it go on".to_owned()),
            "removing" => Some("it is being removed".to_owned()),
            "dead" => Some("its removal failed; the engine's log says why".to_owned()),
            _ => None,
        }
    }

    /// Reads the exit status from `Exited (3) 2 seconds ago`. The age is left out: it differs in every answer.
    fn exit_code(&self) -> Option<i64> {
        self.status.split_once('(')?.1.split_once(')')?.0.parse().ok()
    }

    /// Returns its addresses, all in networks of the engine's machine.
    fn addresses(&self) -> Vec<Address> {
        let networks = || self.network_settings.iter().flat_map(|settings| &settings.networks).flatten();
        let ipv4 = networks().map(|(_, network)| &network.ipv4);
        let ipv6 = networks().map(|(_, network)| &network.ipv6);
        ipv4.chain(ipv6)
            .filter(|value| !value.is_empty())
            .map(|value| Address { value: value.clone(), internal: true })
            .collect()
    }
}

/// Describes the end of a container.
fn describe_exit(code: i64) -> String {
    match code - SIGNAL_EXIT_BASE {
        signal @ 1..=64 => format!("the container ended by signal {signal} (exit status {code})"),
        _ => format!("the container ended (exit status {code})"),
    }
}

/// An answer to `GET /containers/ID/json`, the part that matters here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Inspected {
    pub(crate) id: String,
    config: Option<Config>,
    state: Option<State>,
    restart_count: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    status: String,
    exit_code: i64,
    error: String,
    #[serde(rename = "OOMKilled")]
    out_of_memory: bool,
}

impl Inspected {
    /// Returns the instance id that it carries.
    pub(crate) fn instance(&self) -> Option<&str> {
        self.config.as_ref()?.labels.as_ref()?.get(INSTANCE_LABEL).map(String::as_str)
    }

    /// Returns true if it was created, and not started since.
    pub(crate) fn never_started(&self) -> bool {
        self.state.as_ref().is_some_and(|state| Container::is_created_state(&state.status))
    }

    /// Adds what an entry of the list lacks.
    pub(crate) fn explain(&self, mut seen: Observed) -> Observed {
        seen.message = self.message().or(seen.message);
        if self.restart_count > 0 {
            seen = seen.attribute("restarts", self.restart_count.to_string());
        }
        seen
    }

    fn message(&self) -> Option<String> {
        let state = self.state.as_ref()?;
        let restarts = match self.restart_count {
            1 => "restarted once by itself".to_owned(),
            count => format!("restarted {count} times by itself"),
        };
        let mut message = match state.status.as_str() {
            "exited" | "stopped" | "dead" => describe_exit(state.exit_code),
            "restarting" => format!("{restarts}; {} the last time", describe_exit(state.exit_code)),
            "running" if self.restart_count > 0 => return Some(restarts),
            _ => return None,
        };
        if state.out_of_memory {
            message += ": it ran out of memory";
        }
        if !state.error.is_empty() {
            message = format!("{message}: {}", state.error);
        }
        Some(message)
    }
}

/// Returns a name that the engine accepts: letters, digits, `_`, `.`, `-`, the first one a letter or digit.
pub(crate) fn safe_name(name: &str) -> String {
    let safe: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '-' }).collect();
    if safe.starts_with(|c: char| c.is_ascii_alphanumeric()) { safe } else { format!("occopus{safe}") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn container(state: &str, status: &str) -> Container {
        serde_json::from_value(json!({
            "Id": "ab", "Names": ["/web"], "Image": "a:1", "State": state, "Status": status,
            "Labels": {INSTANCE_LABEL: "i1", INFRASTRUCTURE_LABEL: "f1"},
            "NetworkSettings": {"Networks": {
                "bridge": {"IPAddress": "172.17.0.2", "GlobalIPv6Address": "", "IPAMConfig": null},
                "six": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"},
            }},
        }))
        .unwrap()
    }

    #[test]
    fn every_state_has_a_phase() {
        for (state, phase) in [
            ("created", Phase::Pending),
            ("restarting", Phase::Pending),
            ("paused", Phase::Pending),
            ("running", Phase::Running),
            ("exited", Phase::Stopped),
            ("dead", Phase::Failed),
            ("removing", Phase::Stopped),
            ("something new", Phase::Unknown),
        ] {
            assert_eq!(container(state, "").observed(None).phase, phase, "{state}");
        }
    }

    #[test]
    fn an_exit_is_explained_and_its_age_is_not() {
        let message = |status: &str| container("exited", status).observed(None).message.unwrap();
        assert_eq!(message("Exited (3) 3 minutes ago"), "the container ended (exit status 3)");
        assert_eq!(message("Exited (0) 3 minutes ago"), "the container ended (exit status 0)");
        assert_eq!(message("Exited (137) 3 minutes ago"), "the container ended by signal 9 (exit status 137)");
        assert_eq!(message("?"), "the container ended");
        assert_eq!(container("running", "Up 2 seconds").observed(None).message, None);
    }

    #[test]
    fn an_inspection_tells_more_than_the_list() {
        let explained = |state: Value, restarts: u64| {
            let inspected = json!({"Id": "ab", "State": state, "RestartCount": restarts});
            let inspected: Inspected = serde_json::from_value(inspected).unwrap();
            inspected.explain(container("running", "").observed(None))
        };
        let message = |state: Value, restarts: u64| explained(state, restarts).message;
        assert_eq!(
            message(json!({"Status": "exited", "ExitCode": 137, "OOMKilled": true}), 0).unwrap(),
            "the container ended by signal 9 (exit status 137): it ran out of memory"
        );
        assert_eq!(
            message(json!({"Status": "restarting", "ExitCode": 3}), 3).unwrap(),
            "restarted 3 times by itself; the container ended (exit status 3) the last time"
        );
        assert_eq!(message(json!({"Status": "running"}), 1).unwrap(), "restarted once by itself");
        assert_eq!(message(json!({"Status": "running"}), 0), None);
        assert!(explained(json!({"Status": "running"}), 2).attributes.contains(&("restarts".into(), "2".into())));
    }

    #[test]
    fn a_container_that_was_started_again_is_inspected() {
        let old = |state, status| Container { created: 1_000, ..container(state, status) }.needs_inspection(2_000);
        assert!(old("running", "Up 3 seconds") && old("running", "Up Less than a second") && old("restarting", ""));
        assert!(old("running", "Up 1 second (health: starting)"));
        assert!(!old("running", "Up 3 minutes") && !old("paused", "Up 3 seconds (Paused)"));
        let young = |created| Container { created, ..container("running", "Up 3 seconds") }.needs_inspection(2_000);
        assert!(young(1_986) && !young(1_988), "it has been started again some seconds after its creation");
    }

    #[test]
    fn a_container_of_an_image_that_carries_our_labels_is_not_ours() {
        let id = "01936e1c-aaaa-7000-8000-1234deadbeef";
        let instance = |name: &str, labels: Value| {
            let seen: Container =
                serde_json::from_value(json!({"Id": "ab", "Names": [name], "Labels": labels})).unwrap();
            seen.instance().is_some()
        };
        let new = json!({INSTANCE_LABEL: id, CONTAINER_NAME_LABEL: "occopus-a-deadbeef"});
        assert!(instance("/occopus-a-deadbeef", new.clone()));
        assert!(!instance("/copy", new));
        let old = json!({INSTANCE_LABEL: id});
        assert!(instance("/occopus-a-deadbeef", old.clone()) && instance(&format!("/mine-{id}"), old.clone()));
        assert!(!instance("/hopeful_turing", old));
    }

    #[test]
    fn addresses_of_all_networks_ipv4_first() {
        let values: Vec<_> = container("running", "").observed(None).addresses.into_iter().map(|a| a.value).collect();
        assert_eq!(values, ["172.17.0.2", "fd00::2"]);
    }

    #[test]
    fn an_answer_with_nulls_and_gaps_is_read() {
        let bare: Container =
            serde_json::from_value(json!({"Id": "ab", "Labels": null, "NetworkSettings": null})).unwrap();
        assert_eq!(bare.observed(None).phase, Phase::Unknown);
        assert!(bare.owned(None).is_none());
    }

    #[test]
    fn names_are_made_safe() {
        assert_eq!(safe_name("occopus-a-1"), "occopus-a-1");
        assert_eq!(safe_name("né b/1"), "n--b-1");
        assert_eq!(safe_name("-x"), "occopus-x");
    }
}
