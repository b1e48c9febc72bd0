//! The last events of infrastructures that were rolled back, kept to find the cause afterwards.

use std::time::Duration;

use super::{Engine, stored_events};
use crate::error::EngineError;
use crate::event::Event;
use crate::id::InfrastructureId;
use crate::ports::Write;
use crate::state::{HeadRecord, Pages, RolledBackRecord, decode, encode, keys, load_record};

/// Number of events that are kept of one infrastructure.
const MAX_RETAINED_EVENTS: u64 = 50;
/// Time for which they are kept.
const RETENTION_TIME: Duration = Duration::from_secs(24 * 3600);
/// Number of infrastructures of which events are kept.
const MAX_RETAINED_INFRASTRUCTURES: usize = 100;

/// Returns the writes that keep the last events of an infrastructure, and that drop what has expired.
pub(super) async fn retain(engine: &Engine, id: &InfrastructureId) -> Result<Vec<Write>, EngineError> {
    let store = &*engine.store;
    let head: Option<HeadRecord> = load_record(store, &keys::head(id)).await?;
    let last = head.unwrap_or_default().event;
    let after = keys::event(id, last.saturating_sub(MAX_RETAINED_EVENTS));
    let limit = usize::try_from(MAX_RETAINED_EVENTS).unwrap_or(50);
    let entries = store.range(&keys::events(id), Some(&after), limit).await?;
    let events = entries.iter().filter_map(stored_events::readable).collect();
    let record = RolledBackRecord { at: engine.clock.now(), events };
    let mut writes = expire_old(engine).await?;
    writes.push(Write::Put { key: keys::rolled_back(id), value: encode(record)?, lease: None });
    Ok(writes)
}

async fn expire_old(engine: &Engine) -> Result<Vec<Write>, EngineError> {
    let mut kept = Vec::new();
    for entry in Pages::collect(&*engine.store, keys::ROLLED_BACK).await? {
        match decode::<RolledBackRecord>(&entry.key, &entry.value) {
            Ok(record) => kept.push((record.at, entry.key)),
            Err(error) => tracing::warn!("kept events are not removed when they are old: {error}"),
        }
    }
    kept.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let now = engine.clock.now();
    let is_old = |at| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age > RETENTION_TIME);
    let old = kept
        .into_iter()
        .enumerate()
        .filter(|(number, (at, _))| *number + 1 >= MAX_RETAINED_INFRASTRUCTURES || is_old(*at));
    Ok(old.map(|(_, (_, key))| Write::Delete { key }).collect())
}

/// Returns the kept events, after the one with the id `after`, of an infrastructure that was rolled back.
pub(super) async fn retained_events(
    engine: &Engine,
    id: &InfrastructureId,
    after: u64,
    limit: usize,
) -> Result<Vec<Event>, EngineError> {
    let record: Option<RolledBackRecord> = load_record(&*engine.store, &keys::rolled_back(id)).await?;
    let events = record.map(|record| record.events).unwrap_or_default();
    Ok(events.into_iter().filter(|event| event.id.is_some_and(|number| number > after)).take(limit).collect())
}
