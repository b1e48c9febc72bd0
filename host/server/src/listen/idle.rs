//! Connections that wait for a request. Where there is no room for another connection, the one that has waited longest makes
//! some: so nobody is held up by connections that are held open for nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// All connections that wait, by how long.
#[derive(Debug, Clone, Default)]
pub(super) struct IdleConnections {
    queue: Arc<Mutex<IdleQueue>>,
}

#[derive(Debug, Default)]
struct IdleQueue {
    next: u64,
    connections: BTreeMap<u64, (IpAddr, CancellationToken)>,
}

/// One connection: in the line while it has no request.
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

/// A request, until its answer is sent or given up.
#[derive(Debug)]
pub(super) struct ActiveRequest {
    connection: Arc<TrackedConnection>,
}

impl IdleConnections {
    /// Puts a connection at the end of the line.
    pub(super) fn register(&self, neighbourhood: IpAddr) -> Arc<TrackedConnection> {
        let away = CancellationToken::new();
        let place = self.enqueue(neighbourhood, &away);
        let state = Mutex::new(ConnectionState { requests: 0, position: place });
        Arc::new(TrackedConnection { idle: self.clone(), network: neighbourhood, evicted: away, state })
    }

    /// Lets the connection end that has waited longest: of this neighbourhood, or of all. False: none waits.
    pub(super) fn evict_longest_idle(&self, neighbourhood: Option<IpAddr>) -> bool {
        let mut line = lock(&self.queue);
        let mut places = line.connections.iter();
        let first = places.find(|(_, (own, _))| neighbourhood.is_none_or(|wanted| wanted == *own));
        let first = first.map(|(place, _)| *place);
        let sent = first.and_then(|place| line.connections.remove(&place));
        sent.is_some_and(|(_, away)| {
            away.cancel();
            true
        })
    }

    fn enqueue(&self, neighbourhood: IpAddr, away: &CancellationToken) -> u64 {
        let mut line = lock(&self.queue);
        let place = line.next;
        line.next += 1;
        line.connections.insert(place, (neighbourhood, away.clone()));
        place
    }

    fn dequeue(&self, place: u64) {
        lock(&self.queue).connections.remove(&place);
    }
}

impl TrackedConnection {
    /// Ends when it is to go.
    pub(super) async fn wait_for_eviction(&self) {
        self.evicted.cancelled().await;
    }

    /// Whether it has a request.
    pub(super) fn is_busy(&self) -> bool {
        lock(&self.state).requests > 0
    }

    /// A request has come.
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
        let TrackedConnection { idle: waiting, network: neighbourhood, evicted: away, state } = &*self.connection;
        let mut state = lock(state);
        state.requests -= 1;
        if state.requests == 0 {
            state.position = waiting.enqueue(*neighbourhood, away);
        }
    }
}

impl Drop for TrackedConnection {
    fn drop(&mut self) {
        let place = lock(&self.state).position;
        self.idle.dequeue(place);
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
        let waiting = IdleConnections::default();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let [one, two, three] = [here, there, here].map(|address| waiting.register(address));
        let is_away = |visitor: &TrackedConnection| visitor.evicted.is_cancelled();
        let (busy, more) = (one.begin_request(), one.begin_request());
        assert!(waiting.evict_longest_idle(Some(here)) && is_away(&three));
        assert!(!waiting.evict_longest_idle(Some(here)) && one.is_busy());
        drop(busy);
        assert!(!waiting.evict_longest_idle(Some(here)));
        drop(more);
        assert!(waiting.evict_longest_idle(None) && is_away(&two));
        assert!(waiting.evict_longest_idle(None) && is_away(&one) && !one.is_busy());
        assert!(!waiting.evict_longest_idle(None));
        drop(waiting.register(Ipv4Addr::LOCALHOST.into()));
        assert!(!waiting.evict_longest_idle(None));
    }
}
