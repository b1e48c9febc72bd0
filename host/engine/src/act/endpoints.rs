//! Limits on concurrent calls to one cloud: permits for the calls of one run, and an adaptive limiter for all runs of
//! an engine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use occopus_model::section_type;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limiter::AdaptiveLimiter;
use crate::ports::Clock;
use crate::settings::Settings;

/// The limiters of all endpoints, shared by all runs of an engine. A limiter lives as long as a run uses it.
pub(crate) struct Limiters {
    clock: Arc<dyn Clock>,
    all: Mutex<HashMap<String, Weak<AdaptiveLimiter>>>,
}

impl Limiters {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, all: Mutex::default() })
    }

    fn get_or_create(&self, key: &str, settings: &Settings) -> Arc<AdaptiveLimiter> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limiter) = all.get(key).and_then(Weak::upgrade) {
            return limiter;
        }
        all.retain(|_, limiter| limiter.strong_count() > 0);
        let limiter =
            AdaptiveLimiter::new(self.clock.clone(), settings.calls_per_endpoint.max(1), settings.retry_delay_min);
        let limiter = Arc::new(limiter);
        all.insert(key.to_owned(), Arc::downgrade(&limiter));
        limiter
    }
}

/// The purpose of a call. Each has permits of its own, so that queries do not wait for mutations, which may take long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Mutate,
    Query,
}

/// A driver at one endpoint, for one run.
pub(super) struct EndpointLimits {
    pub(super) limiter: Arc<AdaptiveLimiter>,
    mutations: Arc<Semaphore>,
    queries: Arc<Semaphore>,
}

impl EndpointLimits {
    /// Waits for one of the run's own permits. It is kept while a call is repeated, so that queued calls have not
    /// failed yet.
    pub(super) async fn acquire_permit(&self, purpose: Purpose) -> Option<OwnedSemaphorePermit> {
        let permits = match purpose {
            Purpose::Mutate => &self.mutations,
            Purpose::Query => &self.queries,
        };
        // The semaphore is never closed, so this is always `Some`.
        permits.clone().acquire_owned().await.ok()
    }
}

/// All endpoints of a run.
pub(super) struct Endpoints {
    settings: Arc<Settings>,
    limiters: Arc<Limiters>,
    all: Mutex<HashMap<String, Arc<EndpointLimits>>>,
}

impl Endpoints {
    pub(super) fn new(settings: Arc<Settings>, limiters: Arc<Limiters>) -> Self {
        Self { settings, limiters, all: Mutex::default() }
    }

    /// Returns the endpoint of a `resource` section.
    pub(super) fn limits_for(&self, section: &Value) -> Arc<EndpointLimits> {
        let endpoint = section.get("endpoint").and_then(Value::as_str).unwrap_or_default();
        let key = format!("{} {endpoint}", section_type(section).unwrap_or_default());
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = all.get(&key) {
            return endpoint.clone();
        }
        let permits = || Arc::new(Semaphore::new(self.settings.calls_per_endpoint.max(1)));
        let limiter = self.limiters.get_or_create(&key, &self.settings);
        let endpoint = Arc::new(EndpointLimits { limiter, mutations: permits(), queries: permits() });
        all.insert(key, endpoint.clone());
        endpoint
    }
}
