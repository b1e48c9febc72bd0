//! The remote ends of connections, and their number by network.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The remote end of a connection; in the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    socket: SocketAddr,
}

impl Peer {
    /// Creates a peer with this remote socket address.
    pub(crate) fn new(socket: SocketAddr) -> Self {
        Self { socket }
    }

    /// Returns the remote address; an IPv4 address also if a listener for IPv6 accepted the connection.
    pub fn address(&self) -> IpAddr {
        self.socket.ip().to_canonical()
    }
}

/// Returns the unit in which peers are counted: the address for IPv4, or the /64 network for IPv6, since one host
/// commonly controls all of it.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

/// Number of connections by network.
#[derive(Debug, Clone, Default)]
pub(super) struct PeerCounter {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct CountedPeer {
    peers: PeerCounter,
    key: IpAddr,
}

impl PeerCounter {
    /// Counts a connection of a network; `None` if it has `limit` connections and `make_room` evicts none of them.
    pub(super) fn try_add(&self, key: IpAddr, limit: usize, make_room: impl FnOnce() -> bool) -> Option<CountedPeer> {
        let full = self.lock().get(&key).is_some_and(|count| *count >= limit);
        if full && !make_room() {
            return None;
        }
        *self.lock().entry(key).or_default() += 1;
        Some(CountedPeer { peers: self.clone(), key })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CountedPeer {
    fn drop(&mut self) {
        let mut counts = self.peers.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_counted_together_until_they_go() {
        let peers = PeerCounter::default();
        let count = |text: &str, limit, room| peers.try_add(network_of(text.parse().unwrap()), limit, || room);
        let one = count("2001:db8::1", 2, false);
        let two = count("2001:db8::2", 2, false);
        assert!(one.is_some() && two.is_some());
        assert!(count("2001:db8::3", 2, false).is_none());
        let three = count("2001:db8::3", 2, true);
        assert!(three.is_some());
        let other = count("::ffff:10.0.0.1", 1, false);
        assert!(other.is_some() && count("10.0.0.1", 1, false).is_none());
        drop((one, two, three, other));
        assert!(peers.lock().is_empty());
    }
}
