//! A limit on the request bodies of one caller that are read and processed at a time, so that no more of them are in
//! memory.

use tokio::sync::OwnedSemaphorePermit;

use super::{Caller, Scope};
use crate::token_permits::TokenPermits;

/// Bodies at a time of a token that may only read.
const MAX_READER_BODIES: usize = 2;
/// Bodies at a time of a token that may do more.
const MAX_OPERATOR_BODIES: usize = 8;

/// Permits for request bodies, by token. Clones share them.
#[derive(Clone, Default)]
pub(super) struct BodyPermits(TokenPermits);

impl BodyPermits {
    /// Waits for a permit of the caller, which is held until it is dropped.
    pub(super) async fn acquire(&self, caller: &Caller) -> Option<OwnedSemaphorePermit> {
        let limit = if caller.scope == Scope::Read { MAX_READER_BODIES } else { MAX_OPERATOR_BODIES };
        // The semaphores are never closed.
        self.0.semaphore(caller.token.as_deref().unwrap_or_default(), limit).acquire_owned().await.ok()
    }
}
