//! Servers as the API gives them (<https://docs.cloudsigma.com/en/latest/servers.html>).

use occopus_sdk::{Address, Observed, Owned, Phase};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cloud::id;
use crate::document::{BEGUN_KEY, INFRASTRUCTURE_KEY, INSTANCE_KEY, RAN_KEY};
use crate::handle::Reference;

/// A server.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Server {
    #[serde(deserialize_with = "id")]
    pub(crate) uuid: String,
    #[serde(default)]
    pub(crate) status: String,
    #[serde(default)]
    meta: Option<Map<String, Value>>,
    #[serde(default)]
    drives: Option<Vec<Attachment>>,
    #[serde(default)]
    runtime: Option<Runtime>,
}

#[derive(Debug, Clone, Deserialize)]
struct Attachment {
    #[serde(default)]
    drive: Option<Link>,
}

#[derive(Debug, Clone, Deserialize)]
struct Link {
    uuid: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Runtime {
    #[serde(default)]
    nics: Option<Vec<RuntimeNic>>,
}

#[derive(Debug, Clone, Deserialize)]
struct RuntimeNic {
    #[serde(default)]
    interface_type: Option<String>,
    #[serde(default)]
    ip_v4: Option<Link>,
    #[serde(default)]
    ip_v6: Option<Link>,
}

impl Server {
    fn meta(&self, key: &str) -> Option<&str> {
        self.meta.as_ref()?.get(key)?.as_str()
    }

    /// Returns the instance id that it carries. A copy of one of our servers, which a user made, carries none.
    pub(crate) fn instance_id(&self) -> Option<&str> {
        let is_copy = self.meta(RAN_KEY).is_some_and(|server| server != self.uuid);
        self.meta(INSTANCE_KEY).filter(|_| !is_copy)
    }

    pub(crate) fn infrastructure_id(&self) -> &str {
        self.meta(INFRASTRUCTURE_KEY).unwrap_or_default()
    }

    /// Returns the time at which the attempt to create it began, in seconds by CloudSigma's clock.
    pub(crate) fn begun(&self) -> u64 {
        self.meta(BEGUN_KEY).and_then(|time| time.parse().ok()).unwrap_or(u64::MAX)
    }

    /// Returns true if it is marked as one that has run.
    pub(crate) fn has_run(&self) -> bool {
        self.meta(RAN_KEY) == Some(self.uuid.as_str())
    }

    /// Returns true if it is ours and was never started, so that something of its creation is still to be done.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.status == "stopped" && !self.has_run() && self.instance_id().is_some()
    }

    pub(crate) fn has_drive(&self, uuid: &str) -> bool {
        self.drive_ids().any(|id| id == uuid)
    }

    fn drive_ids(&self) -> impl Iterator<Item = &str> {
        let attached = self.drives.iter().flatten().filter_map(|attached| attached.drive.as_ref());
        attached.map(|drive| drive.uuid.as_str())
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.status.as_str() {
            "running" => Phase::Running,
            "starting" => Phase::Pending,
            "stopped" if self.is_unfinished() => Phase::Pending,
            // A guest that does not react to `shutdown` runs on; it is judged when it has stopped.
            "stopping" if !self.has_run() => Phase::Pending,
            "stopping" | "stopped" | "paused" => Phase::Stopped,
            _ => Phase::Unknown,
        }
    }

    pub(crate) fn reference(&self, account: &str, location: &str) -> Reference {
        Reference::new(&self.uuid, account, location, self.instance_id())
    }

    pub(crate) fn observed(&self, reference: &Reference) -> Observed {
        let phase = self.phase();
        let mut attributes = vec![("instance_id".to_owned(), self.uuid.clone())];
        if let Some(drive) = self.drive_ids().next() {
            attributes.push(("drive_id".to_owned(), drive.to_owned()));
        }
        let message = match phase {
            Phase::Stopped => Some(format!("the server is {}", self.status)),
            Phase::Unknown => Some(format!("CloudSigma calls its state `{}`", self.status)),
            _ => None,
        };
        Observed { handle: reference.handle(), phase, addresses: self.addresses(), attributes, message }
    }

    pub(crate) fn owned(&self, account: &str, location: &str) -> Option<Owned> {
        Some(Owned {
            instance_id: self.instance_id()?.to_owned(),
            infrastructure_id: self.infrastructure_id().to_owned(),
            observed: self.observed(&self.reference(account, location)),
        })
    }

    /// Returns its addresses while it runs: public ones first, and IPv4 before IPv6. CloudSigma does not know those that a
    /// guest sets by itself in a private network.
    fn addresses(&self) -> Vec<Address> {
        let nics = || self.runtime.iter().flat_map(|runtime| runtime.nics.iter().flatten());
        let mut addresses = Vec::new();
        for wants_private in [false, true] {
            let is_wanted = |nic: &&RuntimeNic| (nic.interface_type.as_deref() == Some("private")) == wants_private;
            for version in [|nic: &RuntimeNic| nic.ip_v4.clone(), |nic: &RuntimeNic| nic.ip_v6.clone()] {
                let found = nics().filter(is_wanted).filter_map(version);
                addresses.extend(found.map(|link| Address { value: link.uuid, internal: wants_private }));
            }
        }
        addresses
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn server(value: Value) -> Server {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn states_are_told_apart_by_the_mark() {
        let ours = json!({INSTANCE_KEY: "i-1"});
        let ran = json!({INSTANCE_KEY: "i-1", RAN_KEY: "s-1"});
        for (status, meta, phase) in [
            ("running", &ours, Phase::Running),
            ("starting", &ours, Phase::Pending),
            ("stopped", &ours, Phase::Pending),
            ("stopped", &ran, Phase::Stopped),
            ("stopping", &ran, Phase::Stopped),
            ("paused", &ran, Phase::Stopped),
            ("unavailable", &ran, Phase::Unknown),
            ("unknown", &ran, Phase::Unknown),
            ("", &ours, Phase::Unknown),
        ] {
            let server = server(json!({"uuid": "s-1", "status": status, "meta": meta}));
            assert_eq!(server.phase(), phase, "{status}");
        }
    }

    #[test]
    fn a_copy_that_a_user_made_is_not_ours() {
        let copy = server(json!({"uuid": "s-2", "meta": {INSTANCE_KEY: "i-1", RAN_KEY: "s-1"}}));
        assert_eq!((copy.instance_id(), copy.is_unfinished()), (None, false));
    }

    #[test]
    fn addresses_are_public_ones_first() {
        let nic = |kind: &str, v4: Value, v6: Value| json!({"interface_type": kind, "ip_v4": v4, "ip_v6": v6});
        let link = |address: &str| json!({"uuid": address, "resource_uri": "x"});
        let nics = [
            nic("private", json!(null), json!(null)),
            nic("private", link("10.0.0.2"), json!(null)),
            nic("public", link("94.26.101.149"), link("2001:db8::1")),
            nic("public", link("94.26.101.150"), json!(null)),
        ];
        let server = server(json!({"uuid": "s-1", "status": "running", "runtime": {"nics": nics}}));
        let found: Vec<_> = server.addresses().into_iter().map(|each| (each.value, each.internal)).collect();
        let expected = [("94.26.101.149", false), ("94.26.101.150", false), ("2001:db8::1", false), ("10.0.0.2", true)];
        assert_eq!(found, expected.map(|(value, internal)| (value.to_owned(), internal)));
        for runtime in [json!(null), json!({"nics": null}), json!({})] {
            assert!(self::server(json!({"uuid": "s", "runtime": runtime})).addresses().is_empty());
        }
    }
}
