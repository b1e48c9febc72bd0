//! Changes of infrastructures, as they are read from the store. In come changes of keys, made by any process; out go
//! typed ones, so that nobody else parses keys or records.

use std::pin::Pin;

use futures::{Stream, StreamExt as _, future};

use super::keys::{self, KeyPart};
use super::{Position, RecordError, decode, watch_after};
use crate::event::Event;
use crate::id::InfrastructureId;
use crate::ports::{Change, Entry, Store, StoreError};

/// A stream of changes, in the order in which they were made.
pub type InfrastructureChanges = Pin<Box<dyn Stream<Item = Result<InfrastructureChange, StoreError>> + Send>>;

/// A change of an infrastructure's state in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct InfrastructureChange {
    /// Id of the infrastructure.
    pub id: InfrastructureId,
    /// Position from which a reader of this change resumes.
    pub position: Position,
    /// Kind of the change, with its data.
    pub kind: ChangeKind,
}

/// Kind of a change. Several kinds change in one transaction, and are reported one after the other.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangeKind {
    /// The summary of the infrastructure changed; removed: the infrastructure is gone.
    Infrastructure(Presence),
    /// An instance changed; removed: its machine is gone or was forgotten.
    Instance {
        /// UUID of the instance.
        instance: String,
        /// Presence of its record.
        presence: Presence,
    },
    /// An event was stored.
    Event(Box<Event>),
    /// An event was stored that this program can't read.
    UnreadableEvent(RecordError),
    /// A request to scale was stored; removed: the owner has applied it.
    Request(Presence),
    /// A process became the owner; removed: the owner has ended, or its lease has expired.
    Owner(Presence),
    /// Maintenance was suspended; removed: it was resumed.
    Suspension(Presence),
    /// Anything else changed, such as the desired state, a target, or the position of a reader of events.
    Other,
}

/// Presence of a record after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Created or rewritten.
    Written,
    /// Removed.
    Removed,
}

impl Presence {
    fn of(entry: Option<&Entry>) -> Self {
        if entry.is_some() { Self::Written } else { Self::Removed }
    }
}

/// Watches the changes of all infrastructures after a position.
pub(crate) async fn watch(store: &dyn Store, after: Position) -> Result<InfrastructureChanges, StoreError> {
    let changes = watch_after(store, keys::WATCHED, after).await?;
    let typed = changes.filter_map(|change| future::ready(change.map(InfrastructureChange::of).transpose()));
    Ok(Box::pin(typed))
}

impl InfrastructureChange {
    /// Returns the change that a change of a key is; `None` for a key of something else.
    fn of(change: Change) -> Option<Self> {
        let position = Position::after_change(&change);
        let Change { key, entry, .. } = change;
        let (id, part) = keys::parse(&key)?;
        let presence = Presence::of(entry.as_ref());
        let kind = match (part, &entry) {
            (KeyPart::Summary, _) => ChangeKind::Infrastructure(presence),
            (KeyPart::Instance(instance), _) => ChangeKind::Instance { instance: instance.to_owned(), presence },
            (KeyPart::Event, Some(entry)) => match decode(&key, &entry.value) {
                Ok(event) => ChangeKind::Event(Box::new(event)),
                Err(error) => ChangeKind::UnreadableEvent(error),
            },
            (KeyPart::Request, _) => ChangeKind::Request(presence),
            (KeyPart::Owner, _) => ChangeKind::Owner(presence),
            (KeyPart::Suspension, _) => ChangeKind::Suspension(presence),
            // Events are removed together with their infrastructure.
            (KeyPart::Event, None) | (KeyPart::Other, _) => ChangeKind::Other,
        };
        Some(Self { id, position, kind })
    }
}
