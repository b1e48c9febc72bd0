//! What happens, as one closed set. Reporters get all of it; the store keeps all but [`EventKind::is_transient`].

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::ports::Address;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place among the stored events of its infrastructure: later ones are greater, numbers may be missing, and those of
    /// an infrastructure that had the same id before are smaller. None when it is not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// When.
    pub time: Timestamp,
    /// The infrastructure's id.
    pub infra_id: String,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// An event from the store; its `id` is there.
pub type StoredEvent = Event;

/// What happened. The names without hyphens are those of the events of Occopus 1.
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
    /// Nothing is left of it.
    #[serde(rename = "infradrop")]
    InfraDrop,
    /// A machine is about to be asked for.
    #[serde(rename = "nodecreating")]
    NodeCreating {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// The driver's keyword.
        driver: String,
    },
    /// The cloud has accepted it, and its reference is known.
    NodePlaced {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// It was found, after a lost answer or a crash.
        adopted: bool,
    },
    /// The machine runs.
    NodeRunning {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Its addresses.
        addresses: Vec<Address>,
    },
    /// The node is ready.
    #[serde(rename = "nodecreated")]
    NodeCreated {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Its addresses.
        addresses: Vec<Address>,
    },
    /// An answer was lost; the cloud is asked what became of it.
    NodeUnknown {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// What happened.
        message: String,
    },
    /// No capacity; the next implementation is tried.
    NodeFallback {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// The driver that has none.
        driver: String,
        /// Its words.
        message: String,
    },
    /// The node can't become ready.
    #[serde(rename = "nodefailed")]
    NodeFailed {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Why.
        message: String,
        /// The last lines that its machine wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
    },
    /// The node fails again and again; it is tried again after a pause.
    NodeFailing {
        /// Name of the node.
        node_name: String,
        /// How often in a row.
        failures: u32,
        /// Seconds until the next attempt.
        seconds: f64,
        /// Why it failed last.
        message: String,
    },
    /// Its checks pass again, or not any more.
    NodeHealth {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Whether they pass.
        healthy: bool,
        /// What the check said.
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
        /// It had vanished by itself.
        vanished: bool,
    },
    /// The user asked to forget the instance; its machine may still exist.
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
        /// Why.
        message: String,
    },
    /// A dead instance will be replaced.
    NodeReplacing {
        /// UUID of the dead instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Why.
        message: String,
        /// The last lines that its machine wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
    },
    /// An instance that works will be replaced by one that is made anew.
    NodeRenewing {
        /// UUID of the old instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// Why.
        message: String,
    },
    /// A node is to have another number of instances.
    #[serde(rename = "nodescaled")]
    NodeScaled {
        /// Name of the node.
        node_name: String,
        /// How many it was to have.
        from: u32,
        /// How many it is to have.
        to: u32,
    },
    /// It is left alone from now on, until it is resumed.
    Suspended,
    /// It is maintained again.
    Resumed,
    /// So much looks dead at once that nothing is replaced.
    Hold {
        /// How many look dead.
        dead: usize,
        /// Of how many.
        of: usize,
    },
    /// The picture has cleared.
    HoldEnded,
    /// What this run made is about to be removed.
    RollingBack {
        /// How many instances.
        instances: usize,
    },
    /// What is going to be done. Not stored.
    Planned {
        /// The plan.
        plan: Plan,
    },
    /// A plugin tells what it is doing. Not stored.
    Progress {
        /// Name of the node.
        node_name: String,
        /// What: "pulling image".
        phase: String,
        /// How far: "42 %".
        detail: Option<String>,
    },
    /// A call did not succeed and is about to be repeated. Not stored.
    Retrying {
        /// Name of the node.
        node_name: String,
        /// Which call: "create".
        call: String,
        /// Why.
        message: String,
        /// Seconds until then.
        seconds: f64,
    },
    /// What keeps a node from being ready. Not stored.
    Waiting {
        /// UUID of the instance.
        node_id: String,
        /// Name of the node.
        node_name: String,
        /// What the check said.
        message: String,
    },
    /// Written by a newer version.
    #[serde(other)]
    Unknown,
}

/// Says, of each event, how it is called in JSON and whether it is stored. What is missing here does not compile.
macro_rules! event_names {
    (stored { $($stored:ident = $name:literal,)* } transient { $($transient:ident = $transient_name:literal,)* }) => {
        impl EventKind {
            /// Names of all events that are stored.
            pub const NAMES: [&str; [$($name),*].len()] = [$($name),*];

            /// The name, as it is in JSON under `event`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$stored { .. } => $name,)*
                    $(Self::$transient { .. } => $transient_name,)*
                    Self::Unknown => "unknown",
                }
            }

            /// Shown while it happens, and not stored.
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
        NodeRenewing = "node-renewing",
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
    /// The last lines that the machine wrote that it is about.
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::NodeFailed { output, .. } | Self::NodeReplacing { output, .. } => output.as_deref(),
            _ => None,
        }
    }

    /// The node that it is about.
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
            | Self::NodeRenewing { node_name, .. }
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
            Self::InfraDrop => f.write_str("nothing is left"),
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
            Self::NodeUnknown { node_name, message, .. } => write!(f, "{node_name}: answer lost, looking: {message}"),
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
            Self::NodeRenewing { node_name, message, .. } => write!(f, "{node_name}: renewing: {message}"),
            Self::NodeScaled { node_name, from, to } => write!(f, "{node_name}: scaling from {from} to {to}"),
            Self::Suspended => f.write_str("suspended: not maintained until it is resumed"),
            Self::Resumed => f.write_str("resumed"),
            Self::Hold { dead, of } => write!(f, "{dead} of {of} instances look dead: replacing nothing"),
            Self::HoldEnded => f.write_str("going on"),
            Self::RollingBack { instances: 1 } => f.write_str("rolling back 1 instance"),
            Self::RollingBack { instances } => write!(f, "rolling back {instances} instances"),
            Self::Planned { plan } => write!(f, "plan: {}", plan.summary()),
            Self::Progress { node_name, phase, detail: Some(detail) } => write!(f, "{node_name}: {phase} {detail}"),
            Self::Progress { node_name, phase, detail: None } => write!(f, "{node_name}: {phase}"),
            Self::Retrying { node_name, call, message, seconds } => {
                write!(f, "{node_name}: {call} again in {seconds:.1} s: {message}")
            }
            Self::Waiting { node_name, message, .. } => write!(f, "{node_name}: waiting: {message}"),
            Self::Unknown => f.write_str("something that this version does not know"),
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

    /// An event of this name with whatever any of them has.
    fn of_name(name: &str) -> EventKind {
        let event = json!({
            "event": name, "name": "n", "node_id": "1", "node_name": "n", "driver": "d", "adopted": false, "addresses": [],
            "message": "m", "healthy": true, "vanished": false, "from": 1, "to": 2, "dead": 1, "of": 2, "instances": 3,
            "plan": {"actions": []}, "phase": "p", "detail": null, "call": "create", "seconds": 1.0, "failures": 2,
        });
        serde_json::from_value(event)
            .unwrap_or_else(|error| panic!("{name}: {error}: has it a field that is new here?"))
    }

    #[test]
    fn names_are_those_of_json() {
        for (names, is_transient) in [(&EventKind::NAMES[..], false), (&EventKind::TRANSIENT[..], true)] {
            for name in names {
                let what = of_name(name);
                assert_eq!((what.name(), what.is_transient()), (*name, is_transient));
                assert_eq!(serde_json::to_value(&what).unwrap()["event"], **name);
            }
        }
        assert_eq!(of_name("of a newer version"), EventKind::Unknown);
        assert_eq!(serde_json::to_value(EventKind::Unknown).unwrap()["event"], EventKind::Unknown.name());
    }
}
