//! Events, as one closed set. Subscribers of a run get all of them; the store keeps all but
//! [`EventKind::is_transient`].

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::action::Plan;
use crate::ports::Address;

/// An event of an infrastructure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Position among the stored events of the infrastructure: later events have greater numbers, numbers may be
    /// missing, and those of an infrastructure that had the same id before are smaller. None if it is not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Time of the event.
    pub time: Timestamp,
    /// The infrastructure's id.
    pub infra_id: String,
    /// Kind of the event, with its data.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Kind of an event. The names without hyphens are those of the events of Occopus 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// The first build of an infrastructure begins.
    #[serde(rename = "infrastart")]
    InfraStart {
        /// `infra_name`.
        name: String,
    },
    /// A change of an existing infrastructure begins, or a pass changed something.
    #[serde(rename = "infraupdated")]
    InfraUpdated,
    /// Every node is ready.
    #[serde(rename = "infraready")]
    InfraReady,
    /// The infrastructure is removed: nothing is left of it.
    #[serde(rename = "infradrop")]
    InfraDrop,
    /// A machine is about to be requested.
    #[serde(rename = "nodecreating")]
    NodeCreating {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// The driver's keyword.
        driver: String,
    },
    /// The cloud has accepted the request, and the machine's reference is known.
    NodePlaced {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Set if the machine was found after a lost answer or a crash.
        adopted: bool,
    },
    /// The machine runs.
    NodeRunning {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Addresses of the machine.
        addresses: Vec<Address>,
    },
    /// The node is ready.
    #[serde(rename = "nodecreated")]
    NodeCreated {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Addresses of the machine.
        addresses: Vec<Address>,
    },
    /// The answer to a request was lost; the driver searches for the machine.
    NodeUnknown {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Cause of the lost answer.
        message: String,
    },
    /// A cloud has no capacity; the next implementation is tried.
    NodeFallback {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Keyword of the driver whose cloud has no capacity.
        driver: String,
        /// Message of that driver.
        message: String,
    },
    /// The node can't become ready.
    #[serde(rename = "nodefailed")]
    NodeFailed {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Cause.
        message: String,
        /// Last lines of the machine's output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
    },
    /// The node fails again and again; it is retried after a pause.
    NodeFailing {
        /// Name of the node.
        node_name: String,
        /// Number of failures in a row.
        failures: u32,
        /// Seconds until the next attempt.
        seconds: f64,
        /// Reason of the last failure.
        message: String,
    },
    /// The health checks of an instance pass again, or not any more.
    NodeHealth {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Set if the checks pass.
        healthy: bool,
        /// Message of the health check.
        message: String,
    },
    /// The machine is about to be removed.
    #[serde(rename = "nodedropping")]
    NodeDropping {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
    },
    /// The machine is gone.
    #[serde(rename = "nodedropped")]
    NodeDropped {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Set if the machine had vanished before it was to be removed.
        vanished: bool,
    },
    /// The record of an instance was removed on request; the machine may still exist.
    NodeForgotten {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
    },
    /// The machine could not be removed; its record stays.
    NodeLeft {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Cause.
        message: String,
    },
    /// A dead instance will be replaced.
    NodeReplacing {
        /// UUID of the dead instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Cause.
        message: String,
        /// Last lines of the machine's output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
    },
    /// A healthy instance will be replaced by a new one.
    #[serde(rename = "node-renewing")]
    NodeReplacingDrifted {
        /// UUID of the old instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Cause.
        message: String,
    },
    /// The target of a node has changed.
    #[serde(rename = "nodescaled")]
    NodeScaled {
        /// Name of the node.
        node_name: String,
        /// Former target.
        from: u32,
        /// New target.
        to: u32,
    },
    /// Maintenance is suspended until it is resumed.
    Suspended,
    /// Maintenance is resumed.
    Resumed,
    /// Healing is on hold, because too many instances look dead at once.
    Hold {
        /// Number of instances that look dead.
        dead: usize,
        /// Number of instances that were surveyed.
        of: usize,
    },
    /// The hold has ended.
    HoldEnded,
    /// The instances that this run created are about to be removed.
    RollingBack {
        /// Number of instances.
        instances: usize,
    },
    /// A plan is about to run. Not stored.
    Planned {
        /// The plan.
        plan: Plan,
    },
    /// A plugin reports its progress. Not stored.
    Progress {
        /// Name of the node.
        node_name: String,
        /// Current step: "pulling image".
        phase: String,
        /// Progress of the step: "42 %".
        detail: Option<String>,
    },
    /// A call failed and will be retried. Not stored.
    Retrying {
        /// Name of the node.
        node_name: String,
        /// Name of the call: "create".
        call: String,
        /// Cause.
        message: String,
        /// Seconds until the next attempt.
        seconds: f64,
    },
    /// An instance is not ready yet. Not stored.
    Waiting {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Message of the health check.
        message: String,
    },
    /// Kind that this version does not know, or that has other fields here. It is passed on as it was written.
    #[serde(untagged)]
    Unknown(UnknownEvent),
}

/// An event of another version: its name and its fields, as they were written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct UnknownEvent {
    #[serde(rename = "event")]
    name: String,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl TryFrom<Map<String, Value>> for UnknownEvent {
    type Error = &'static str;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self, Self::Error> {
        // The version of the record's format belongs to the store.
        fields.remove("v");
        let is_word = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        match fields.remove("event") {
            Some(Value::String(name)) if !name.is_empty() && is_word(&name) => Ok(Self { name, fields }),
            _ => Err("`event` is not the name of an event"),
        }
    }
}

/// Declares the name of each event in JSON, and whether the event is stored. An event that is missing here does not
/// compile.
macro_rules! event_names {
    (stored { $($stored:ident = $name:literal,)* } transient { $($transient:ident = $transient_name:literal,)* }) => {
        impl EventKind {
            /// Names of all events that are stored.
            pub const NAMES: [&str; [$($name),*].len()] = [$($name),*];

            /// Returns the name, as it is in JSON under `event`.
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$stored { .. } => $name,)*
                    $(Self::$transient { .. } => $transient_name,)*
                    Self::Unknown(event) => &event.name,
                }
            }

            /// Returns whether the event is only shown while it happens, and not stored.
            pub fn is_transient(&self) -> bool {
                matches!(self, $(Self::$transient { .. })|*)
            }

            #[cfg(test)]
            const TRANSIENT: [&str; [$($transient_name),*].len()] = [$($transient_name),*];
        }
    };
}

event_names! {
    stored {
        InfraStart = "infrastart",
        InfraUpdated = "infraupdated",
        InfraReady = "infraready",
        InfraDrop = "infradrop",
        NodeCreating = "nodecreating",
        NodePlaced = "node-placed",
        NodeRunning = "node-running",
        NodeCreated = "nodecreated",
        NodeUnknown = "node-unknown",
        NodeFallback = "node-fallback",
        NodeFailed = "nodefailed",
        NodeFailing = "node-failing",
        NodeHealth = "node-health",
        NodeDropping = "nodedropping",
        NodeDropped = "nodedropped",
        NodeForgotten = "node-forgotten",
        NodeLeft = "node-left",
        NodeReplacing = "node-replacing",
        NodeReplacingDrifted = "node-renewing",
        NodeScaled = "nodescaled",
        Suspended = "suspended",
        Resumed = "resumed",
        Hold = "hold",
        HoldEnded = "hold-ended",
        RollingBack = "rolling-back",
    }
    transient {
        Planned = "planned",
        Progress = "progress",
        Retrying = "retrying",
        Waiting = "waiting",
    }
}

impl EventKind {
    /// Returns the last lines of the output of the machine that the event is about.
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::NodeFailed { output, .. } | Self::NodeReplacing { output, .. } => output.as_deref(),
            _ => None,
        }
    }

    /// Returns the name of the node that the event is about.
    pub fn node_name(&self) -> Option<&str> {
        match self {
            Self::NodeCreating { node_name, .. }
            | Self::NodePlaced { node_name, .. }
            | Self::NodeRunning { node_name, .. }
            | Self::NodeCreated { node_name, .. }
            | Self::NodeUnknown { node_name, .. }
            | Self::NodeFallback { node_name, .. }
            | Self::NodeFailed { node_name, .. }
            | Self::NodeFailing { node_name, .. }
            | Self::NodeHealth { node_name, .. }
            | Self::NodeDropping { node_name, .. }
            | Self::NodeDropped { node_name, .. }
            | Self::NodeForgotten { node_name, .. }
            | Self::NodeLeft { node_name, .. }
            | Self::NodeReplacing { node_name, .. }
            | Self::NodeReplacingDrifted { node_name, .. }
            | Self::NodeScaled { node_name, .. }
            | Self::Progress { node_name, .. }
            | Self::Retrying { node_name, .. }
            | Self::Waiting { node_name, .. } => Some(node_name),
            _ => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InfraStart { name } => write!(f, "building {name}"),
            Self::InfraUpdated => f.write_str("updated"),
            Self::InfraReady => f.write_str("ready"),
            Self::InfraDrop => f.write_str("destroyed"),
            Self::NodeCreating { node_name, driver, .. } => write!(f, "{node_name}: creating on {driver}"),
            Self::NodePlaced { node_name, adopted: false, .. } => write!(f, "{node_name}: accepted"),
            Self::NodePlaced { node_name, adopted: true, .. } => write!(f, "{node_name}: found again"),
            Self::NodeRunning { node_name, addresses, .. } => {
                write!(f, "{node_name}: running")?;
                write_address(f, addresses)
            }
            Self::NodeCreated { node_name, addresses, .. } => {
                write!(f, "{node_name}: ready")?;
                write_address(f, addresses)
            }
            Self::NodeUnknown { node_name, message, .. } => {
                write!(f, "{node_name}: answer lost, searching for the machine: {message}")
            }
            Self::NodeFallback { node_name, driver, message, .. } => {
                write!(f, "{node_name}: no capacity on {driver}, trying the next: {message}")
            }
            Self::NodeFailed { node_name, message, .. } => write!(f, "{node_name}: failed: {message}"),
            Self::NodeFailing { node_name, failures, seconds, message } => {
                write!(f, "{node_name}: failed {failures} times in a row, next attempt in {seconds:.0} s: {message}")
            }
            Self::NodeHealth { node_name, healthy: true, .. } => write!(f, "{node_name}: healthy again"),
            Self::NodeHealth { node_name, message, .. } => write!(f, "{node_name}: unhealthy: {message}"),
            Self::NodeDropping { node_name, .. } => write!(f, "{node_name}: removing"),
            Self::NodeDropped { node_name, vanished: false, .. } => write!(f, "{node_name}: removed"),
            Self::NodeDropped { node_name, vanished: true, .. } => write!(f, "{node_name}: vanished"),
            Self::NodeForgotten { node_name, node_id } => {
                write!(f, "{node_name}: forgot {node_id}; its machine may still exist")
            }
            Self::NodeLeft { node_name, message, .. } => write!(f, "{node_name}: not removed: {message}"),
            Self::NodeReplacing { node_name, message, .. } => write!(f, "{node_name}: replacing: {message}"),
            Self::NodeReplacingDrifted { node_name, message, .. } => write!(f, "{node_name}: renewing: {message}"),
            Self::NodeScaled { node_name, from, to } => write!(f, "{node_name}: scaling from {from} to {to}"),
            Self::Suspended => f.write_str("suspended: not maintained until it is resumed"),
            Self::Resumed => f.write_str("resumed"),
            Self::Hold { dead, of } => write!(f, "{dead} of {of} instances look dead: healing is on hold"),
            Self::HoldEnded => f.write_str("hold ended"),
            Self::RollingBack { instances: 1 } => f.write_str("rolling back 1 instance"),
            Self::RollingBack { instances } => write!(f, "rolling back {instances} instances"),
            Self::Planned { plan } => write!(f, "plan: {}", plan.summary()),
            Self::Progress { node_name, phase, detail: Some(detail) } => write!(f, "{node_name}: {phase} {detail}"),
            Self::Progress { node_name, phase, detail: None } => write!(f, "{node_name}: {phase}"),
            Self::Retrying { node_name, call, message, seconds } => {
                write!(f, "{node_name}: {call} again in {seconds:.1} s: {message}")
            }
            Self::Waiting { node_name, message, .. } => write!(f, "{node_name}: waiting: {message}"),
            Self::Unknown(_) => f.write_str("unknown event of a newer version"),
        }
    }
}

fn write_address(f: &mut fmt::Formatter<'_>, addresses: &[Address]) -> fmt::Result {
    match addresses.first() {
        Some(address) => write!(f, " at {}", address.value),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Creates an event of this name, with the fields of all events.
    fn of_name(name: &str) -> EventKind {
        let event = json!({
            "event": name, "name": "n", "node_id": "1", "node_name": "n", "driver": "d", "adopted": false, "addresses": [],
            "message": "m", "healthy": true, "vanished": false, "from": 1, "to": 2, "dead": 1, "of": 2, "instances": 3,
            "plan": {"actions": []}, "phase": "p", "detail": null, "call": "create", "seconds": 1.0, "failures": 2,
        });
        serde_json::from_value(event)
            .unwrap_or_else(|error| panic!("{name}: {error}: does the event have a new field?"))
    }

    #[test]
    fn names_are_those_of_json() {
        for (names, is_transient) in [(&EventKind::NAMES[..], false), (&EventKind::TRANSIENT[..], true)] {
            for name in names {
                let kind = of_name(name);
                assert_eq!((kind.name(), kind.is_transient()), (*name, is_transient));
                assert_eq!(serde_json::to_value(&kind).unwrap()["event"], **name);
            }
        }
    }

    #[test]
    fn an_event_of_another_version_is_passed_on_as_it_was_written() {
        let head = r#""id":7,"time":"2026-01-01T00:00:00Z","infra_id":"i""#;
        for rest in [r#""event":"node-moved","host":{"rack":3}"#, r#""event":"nodecreated","machine":"m""#] {
            let event: Event = serde_json::from_str(&format!("{{\"v\":1,{head},{rest}}}")).unwrap();
            assert!(matches!(event.kind, EventKind::Unknown(_)), "{event:?}");
            assert_eq!(serde_json::to_string(&event).unwrap(), format!("{{{head},{rest}}}"));
            assert!(rest.contains(&format!("\"{}\"", event.kind.name())));
        }
        for bad in [r#""event":"a\nid: 9""#, r#""event":"""#, r#""event":5"#, r#""name":"n""#] {
            assert!(serde_json::from_str::<Event>(&format!("{{{head},{bad}}}")).is_err(), "{bad}");
        }
    }
}
