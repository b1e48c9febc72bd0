//! Documents of one caller are read and worked on few at a time, so that no more of them are in memory.

use tokio::sync::OwnedSemaphorePermit;

use super::{Caller, Scope};
use crate::token_permits::TokenPermits;

/// Documents of one who only looks.
const MAX_READER_BODIES: usize = 2;
/// Documents of one who does more.
const MAX_OPERATOR_BODIES: usize = 8;

/// Callers whose documents are worked on. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct BodyPermits(TokenPermits);

impl BodyPermits {
    /// Waits until it is the caller's turn, which it is until what this gives is dropped.
    pub(super) async fn acquire(&self, caller: &Caller) -> Option<OwnedSemaphorePermit> {
        let many = if caller.scope == Scope::Read { MAX_READER_BODIES } else { MAX_OPERATOR_BODIES };
        // Nobody closes them.
        self.0.semaphore(caller.token.as_deref().unwrap_or_default(), many).acquire_owned().await.ok()
    }
}
