//! A scheduler for computations that take a core for a while: checks of descriptions, large drawings.
//!
//! Few run at a time: one of each token, and for tokens that may only read fewer than in all. So readers alone never
//! block an operator.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::{Caller, Scope};
use crate::token_permits::TokenPermits;

/// Permits in all.
const MAX_CONCURRENT: usize = 2;
/// Permits for tokens that may only read.
const MAX_CONCURRENT_READERS: usize = 1;

/// The scheduler. Clones share its permits.
#[derive(Clone)]
pub(crate) struct FairScheduler {
    all: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    by_token: TokenPermits,
}

/// A permit for one computation, until this is dropped.
pub(crate) struct Permit {
    _permits: [Option<OwnedSemaphorePermit>; 3],
}

impl FairScheduler {
    pub(crate) fn new() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            all: semaphore(MAX_CONCURRENT),
            readers: semaphore(MAX_CONCURRENT_READERS),
            by_token: TokenPermits::default(),
        }
    }

    /// Waits for a permit.
    pub(crate) async fn acquire(&self, caller: &Caller) -> Permit {
        // The semaphores are never closed. All callers acquire them in this order, so that there is no deadlock.
        let token = match &caller.token {
            Some(token) => self.by_token.semaphore(token, 1).acquire_owned().await.ok(),
            None => None,
        };
        let reader = match caller.scope {
            Scope::Read => self.readers.clone().acquire_owned().await.ok(),
            Scope::Operate | Scope::Admin => None,
        };
        Permit { _permits: [token, reader, self.all.clone().acquire_owned().await.ok()] }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn caller(token: &str, scope: Scope) -> Caller {
        Caller { token: Some(token.to_owned()), scope, ..Caller::anyone(None) }
    }

    #[tokio::test]
    async fn who_reads_leaves_a_place_and_nobody_has_two() {
        let scheduler = FairScheduler::new();
        let (a, b, c) = (caller("a", Scope::Read), caller("b", Scope::Read), caller("c", Scope::Operate));
        let reading = scheduler.acquire(&a).await;
        assert!(scheduler.acquire(&a).now_or_never().is_none(), "a token has one permit");
        let mut waiting = std::pin::pin!(scheduler.acquire(&b));
        assert!(waiting.as_mut().now_or_never().is_none(), "readers have one permit");
        let operating = scheduler.acquire(&c).now_or_never().expect("a permit is left");
        assert!(scheduler.acquire(&c).now_or_never().is_none());
        assert!(scheduler.acquire(&caller("d", Scope::Admin)).now_or_never().is_none(), "all permits are taken");
        drop(reading);
        assert!(waiting.as_mut().now_or_never().is_some());
        drop(operating);
        assert!(scheduler.acquire(&c).now_or_never().is_some());
    }
}
