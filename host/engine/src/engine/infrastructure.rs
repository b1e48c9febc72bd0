//! An infrastructure's own record: its existence and its state.

use super::existing::put;
use super::owned::OwnedInfrastructure;
use super::view;
use crate::error::EngineError;
use crate::event::EventKind;
use crate::ports::Write;
use crate::state::{InfrastructureRecord, encode, keys, load_record};
use crate::status::{InfrastructureState, Leftover};

/// Writes an infrastructure's new state. At the end of a run that is the state that its records derive, not the one
/// given.
pub(super) async fn set_state(
    owned: OwnedInfrastructure<'_>,
    state: InfrastructureState,
    message: Option<String>,
    events: Vec<EventKind>,
) -> Result<(), EngineError> {
    let OwnedInfrastructure { engine, id, .. } = owned;
    let key = keys::infrastructure(id);
    let unknown = || EngineError::UnknownInfrastructure { id: id.into() };
    let record: InfrastructureRecord = load_record(&*engine.store, &key).await?.ok_or_else(unknown)?;
    let mut record = InfrastructureRecord { message, ..record };
    let (mut events, mut writes) = (events, Vec::new());
    if state == InfrastructureState::Ready {
        // The current description is deployed: a later change that fails rolls back to it.
        writes.push(Write::Delete { key: keys::previous(id) });
        // Everything was just created or observed: no node waits for another attempt.
        writes.push(Write::DeletePrefix { prefix: keys::all_failing(id) });
    }
    if matches!(state, InfrastructureState::Building | InfrastructureState::Destroying) {
        record.set_state(state);
    } else {
        // The caller gives the cause; the state is what the records say.
        let given = InfrastructureRecord { state, ..record.clone() };
        let (state, _) = view::current_state(&*engine.store, id, &given).await?;
        record.set_state(state);
        if state != InfrastructureState::Ready {
            events.retain(|event| *event != EventKind::InfraReady);
        }
    }
    writes.push(put(key, encode(record)?));
    owned.write(writes, events).await
}

/// Returns all leftovers in one line.
pub(super) fn join_leftovers(left: &[Leftover]) -> String {
    left.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
