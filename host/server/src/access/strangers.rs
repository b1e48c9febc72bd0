//! Requests of whoever has no token: short ones, of which few are under way. For another one, the one that has taken longest goes.
//! So nobody keeps others from signing in by requests that do not end, also not from the same address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::places::Most;
use crate::listen::neighbourhood;

/// Requests that are under way. Clones are the same.
#[derive(Clone)]
pub(super) struct Strangers {
    shared: Arc<Shared>,
}

struct Shared {
    most: Most,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    next: u64,
    places: BTreeMap<u64, (Option<IpAddr>, CancellationToken)>,
}

/// One request, until it is dropped.
pub(super) struct Stranger {
    shared: Arc<Shared>,
    place: u64,
    away: CancellationToken,
}

impl Strangers {
    pub(super) fn new(most: Most) -> Self {
        Self { shared: Arc::new(Shared { most, line: Mutex::default() }) }
    }

    /// Takes a place, where there is none that of the one from there, or of all, that has had one for longest.
    pub(super) fn come(&self, address: Option<IpAddr>) -> Stranger {
        let (Most { per_address, all, .. }, address) = (self.shared.most, address.map(neighbourhood));
        let mut line = self.shared.line();
        let from_there = line.places.iter().filter(|(_, (other, _))| *other == address);
        let own = from_there.clone().next().map(|(place, _)| *place).filter(|_| from_there.count() >= per_address);
        let oldest = line.places.keys().next().copied().filter(|_| line.places.len() >= all);
        if let Some((_, away)) = own.or(oldest).and_then(|place| line.places.remove(&place)) {
            away.cancel();
        }
        let (place, away) = (line.next, CancellationToken::new());
        line.next += 1;
        line.places.insert(place, (address, away.clone()));
        Stranger { shared: self.shared.clone(), place, away }
    }
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stranger {
    /// Ends when another one has come in its place.
    pub(super) async fn sent_away(&self) {
        self.away.cancelled().await;
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.shared.line().places.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_taken_longest_makes_room() {
        let strangers = Strangers::new(Most { per_token: 0, per_address: 2, all: 3 });
        let come = |last| strangers.come(Some(IpAddr::from([10, 0, 0, last])));
        let (one, two, three) = (come(1), come(2), come(1));
        let is_away = |stranger: &Stranger| stranger.away.is_cancelled();
        let four = come(1);
        assert!(is_away(&one) && !is_away(&two) && !is_away(&three));
        let five = come(3);
        assert!(is_away(&two) && !is_away(&three) && !is_away(&four));
        drop((one, two, three, four));
        let six = come(3);
        assert!(!is_away(&five) && !is_away(&six));
        drop((five, six));
        assert!(strangers.shared.line().places.is_empty());
    }
}
