//! Deaths of the process that runs the engine, and the time until another one may take over.

use std::time::Duration;

use super::{Crash, Fakes};

/// Time after which the lease of a dead owner has expired.
const LEASE_EXPIRY: Duration = Duration::from_secs(16);
/// Number of transactions that no run under test reaches.
const MAX_TRANSACTIONS: u64 = 200;

impl Fakes {
    /// Runs something until it ends or the process dies at this transaction. Returns none if it died.
    pub async fn run_until_crash<T>(&self, crash: Crash, work: impl Future<Output = T>) -> Option<T> {
        let dead = self.store.crash(crash);
        let outcome = tokio::select! {
            biased;
            () = dead.cancelled() => None,
            outcome = work => Some(outcome),
        };
        self.store.revive();
        outcome
    }

    /// Waits until the lease of a dead owner has expired.
    pub async fn wait_for_lease_expiry(&self) {
        tokio::time::sleep(LEASE_EXPIRY).await;
    }
}

/// Runs `work` on fresh fakes again and again, and lets the process die before and after its first transaction, its second,
/// and so on until it ends. Each time it then lets the lease expire, and calls `recover` with a text that says when the process
/// died. Returns the number of deaths.
///
/// # Panics
/// Panics if the process never dies, or if `work` never ends.
pub async fn die_at_every_transaction(
    prepare: impl AsyncFn() -> Fakes,
    work: impl AsyncFn(&Fakes),
    recover: impl AsyncFn(&Fakes, &str),
) -> usize {
    let mut deaths = 0;
    for number in 1..MAX_TRANSACTIONS {
        let deaths_before = deaths;
        for crash in [Crash::Before(number), Crash::After(number)] {
            let fakes = prepare().await;
            deaths += usize::from(fakes.run_until_crash(crash, work(&fakes)).await.is_none());
            fakes.wait_for_lease_expiry().await;
            recover(&fakes, &format!("after a crash {crash:?}")).await;
        }
        if deaths == deaths_before {
            assert!(deaths > 0, "the process never died");
            return deaths;
        }
    }
    panic!("{MAX_TRANSACTIONS} transactions, and it has not ended");
}
