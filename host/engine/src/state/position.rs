//! Positions in the changes of a store. One transaction changes several keys under one revision, so the revision alone
//! does not say which of its changes were processed.

use futures::{Stream, StreamExt as _, future};

use crate::ports::{Change, Revision, Store, StoreError};

/// A position in the changes of a store: after all that comes before it, and before the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    revision: Revision,
    /// Key of the last change of this revision; absent after all of them.
    key: Option<String>,
}

impl Position {
    /// Returns the position after all changes of a revision.
    pub fn after(revision: Revision) -> Self {
        Self { revision, key: None }
    }

    /// Returns the position after a change. Other changes of its transaction may follow.
    pub fn after_change(change: &Change) -> Self {
        Self { revision: change.revision, key: Some(change.key.clone()) }
    }

    /// Returns the revision whose changes all come before the position.
    fn complete_revision(&self) -> Revision {
        if self.key.is_some() { self.revision.saturating_sub(1) } else { self.revision }
    }

    fn is_after(&self, change: &Change) -> bool {
        match change.revision.cmp(&self.revision) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => self.key.as_ref().is_none_or(|key| change.key <= *key),
            std::cmp::Ordering::Greater => false,
        }
    }
}

/// Watches the changes of keys that start with a prefix, after a position: none is missed, and none is reported twice,
/// wherever the caller has stopped before.
///
/// # Errors
/// Fails if the store does not answer.
pub async fn watch_after(
    store: &dyn Store,
    prefix: &str,
    after: Position,
) -> Result<impl Stream<Item = Result<Change, StoreError>> + Send + use<>, StoreError> {
    let changes = store.watch(prefix, after.complete_revision()).await?;
    Ok(changes.filter(move |change| future::ready(change.as_ref().map_or(true, |change| !after.is_after(change)))))
}
