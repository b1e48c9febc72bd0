//! Whether the store takes writes, for those who ask again and again.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use occopus_engine::ports::{Store, Transaction, Write};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::problem::Problem;

/// A write that was fine is good for so long.
const GOOD_FOR: Duration = Duration::from_secs(2);
/// One that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(5);
/// There is never such an entry, so nothing is left of the write.
const KEY: &str = "service/ready";

/// The last write that was tried. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Writes {
    fine: Arc<Mutex<Option<Instant>>>,
}

impl Writes {
    /// Writes to the store, unless that was done a moment ago. Those who ask at the same time wait for one write.
    pub(crate) async fn check(&self, store: &dyn Store) -> Result<(), Problem> {
        let mut fine = self.fine.lock().await;
        if fine.is_some_and(|fine| fine.elapsed() < GOOD_FOR) {
            return Ok(());
        }
        *fine = None;
        let writes = vec![Write::Delete { key: KEY.to_owned() }];
        match timeout(PATIENCE, store.commit(Transaction { compares: Vec::new(), writes })).await {
            Ok(written) => written?,
            Err(_) => {
                let text = format!("the store did not take a write within {} s", PATIENCE.as_secs());
                return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store.unavailable", text).retry_after(1));
            }
        };
        *fine = Some(Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use occopus_engine::ports::SystemClock;
    use occopus_engine::testing::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn a_store_that_takes_no_writes_is_not_ready() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let writes = Writes::default();
        store.refuse(1);
        assert_eq!(writes.check(&store).await.unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        writes.check(&store).await.unwrap();
        let tried = store.commits();
        writes.check(&store).await.unwrap();
        assert_eq!(store.commits(), tried, "it was fine a moment ago");
        assert!(store.keys().is_empty());
    }
}
