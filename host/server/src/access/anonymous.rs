//! Requests of whoever has no token: short ones, of which few are under way. For another one, the one that has taken longest goes.
//! So nobody keeps others from signing in by requests that do not end, also not from the same address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::slots::SlotLimits;
use crate::listen::network_of;

/// Requests that are under way. Clones are the same.
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

/// One request, until it is dropped.
pub(super) struct AnonymousRequest {
    shared: Arc<AnonymousInner>,
    position: u64,
    evicted: CancellationToken,
}

impl AnonymousRequests {
    pub(super) fn new(most: SlotLimits) -> Self {
        Self { shared: Arc::new(AnonymousInner { limits: most, queue: Mutex::default() }) }
    }

    /// Takes a place, where there is none that of the one from there, or of all, that has had one for longest.
    pub(super) fn admit(&self, address: Option<IpAddr>) -> AnonymousRequest {
        let (SlotLimits { per_address, all, .. }, address) = (self.shared.limits, address.map(network_of));
        let mut line = self.shared.queue();
        let from_there = line.requests.iter().filter(|(_, (other, _))| *other == address);
        let own = from_there.clone().next().map(|(place, _)| *place).filter(|_| from_there.count() >= per_address);
        let oldest = line.requests.keys().next().copied().filter(|_| line.requests.len() >= all);
        if let Some((_, away)) = own.or(oldest).and_then(|place| line.requests.remove(&place)) {
            away.cancel();
        }
        let (place, away) = (line.next, CancellationToken::new());
        line.next += 1;
        line.requests.insert(place, (address, away.clone()));
        AnonymousRequest { shared: self.shared.clone(), position: place, evicted: away }
    }
}

impl AnonymousInner {
    fn queue(&self) -> MutexGuard<'_, AdmissionQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AnonymousRequest {
    /// Ends when another one has come in its place.
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
        let strangers = AnonymousRequests::new(SlotLimits { per_token: 0, per_address: 2, all: 3 });
        let come = |last| strangers.admit(Some(IpAddr::from([10, 0, 0, last])));
        let (one, two, three) = (come(1), come(2), come(1));
        let is_away = |stranger: &AnonymousRequest| stranger.evicted.is_cancelled();
        let four = come(1);
        assert!(is_away(&one) && !is_away(&two) && !is_away(&three));
        let five = come(3);
        assert!(is_away(&two) && !is_away(&three) && !is_away(&four));
        drop((one, two, three, four));
        let six = come(3);
        assert!(!is_away(&five) && !is_away(&six));
        drop((five, six));
        assert!(strangers.shared.queue().requests.is_empty());
    }
}
