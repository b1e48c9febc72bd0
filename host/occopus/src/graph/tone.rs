//! Tones of states: a class and a colour that are the same in every drawing and on every page.

use occopus_engine::{InfrastructureState, InstanceState, NodeStatus};

/// A summary of a state for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tone {
    /// Ready.
    Good,
    /// Being changed.
    Busy,
    /// Failing, or in need of attention.
    Bad,
    /// Inactive.
    Idle,
}

impl Tone {
    /// Returns the name of the class in drawings and pages.
    pub fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Bad => "bad",
            Self::Idle => "idle",
        }
    }

    /// Returns the colour without a style sheet. It is dark enough to be read on white.
    pub(super) fn colour(self) -> &'static str {
        match self {
            Self::Good => "#1a7f37",
            Self::Busy => "#8a5a00",
            Self::Bad => "#c01c28",
            Self::Idle => "#5b6470",
        }
    }
}

/// Returns the tone of an infrastructure.
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

/// Returns the tone of an instance.
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

/// Returns the severity of an instance's state for its node, and the word for a node of which it is the most severe.
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

/// Returns the tone of a node and the word for it. The most severe state of its instances counts.
pub fn of_node(node: &NodeStatus) -> (Tone, &'static str) {
    let target = node.target as usize;
    if node.failing.is_some() && count_ready(node) < target {
        return (Tone::Bad, "failing");
    }
    let most_severe = node.instances.iter().map(|instance| instance.state).max_by_key(|state| rank(*state).0);
    match most_severe {
        None if node.target == 0 => (Tone::Idle, "none"),
        None => (Tone::Idle, "waiting"),
        Some(state) if state != InstanceState::Ready => (of_instance(state), rank(state).1),
        Some(_) if node.instances.len() < target => (Tone::Busy, "incomplete"),
        Some(_) if node.instances.len() > target => (Tone::Busy, "too many"),
        Some(_) if node.instances.iter().any(|instance| instance.unobserved.is_some()) => (Tone::Bad, "unobserved"),
        Some(_) => (Tone::Good, "ready"),
    }
}

/// Formats the number of ready instances and the target: `2 of 3 ready`.
pub fn format_ready(ready: usize, target: usize) -> String {
    if ready > target { format!("{ready} ready, {target} wanted") } else { format!("{ready} of {target} ready") }
}

/// Returns the number of ready instances of a node.
pub fn count_ready(node: &NodeStatus) -> usize {
    node.instances.iter().filter(|instance| instance.state == InstanceState::Ready).count()
}
