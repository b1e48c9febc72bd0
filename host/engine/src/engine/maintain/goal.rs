//! The goal of a reconciler: the desired state, and whether it has been reached.

use std::sync::Arc;

use crate::act::DesiredState;
use crate::id::InfrastructureId;
use crate::plan::Targets;

use super::super::{Engine, check};

/// The desired state of an infrastructure with the targets of its nodes.
pub(super) struct Goal {
    pub(super) desired: Arc<DesiredState>,
    pub(super) targets: Targets,
    pub(super) convergence: Convergence,
    is_excess_logged: bool,
}

/// Agreement of the observed state with the desired state, as the last decision found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Convergence {
    /// Something is to be done, or jobs do it.
    UnderWay,
    /// The last plan contained nothing but checks, and no job runs.
    Converged,
}

impl Goal {
    pub(super) fn new(desired: DesiredState, targets: Targets) -> Self {
        Self { desired: Arc::new(desired), targets, convergence: Convergence::UnderWay, is_excess_logged: false }
    }

    /// Sets the targets. Logs once that there are more instances than are allowed, since the limit is lower than it was:
    /// they are maintained all the same, and only growth is refused.
    pub(super) fn set_targets(&mut self, engine: &Engine, id: &InfrastructureId, targets: Targets) {
        self.targets = targets;
        let limits = engine.settings.instance_limits;
        let excess = check::instances(&self.desired.infrastructure.nodes, &self.targets, limits).err();
        if let Some(excess) = excess.as_ref().filter(|_| !self.is_excess_logged) {
            tracing::warn!(
                infrastructure = id.as_str(),
                "{excess}; existing instances are maintained, and no more are created"
            );
        }
        self.is_excess_logged = excess.is_some();
    }
}
