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
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

/// Counts connections by neighbourhood.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    peers: Peers,
    key: IpAddr,
}

impl Peers {
    /// Counts another one, unless there are so many already.
    pub(super) fn count(&self, peer: Peer, most: usize) -> Option<Counted> {
        let key = neighbourhood(peer.address());
        let mut counts = self.lock();
        let count = counts.entry(key).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Counted { peers: self.clone(), key })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
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
        let peers = Peers::default();
        let peer = |text: &str| Peer::new(text.parse().unwrap());
        let one = peers.count(peer("[2001:db8::1]:1"), 2);
        let two = peers.count(peer("[2001:db8::2]:1"), 2);
        assert!(one.is_some() && two.is_some());
        assert!(peers.count(peer("[2001:db8::3]:1"), 2).is_none());
        let other = peers.count(peer("[::ffff:10.0.0.1]:1"), 1);
        assert!(other.is_some() && peers.count(peer("10.0.0.1:1"), 1).is_none());
        drop((one, two, other));
        assert!(peers.lock().is_empty());
    }
}
