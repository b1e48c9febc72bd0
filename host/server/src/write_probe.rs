//! Whether the store takes writes, for those who ask again and again.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use occopus_engine::ports::{Store, Transaction, Write};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::problem::ApiError;

/// A write that was fine is good for so long.
const SUCCESS_TTL: Duration = Duration::from_secs(2);
/// One that takes longer is none.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// There is never such an entry, so nothing is left of the write.
const PROBE_KEY: &str = "service/ready";

/// The last write that was tried. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct WriteProbe {
    last_success: Arc<Mutex<Option<Instant>>>,
}

impl WriteProbe {
    /// Writes to the store, unless that was done a moment ago. Those who ask at the same time wait for one write.
    pub(crate) async fn check(&self, store: &dyn Store) -> Result<(), ApiError> {
        let mut fine = self.last_success.lock().await;
        if fine.is_some_and(|fine| fine.elapsed() < SUCCESS_TTL) {
            return Ok(());
        }
        *fine = None;
        let writes = vec![Write::Delete { key: PROBE_KEY.to_owned() }];
        match timeout(PROBE_TIMEOUT, store.commit(Transaction { compares: Vec::new(), writes })).await {
            Ok(written) => written?,
            Err(_) => {
                let text = format!("the store did not take a write within {} s", PROBE_TIMEOUT.as_secs());
                return Err(
                    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "store.unavailable", text).with_retry_after(1)
                );
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
        let writes = WriteProbe::default();
        store.fail_commits(1);
        assert_eq!(writes.check(&store).await.unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        writes.check(&store).await.unwrap();
        let tried = store.commits();
        writes.check(&store).await.unwrap();
        assert_eq!(store.commits(), tried, "it was fine a moment ago");
        assert!(store.keys().is_empty());
    }
}
