//! How many calls go to one cloud at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One limit for each driver and endpoint.
pub(super) struct Endpoints {
    limit: usize,
    limits: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Endpoints {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), limits: Mutex::default() }
    }

    /// Waits for a turn at the endpoint of a `resource` section.
    pub(super) async fn turn(&self, section: &Value) -> Option<OwnedSemaphorePermit> {
        let text = |key: &str| section.get(key).and_then(Value::as_str).unwrap_or_default();
        let key = format!("{} {}", text("type"), text("endpoint"));
        let semaphore = {
            let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
            limits.entry(key).or_insert_with(|| Arc::new(Semaphore::new(self.limit))).clone()
        };
        // The semaphore is never closed, so this is always some.
        semaphore.acquire_owned().await.ok()
    }
}
