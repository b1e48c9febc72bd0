//! An infrastructure's own record: that it exists, and where it stands.

use super::{Engine, view};
use crate::error::EngineError;
use crate::event::EventKind;
use crate::lease::InfrastructureLease;
use crate::ports::Write;
use crate::state::{InfrastructureRecord, encode, keys, load_record};
use crate::status::{InfrastructureState, Leftover};

/// Refuses an id that does not exist, before anything is written for it.
pub(super) async fn load_existing(engine: &Engine, id: &str) -> Result<InfrastructureRecord, EngineError> {
    let found = load_record(&*engine.store, &keys::infrastructure(id)).await?;
    found.ok_or_else(|| EngineError::UnknownInfrastructure { id: id.into() })
}

/// An infrastructure's new state. What a run ends with is what its instances say.
pub(super) async fn set_state(
    engine: &Engine,
    session: &InfrastructureLease,
    id: &str,
    state: InfrastructureState,
    message: Option<String>,
    events: Vec<EventKind>,
) -> Result<(), EngineError> {
    let key = keys::infrastructure(id);
    let unknown = || EngineError::UnknownInfrastructure { id: id.into() };
    let record: InfrastructureRecord = load_record(&*engine.store, &key).await?.ok_or_else(unknown)?;
    let mut record = InfrastructureRecord { state, message, ..record };
    let (mut events, mut writes) = (events, Vec::new());
    if state == InfrastructureState::Ready {
        // What is described now works: a later change that fails comes back to it.
        writes.push(Write::Delete { key: keys::previous(id) });
        // Everything was just made, or was just seen: nobody waits for another attempt.
        writes.push(Write::DeletePrefix { prefix: keys::all_failing(id) });
    }
    if !matches!(state, InfrastructureState::Building | InfrastructureState::Destroying) {
        // Whoever ends a run says what it has come to; what is so is what the records say.
        let (state, _) = view::current_state(&*engine.store, id, &record).await?;
        record.state = state;
        if state != InfrastructureState::Ready {
            events.retain(|event| *event != EventKind::InfraReady);
        }
    }
    writes.push(put(key, encode(record)?));
    session.journal.write(writes, events).await.map_err(|refused| refused.into_error(id))
}

/// What is left, in a line.
pub(super) fn join_leftovers(left: &[Leftover]) -> String {
    left.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// An entry that hangs on no lease.
pub(super) fn put(key: String, value: Vec<u8>) -> Write {
    Write::Put { key, value, lease: None }
}
