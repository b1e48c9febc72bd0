//! An infrastructure that this process owns.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Engine;
use crate::act::RunContext;
use crate::error::EngineError;
use crate::event::EventKind;
use crate::id::InfrastructureId;
use crate::lease::InfrastructureLease;
use crate::ports::Write;

/// An infrastructure that this process owns: its id, with the engine and the lease by which it may be changed.
#[derive(Clone, Copy)]
pub(super) struct OwnedInfrastructure<'a> {
    pub(super) engine: &'a Engine,
    pub(super) id: &'a InfrastructureId,
    pub(super) lease: &'a InfrastructureLease,
}

impl OwnedInfrastructure<'_> {
    /// Writes records together with their events.
    pub(super) async fn write(&self, writes: Vec<Write>, events: Vec<EventKind>) -> Result<(), EngineError> {
        self.lease.journal.write(writes, events).await.map_err(|error| error.into_error(self.id))
    }

    /// Returns the context of a run that `cancel` cancels.
    pub(super) fn run_context(&self, cancel: CancellationToken) -> Arc<RunContext> {
        self.engine.run_context(self.id, self.lease, cancel)
    }

    /// Returns the error of a run whose lease was lost.
    pub(super) fn lease_lost_error(&self) -> EngineError {
        EngineError::LeaseLost { id: self.id.into() }
    }
}
