//! How things are, in a word and a colour: the same in every drawing and on every page.

use occopus_engine::{InfrastructureState, InstanceState, NodeStatus};

/// How things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tone {
    /// As it should be.
    Good,
    /// On its way.
    Busy,
    /// Somebody should look.
    Bad,
    /// Nothing happens.
    Idle,
}

impl Tone {
    /// The name of the class in drawings and pages.
    pub fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Bad => "bad",
            Self::Idle => "idle",
        }
    }

    /// Where no style sheet says otherwise. Dark enough to be read on white.
    pub(super) fn colour(self) -> &'static str {
        match self {
            Self::Good => "#1a7f37",
            Self::Busy => "#8a5a00",
            Self::Bad => "#c01c28",
            Self::Idle => "#5b6470",
        }
    }
}

/// Of an infrastructure.
pub fn of_infrastructure(state: InfrastructureState) -> Tone {
    match state {
        InfrastructureState::Ready => Tone::Good,
        InfrastructureState::Building | InfrastructureState::Destroying => Tone::Busy,
        InfrastructureState::Degraded
        | InfrastructureState::Failing
        | InfrastructureState::Unreachable
        | InfrastructureState::Held => Tone::Bad,
    }
}

/// Of an instance.
pub fn of_instance(state: InstanceState) -> Tone {
    match state {
        InstanceState::Ready => Tone::Good,
        InstanceState::Creating | InstanceState::Pending | InstanceState::Running | InstanceState::Destroying => {
            Tone::Busy
        }
        InstanceState::UnknownOutcome
        | InstanceState::Unhealthy
        | InstanceState::Stopped
        | InstanceState::Vanished
        | InstanceState::Failed => Tone::Bad,
    }
}

/// Of a node, by its instances, with the word for it. What is worst counts.
pub fn of_node(node: &NodeStatus) -> (Tone, &'static str) {
    let any = |state| node.instances.iter().any(|instance| instance.state == state);
    if any(InstanceState::Failed) {
        (Tone::Bad, "failed")
    } else if any(InstanceState::Stopped) {
        (Tone::Bad, "stopped")
    } else if any(InstanceState::Vanished) {
        (Tone::Bad, "vanished")
    } else if any(InstanceState::Unhealthy) {
        (Tone::Bad, "unhealthy")
    } else if any(InstanceState::UnknownOutcome) {
        (Tone::Bad, "unknown")
    } else if node.instances.is_empty() {
        (Tone::Idle, if node.target == 0 { "none" } else { "waiting" })
    } else if any(InstanceState::Destroying) {
        (Tone::Busy, "removing")
    } else if ready(node) < node.instances.len() {
        (Tone::Busy, "starting")
    } else if node.instances.len() < node.target as usize {
        (Tone::Busy, "incomplete")
    } else {
        (Tone::Good, "ready")
    }
}

/// How many instances of a node are ready.
pub fn ready(node: &NodeStatus) -> usize {
    node.instances.iter().filter(|instance| instance.state == InstanceState::Ready).count()
}
