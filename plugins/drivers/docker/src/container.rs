//! Containers as the engine takes and gives them.

use std::collections::BTreeMap;

use occopus_sdk::{Address, Handle, Launch, Observed, Owned, Phase};
use serde::{Deserialize, Serialize};

/// Carries the instance's id. Set by the host on every machine.
pub(crate) const INSTANCE: &str = "occopus.instance";
const INFRASTRUCTURE: &str = "occopus.infrastructure";

/// Of the format of [`handle`].
const HANDLE_VERSION: u32 = 1;

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
    pub(crate) fn new(image: String, launch: Launch, labels: impl IntoIterator<Item = (String, String)>) -> Self {
        let environment = launch.environment.into_iter();
        Self {
            image,
            cmd: launch.command,
            // A name without a value removes a variable of the image.
            env: environment
                .map(|(name, value)| value.map_or(name.clone(), |value| format!("{name}={value}")))
                .collect(),
            labels: labels.into_iter().collect(),
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

    /// The instance whose id this container carries.
    pub(crate) fn instance(&self) -> Option<&str> {
        self.label(INSTANCE)
    }

    /// None when the container does not carry our mark.
    pub(crate) fn owned(&self) -> Option<Owned> {
        Some(Owned {
            instance_id: self.instance()?.to_owned(),
            infrastructure_id: self.label(INFRASTRUCTURE).unwrap_or_default().to_owned(),
            observed: self.observed(),
        })
    }

    pub(crate) fn observed(&self) -> Observed {
        Observed {
            handle: handle(&self.id),
            phase: self.phase(),
            addresses: self.addresses(),
            attributes: [("container_id", self.id.as_str()), ("container_name", self.name()), ("image", &self.image)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            message: self.message(),
        }
    }

    /// Created, and not started since.
    pub(crate) fn never_started(&self) -> bool {
        Self::is_new(&self.state)
    }

    /// Docker's word for it, and Podman's.
    pub(crate) fn is_new(state: &str) -> bool {
        matches!(state, "created" | "configured" | "initialized")
    }

    /// The states of Docker, and those that Podman adds.
    fn phase(&self) -> Phase {
        match self.state.as_str() {
            new if Self::is_new(new) => Phase::Pending,
            "restarting" => Phase::Pending,
            // `docker commit` pauses a container for a moment, and who pauses one by hand means to go on.
            "running" | "paused" => Phase::Running,
            // Not gone yet: a removal may fail.
            "exited" | "stopped" | "stopping" | "removing" => Phase::Stopped,
            // Left behind by a removal that failed half-way: it can't be started again.
            "dead" => Phase::Failed,
            _ => Phase::Unknown,
        }
    }

    fn message(&self) -> Option<String> {
        match self.state.as_str() {
            "exited" | "stopped" => {
                let code = self.exit_code().map_or(String::new(), |code| format!(" with code {code}"));
                Some(format!("the command ended{code}; `docker logs {}` shows what it wrote", self.name()))
            }
            "paused" => Some("paused; `docker unpause` lets it go on".to_owned()),
            "removing" => Some("it is being removed".to_owned()),
            "dead" => Some("its removal failed; the engine's log says why".to_owned()),
            _ => None,
        }
    }

    /// From `Exited (3) 2 seconds ago`. The age is left out: it differs in every answer.
    fn exit_code(&self) -> Option<i64> {
        self.status.split_once('(')?.1.split_once(')')?.0.parse().ok()
    }

    /// All lie in networks of the engine's machine.
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

/// The engine's id of the container is all that is needed.
pub(crate) fn handle(id: impl Into<String>) -> Handle {
    Handle::new(HANDLE_VERSION, id)
}

/// A name that the engine takes: letters, digits, `_`, `.`, `-`, the first one a letter or digit.
pub(crate) fn safe_name(name: &str) -> String {
    let safe: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '-' }).collect();
    if safe.starts_with(|c: char| c.is_ascii_alphanumeric()) { safe } else { format!("occopus{safe}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(state: &str, status: &str) -> Container {
        serde_json::from_value(json!({
            "Id": "ab", "Names": ["/web"], "Image": "a:1", "State": state, "Status": status,
            "Labels": {INSTANCE: "i1", INFRASTRUCTURE: "f1"},
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
            ("paused", Phase::Running),
            ("running", Phase::Running),
            ("exited", Phase::Stopped),
            ("dead", Phase::Failed),
            ("removing", Phase::Stopped),
            ("something new", Phase::Unknown),
        ] {
            assert_eq!(container(state, "").observed().phase, phase, "{state}");
        }
    }

    #[test]
    fn an_exit_is_explained_and_its_age_is_not() {
        let message = container("exited", "Exited (137) 3 minutes ago").observed().message.unwrap();
        assert_eq!(message, "the command ended with code 137; `docker logs web` shows what it wrote");
        assert!(container("exited", "?").observed().message.unwrap().starts_with("the command ended;"));
        assert_eq!(container("running", "Up 2 seconds").observed().message, None);
    }

    #[test]
    fn addresses_of_all_networks_ipv4_first() {
        let values: Vec<_> = container("running", "").observed().addresses.into_iter().map(|a| a.value).collect();
        assert_eq!(values, ["172.17.0.2", "fd00::2"]);
    }

    #[test]
    fn an_answer_with_nulls_and_gaps_is_read() {
        let bare: Container =
            serde_json::from_value(json!({"Id": "ab", "Labels": null, "NetworkSettings": null})).unwrap();
        assert_eq!(bare.observed().phase, Phase::Unknown);
        assert!(bare.owned().is_none());
    }

    #[test]
    fn names_are_made_safe() {
        assert_eq!(safe_name("occopus-a-1"), "occopus-a-1");
        assert_eq!(safe_name("né b/1"), "n--b-1");
        assert_eq!(safe_name("-x"), "occopus-x");
    }
}
