//! Turns at having something worked out that takes a core for a while: descriptions that are checked, large drawings.
//!
//! Few are worked on at a time, of each token one, and of those who only look fewer than there is room for: whoever operates
//! waits at most for one who does so, too.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::{Caller, Scope};
use crate::token_permits::TokenPermits;

/// Turns at the same time.
const MAX_CONCURRENT: usize = 2;
/// Turns of them for tokens that only look.
const MAX_CONCURRENT_READERS: usize = 1;

/// Knows who waits. Clones are the same.
#[derive(Clone)]
pub(crate) struct FairScheduler {
    all: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    by_token: TokenPermits,
}

/// A turn, until it is dropped.
pub(crate) struct Permit {
    _permits: [Option<OwnedSemaphorePermit>; 3],
}

impl FairScheduler {
    pub(crate) fn new() -> Self {
        let semaphore = |places| Arc::new(Semaphore::new(places));
        Self {
            all: semaphore(MAX_CONCURRENT),
            readers: semaphore(MAX_CONCURRENT_READERS),
            by_token: TokenPermits::default(),
        }
    }

    /// Waits until it is the caller's turn.
    pub(crate) async fn acquire(&self, caller: &Caller) -> Permit {
        // Nobody closes them. Each waits only for who needs fewer of them, so that somebody always goes on.
        let own = match &caller.token {
            Some(token) => self.by_token.semaphore(token, 1).acquire_owned().await.ok(),
            None => None,
        };
        let reading = match caller.scope {
            Scope::Read => self.readers.clone().acquire_owned().await.ok(),
            Scope::Operate | Scope::Admin => None,
        };
        Permit { _permits: [own, reading, self.all.clone().acquire_owned().await.ok()] }
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
        let shares = FairScheduler::new();
        let (a, b, c) = (caller("a", Scope::Read), caller("b", Scope::Read), caller("c", Scope::Operate));
        let reading = shares.acquire(&a).await;
        assert!(shares.acquire(&a).now_or_never().is_none(), "one has one");
        let mut waiting = std::pin::pin!(shares.acquire(&b));
        assert!(waiting.as_mut().now_or_never().is_none(), "one of those who read");
        let operating = shares.acquire(&c).now_or_never().expect("a place is left");
        assert!(shares.acquire(&c).now_or_never().is_none());
        assert!(shares.acquire(&caller("d", Scope::Admin)).now_or_never().is_none(), "all places are taken");
        drop(reading);
        assert!(waiting.as_mut().now_or_never().is_some());
        drop(operating);
        assert!(shares.acquire(&c).now_or_never().is_some());
    }
}
