//! The state of the infrastructure as maintenance reports it: the record, and the events of its changes. Pure: the
//! reconciler writes what it returns.

use std::collections::BTreeMap;

use super::super::existing::put;
use super::hold::DeadShare;
use crate::derived_state::{FailingNodes, StateInputs, derive_state};
use crate::event::EventKind;
use crate::id::InfrastructureId;
use crate::plan::Targets;
use crate::ports::{StoreError, Write};
use crate::state::{InfrastructureRecord, InstanceRecord, encode, keys};
use crate::status::InfrastructureState;

/// The reported state of an infrastructure, and what is to be reported next.
pub(super) struct StateReport {
    /// Record of the infrastructure, as it is in the store.
    recorded: InfrastructureRecord,
    /// Reason why an instance is missing.
    failure: Option<String>,
    /// Set if a job changed something, and no event has reported it.
    has_unreported_change: bool,
}

/// Everything that determines the state.
pub(super) struct ReportInputs<'a> {
    pub(super) id: &'a InfrastructureId,
    pub(super) infrastructure: &'a occopus_model::Infrastructure,
    pub(super) targets: &'a Targets,
    pub(super) failing: &'a FailingNodes,
    pub(super) records: &'a BTreeMap<String, InstanceRecord>,
    pub(super) hold: Option<DeadShare>,
    /// Set while jobs change something.
    pub(super) has_jobs: bool,
}

/// A change of the state, to be written.
pub(super) struct StateChange {
    pub(super) writes: Vec<Write>,
    pub(super) events: Vec<EventKind>,
}

impl StateReport {
    pub(super) fn new(recorded: InfrastructureRecord) -> Self {
        let is_wrong = matches!(recorded.state, InfrastructureState::Degraded | InfrastructureState::Failing);
        Self { failure: recorded.message.clone().filter(|_| is_wrong), recorded, has_unreported_change: false }
    }

    /// Returns the state that was reported last.
    pub(super) fn state(&self) -> InfrastructureState {
        self.recorded.state
    }

    /// Notes that a job has ended, and with which failure.
    pub(super) fn note_job(&mut self, failure: Option<String>) {
        (self.failure, self.has_unreported_change) = (failure, true);
    }

    /// Returns what is to be written: the state, if it has changed, with the events of the change. `None` if nothing is
    /// to be reported.
    ///
    /// # Errors
    /// Fails if the record can't be serialised as JSON.
    pub(super) fn update(&mut self, inputs: &ReportInputs<'_>) -> Result<Option<StateChange>, StoreError> {
        let (before, hold) = (self.recorded.state, inputs.hold);
        let (state, message) = match hold {
            Some(DeadShare { dead, of }) => {
                let message = format!("{dead} of {of} instances look dead at once, so none is replaced");
                (InfrastructureState::Held, Some(message))
            }
            None => (InfrastructureState::Degraded, self.failure.clone()),
        };
        let concluded = InfrastructureRecord { state, message, ..self.recorded.clone() };
        let state = state_of(inputs, &concluded);
        if matches!(state, InfrastructureState::Ready | InfrastructureState::Unreachable) {
            self.failure = None;
        }
        let message = concluded.message.filter(|_| hold.is_some() || self.failure.is_some());
        let events = self.events(before, state, inputs);
        if state == before && message == self.recorded.message && events.is_empty() {
            return Ok(None);
        }
        self.recorded.set_state(state);
        self.recorded.message = message;
        let mut writes = vec![put(keys::infrastructure(inputs.id), encode(&self.recorded)?)];
        if state == InfrastructureState::Ready {
            // The current description is deployed: a later change that fails rolls back to it.
            writes.push(Write::Delete { key: keys::previous(inputs.id) });
        }
        Ok(Some(StateChange { writes, events }))
    }

    fn events(
        &mut self,
        before: InfrastructureState,
        state: InfrastructureState,
        inputs: &ReportInputs<'_>,
    ) -> Vec<EventKind> {
        let mut events = Vec::new();
        match inputs.hold {
            None if before == InfrastructureState::Held => events.push(EventKind::HoldEnded),
            Some(DeadShare { dead, of }) if before != InfrastructureState::Held => {
                events.push(EventKind::Hold { dead, of });
            }
            _ => {}
        }
        if self.has_unreported_change && !inputs.has_jobs {
            events.push(EventKind::InfraUpdated);
            self.has_unreported_change = false;
        }
        // An infrastructure that could not be observed for a while was ready all the same.
        let was_ready = matches!(before, InfrastructureState::Ready | InfrastructureState::Unreachable);
        if state == InfrastructureState::Ready && !was_ready {
            events.push(EventKind::InfraReady);
        }
        events
    }
}

/// Returns the state that follows from this record and those of the instances.
fn state_of(inputs: &ReportInputs<'_>, concluded: &InfrastructureRecord) -> InfrastructureState {
    let determining = StateInputs {
        id: inputs.id,
        recorded: concluded,
        is_owned: true,
        described: Some(inputs.infrastructure),
        targets: inputs.targets,
        failing: inputs.failing,
    };
    derive_state(&determining, inputs.records.values()).0
}
