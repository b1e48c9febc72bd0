//! The stored events of an infrastructure, page by page. An entry that this version can't read is no reason to withhold
//! those after it.

use crate::event::Event;
use crate::id::InfrastructureId;
use crate::ports::{Entry, Store, StoreError};
use crate::state::{Pages, RecordError, decode, keys};

/// Returns at most `limit` events after this one; fewer only if there are no more.
pub(super) async fn read(
    store: &dyn Store,
    id: &InfrastructureId,
    number: u64,
    limit: usize,
) -> Result<Vec<Event>, StoreError> {
    let (prefix, mut after, mut events) = (keys::events(id), keys::event(id, number), Vec::new());
    loop {
        let wanted = limit.saturating_sub(events.len());
        let entries = store.range(&prefix, Some(&after), wanted).await?;
        events.extend(entries.iter().filter_map(readable));
        match entries.last() {
            Some(last) if entries.len() == wanted && events.len() < limit => after.clone_from(&last.key),
            _ => return Ok(events),
        }
    }
}

/// Returns the event of an entry, or logs why it can't be read.
pub(super) fn readable(entry: &Entry) -> Option<Event> {
    decode(&entry.key, &entry.value).inspect_err(|error| tracing::warn!("an event is left out: {error}")).ok()
}

/// Returns an error for each event that can't be read.
pub(super) async fn unreadable(store: &dyn Store, id: &InfrastructureId) -> Result<Vec<RecordError>, StoreError> {
    let prefix = keys::events(id);
    let (mut pages, mut errors) = (Pages::new(store, &prefix), Vec::new());
    while let Some(page) = pages.next_page().await? {
        errors.extend(page.iter().filter_map(|entry| decode::<Event>(&entry.key, &entry.value).err()));
    }
    Ok(errors)
}
