//! Idle connections, in the order in which they became idle. When there is no room for another connection, the one that
//! has been idle longest is evicted: so connections that are held open without requests block nobody.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// All idle connections, the longest idle first.
#[derive(Debug, Clone, Default)]
pub(super) struct IdleConnections {
    queue: Arc<Mutex<IdleQueue>>,
}

#[derive(Debug, Default)]
struct IdleQueue {
    next: u64,
    connections: BTreeMap<u64, (IpAddr, CancellationToken)>,
}

/// A connection, which is in the queue while it has no request.
#[derive(Debug)]
pub(super) struct TrackedConnection {
    idle: IdleConnections,
    network: IpAddr,
    evicted: CancellationToken,
    state: Mutex<ConnectionState>,
}

#[derive(Debug)]
struct ConnectionState {
    requests: usize,
    position: u64,
}

/// A request under way, until its response is sent or dropped.
#[derive(Debug)]
pub(super) struct ActiveRequest {
    connection: Arc<TrackedConnection>,
}

impl IdleConnections {
    /// Registers a connection, at the end of the queue.
    pub(super) fn register(&self, network: IpAddr) -> Arc<TrackedConnection> {
        let evicted = CancellationToken::new();
        let position = self.enqueue(network, &evicted);
        let state = Mutex::new(ConnectionState { requests: 0, position });
        Arc::new(TrackedConnection { idle: self.clone(), network, evicted, state })
    }

    /// Evicts the longest idle connection of this network, or of all; returns false if none is idle.
    pub(super) fn evict_longest_idle(&self, network: Option<IpAddr>) -> bool {
        let mut queue = lock(&self.queue);
        let mut connections = queue.connections.iter();
        let first = connections.find(|(_, (other, _))| network.is_none_or(|network| network == *other));
        let first = first.map(|(position, _)| *position);
        let removed = first.and_then(|position| queue.connections.remove(&position));
        removed.is_some_and(|(_, evicted)| {
            evicted.cancel();
            true
        })
    }

    fn enqueue(&self, network: IpAddr, evicted: &CancellationToken) -> u64 {
        let mut queue = lock(&self.queue);
        let position = queue.next;
        queue.next += 1;
        queue.connections.insert(position, (network, evicted.clone()));
        position
    }

    fn dequeue(&self, position: u64) {
        lock(&self.queue).connections.remove(&position);
    }
}

impl TrackedConnection {
    /// Waits until the connection is evicted.
    pub(super) async fn wait_for_eviction(&self) {
        self.evicted.cancelled().await;
    }

    /// Returns true while a request is under way.
    pub(super) fn is_busy(&self) -> bool {
        lock(&self.state).requests > 0
    }

    /// Begins a request; the first one takes the connection out of the queue.
    pub(super) fn begin_request(self: &Arc<Self>) -> ActiveRequest {
        let mut state = lock(&self.state);
        if state.requests == 0 {
            self.idle.dequeue(state.position);
        }
        state.requests += 1;
        ActiveRequest { connection: self.clone() }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let TrackedConnection { idle, network, evicted, state } = &*self.connection;
        let mut state = lock(state);
        state.requests -= 1;
        if state.requests == 0 {
            state.position = idle.enqueue(*network, evicted);
        }
    }
}

impl Drop for TrackedConnection {
    fn drop(&mut self) {
        let position = lock(&self.state).position;
        self.idle.dequeue(position);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn who_has_waited_longest_goes_first_and_who_is_busy_stays() {
        let idle = IdleConnections::default();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let [one, two, three] = [here, there, here].map(|address| idle.register(address));
        let is_evicted = |connection: &TrackedConnection| connection.evicted.is_cancelled();
        let (busy, more) = (one.begin_request(), one.begin_request());
        assert!(idle.evict_longest_idle(Some(here)) && is_evicted(&three));
        assert!(!idle.evict_longest_idle(Some(here)) && one.is_busy());
        drop(busy);
        assert!(!idle.evict_longest_idle(Some(here)));
        drop(more);
        assert!(idle.evict_longest_idle(None) && is_evicted(&two));
        assert!(idle.evict_longest_idle(None) && is_evicted(&one) && !one.is_busy());
        assert!(!idle.evict_longest_idle(None));
        drop(idle.register(Ipv4Addr::LOCALHOST.into()));
        assert!(!idle.evict_longest_idle(None));
    }
}
