//! The check that the store accepts writes, cached for frequent readiness checks.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use occopus_engine::ports::{Store, Transaction, Write};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::problem::ApiError;

/// Time for which a successful write counts.
const SUCCESS_TTL: Duration = Duration::from_secs(2);
/// Time after which a write counts as failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Key that the probe deletes. There is never such an entry, so the write leaves nothing.
const PROBE_KEY: &str = "service/ready";

/// The last successful write. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct WriteProbe {
    last_success: Arc<Mutex<Option<Instant>>>,
}

impl WriteProbe {
    /// Writes to the store, unless a write succeeded within [`SUCCESS_TTL`]. Concurrent callers wait for one write.
    ///
    /// # Errors
    /// Fails if the write fails, or takes longer than [`PROBE_TIMEOUT`].
    pub(crate) async fn check(&self, store: &dyn Store) -> Result<(), ApiError> {
        let mut last_success = self.last_success.lock().await;
        if last_success.is_some_and(|last_success| last_success.elapsed() < SUCCESS_TTL) {
            return Ok(());
        }
        *last_success = None;
        let writes = vec![Write::Delete { key: PROBE_KEY.to_owned() }];
        match timeout(PROBE_TIMEOUT, store.commit(Transaction { compares: Vec::new(), writes })).await {
            Ok(written) => written?,
            Err(_) => {
                let text = format!("the store did not accept a write within {} s", PROBE_TIMEOUT.as_secs());
                return Err(
                    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "store.unavailable", text).with_retry_after(1)
                );
            }
        };
        *last_success = Some(Instant::now());
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
        let probe = WriteProbe::default();
        store.fail_commits(1);
        assert_eq!(probe.check(&store).await.unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        probe.check(&store).await.unwrap();
        let commits = store.commits();
        probe.check(&store).await.unwrap();
        assert_eq!(store.commits(), commits, "a write succeeded a moment ago");
        assert!(store.keys().is_empty());
    }
}
