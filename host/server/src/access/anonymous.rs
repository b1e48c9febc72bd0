//! Requests without a token: short ones, of which only few may be under way. When the limit is reached, a new one evicts
//! the oldest. So requests that never end keep nobody from signing in, also not from the same address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::slots::SlotLimits;
use crate::listen::network_of;

/// Anonymous requests under way, within their limits. Clones share them.
#[derive(Clone)]
pub(super) struct AnonymousRequests {
    shared: Arc<AnonymousInner>,
}

struct AnonymousInner {
    limits: SlotLimits,
    queue: Mutex<AdmissionQueue>,
}

#[derive(Default)]
struct AdmissionQueue {
    next: u64,
    requests: BTreeMap<u64, (Option<IpAddr>, CancellationToken)>,
}

/// A request under way, until this is dropped.
pub(super) struct AnonymousRequest {
    shared: Arc<AnonymousInner>,
    position: u64,
    evicted: CancellationToken,
}

impl AnonymousRequests {
    pub(super) fn new(limits: SlotLimits) -> Self {
        Self { shared: Arc::new(AnonymousInner { limits, queue: Mutex::default() }) }
    }

    /// Admits a request. At the limit of its address it evicts the oldest request from there, else at the limit for all
    /// the oldest of all.
    pub(super) fn admit(&self, address: Option<IpAddr>) -> AnonymousRequest {
        let (SlotLimits { per_address, all, .. }, address) = (self.shared.limits, address.map(network_of));
        let mut queue = self.shared.queue();
        let same_address = queue.requests.iter().filter(|(_, (other, _))| *other == address);
        let oldest_there =
            same_address.clone().next().map(|(position, _)| *position).filter(|_| same_address.count() >= per_address);
        let oldest = queue.requests.keys().next().copied().filter(|_| queue.requests.len() >= all);
        if let Some((_, evicted)) = oldest_there.or(oldest).and_then(|position| queue.requests.remove(&position)) {
            evicted.cancel();
        }
        let (position, evicted) = (queue.next, CancellationToken::new());
        queue.next += 1;
        queue.requests.insert(position, (address, evicted.clone()));
        AnonymousRequest { shared: self.shared.clone(), position, evicted }
    }
}

impl AnonymousInner {
    fn queue(&self) -> MutexGuard<'_, AdmissionQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AnonymousRequest {
    /// Waits until another request has evicted this one.
    pub(super) async fn wait_for_eviction(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for AnonymousRequest {
    fn drop(&mut self) {
        self.shared.queue().requests.remove(&self.position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_taken_longest_makes_room() {
        let requests = AnonymousRequests::new(SlotLimits { per_token: 0, per_address: 2, all: 3 });
        let admit = |last| requests.admit(Some(IpAddr::from([10, 0, 0, last])));
        let (one, two, three) = (admit(1), admit(2), admit(1));
        let is_evicted = |request: &AnonymousRequest| request.evicted.is_cancelled();
        let four = admit(1);
        assert!(is_evicted(&one) && !is_evicted(&two) && !is_evicted(&three));
        let five = admit(3);
        assert!(is_evicted(&two) && !is_evicted(&three) && !is_evicted(&four));
        drop((one, two, three, four));
        let six = admit(3);
        assert!(!is_evicted(&five) && !is_evicted(&six));
        drop((five, six));
        assert!(requests.shared.queue().requests.is_empty());
    }
}
