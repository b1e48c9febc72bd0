//! Who is at the other end, and how many of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who is at the other end; in the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    socket: SocketAddr,
}

impl Peer {
    /// At the other end of this.
    pub(crate) fn new(socket: SocketAddr) -> Self {
        Self { socket }
    }

    /// Their address; of IPv4 also where a listener for IPv6 took the connection.
    pub fn address(&self) -> IpAddr {
        self.socket.ip().to_canonical()
    }
}

/// What is counted as one: an address, or a network (/64) of IPv6, which everybody has whole.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

/// Counts connections by neighbourhood.
#[derive(Debug, Clone, Default)]
pub(super) struct PeerCounter {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct CountedPeer {
    peers: PeerCounter,
    key: IpAddr,
}

impl PeerCounter {
    /// Counts another one from a neighbourhood, unless there are so many already and none of them makes room.
    pub(super) fn try_add(&self, key: IpAddr, most: usize, make_room: impl FnOnce() -> bool) -> Option<CountedPeer> {
        let full = self.lock().get(&key).is_some_and(|count| *count >= most);
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
        let count = |text: &str, most, room| peers.try_add(network_of(text.parse().unwrap()), most, || room);
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
