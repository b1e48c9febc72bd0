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

/// How bad an instance's state is for its node, with the word for a node of which it is the worst.
fn rank(state: InstanceState) -> (u8, &'static str) {
    match state {
        InstanceState::Failed => (9, "failed"),
        InstanceState::Stopped => (8, "stopped"),
        InstanceState::Vanished => (7, "vanished"),
        InstanceState::Unhealthy => (6, "unhealthy"),
        InstanceState::UnknownOutcome => (5, "unknown"),
        InstanceState::Destroying => (4, "removing"),
        InstanceState::Creating | InstanceState::Pending | InstanceState::Running => (3, "starting"),
        InstanceState::Ready => (0, "ready"),
    }
}

/// Returns the tone of a node, by its instances, with the word for it. What is worst counts.
pub fn of_node(node: &NodeStatus) -> (Tone, &'static str) {
    let target = node.target as usize;
    if node.failing.is_some() && count_ready(node) < target {
        return (Tone::Bad, "failing");
    }
    let worst = node.instances.iter().map(|instance| instance.state).max_by_key(|state| rank(*state).0);
    match worst {
        None if node.target == 0 => (Tone::Idle, "none"),
        None => (Tone::Idle, "waiting"),
        Some(state) if state != InstanceState::Ready => (of_instance(state), rank(state).1),
        Some(_) if node.instances.len() < target => (Tone::Busy, "incomplete"),
        Some(_) if node.instances.len() > target => (Tone::Busy, "too many"),
        Some(_) if node.instances.iter().any(|instance| instance.unobserved.is_some()) => (Tone::Bad, "unobserved"),
        Some(_) => (Tone::Good, "ready"),
    }
}

/// Returns how many instances of a node are ready, of how many: `2 of 3 ready`.
pub fn format_ready(ready: usize, wanted: usize) -> String {
    if ready > wanted { format!("{ready} ready, {wanted} wanted") } else { format!("{ready} of {wanted} ready") }
}

/// How many instances of a node are ready.
pub fn count_ready(node: &NodeStatus) -> usize {
    node.instances.iter().filter(|instance| instance.state == InstanceState::Ready).count()
}
