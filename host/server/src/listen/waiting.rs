//! Connections that wait for a request. Where there is no room for another connection, the one that has waited longest makes
//! some: so nobody is held up by connections that are held open for nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// All connections that wait, by how long.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting {
    line: Arc<Mutex<Line>>,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    places: BTreeMap<u64, (IpAddr, CancellationToken)>,
}

/// One connection: in the line while it has no request.
#[derive(Debug)]
pub(super) struct Visitor {
    waiting: Waiting,
    neighbourhood: IpAddr,
    away: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    requests: usize,
    place: u64,
}

/// A request, until its answer is sent or given up.
#[derive(Debug)]
pub(super) struct Busy {
    visitor: Arc<Visitor>,
}

impl Waiting {
    /// Puts a connection at the end of the line.
    pub(super) fn join(&self, neighbourhood: IpAddr) -> Arc<Visitor> {
        let away = CancellationToken::new();
        let place = self.enter(neighbourhood, &away);
        let state = Mutex::new(State { requests: 0, place });
        Arc::new(Visitor { waiting: self.clone(), neighbourhood, away, state })
    }

    /// Lets the connection end that has waited longest: of this neighbourhood, or of all. False: none waits.
    pub(super) fn send_away(&self, neighbourhood: Option<IpAddr>) -> bool {
        let mut line = lock(&self.line);
        let mut places = line.places.iter();
        let first = places.find(|(_, (own, _))| neighbourhood.is_none_or(|wanted| wanted == *own));
        let first = first.map(|(place, _)| *place);
        let sent = first.and_then(|place| line.places.remove(&place));
        sent.is_some_and(|(_, away)| {
            away.cancel();
            true
        })
    }

    fn enter(&self, neighbourhood: IpAddr, away: &CancellationToken) -> u64 {
        let mut line = lock(&self.line);
        let place = line.next;
        line.next += 1;
        line.places.insert(place, (neighbourhood, away.clone()));
        place
    }

    fn leave(&self, place: u64) {
        lock(&self.line).places.remove(&place);
    }
}

impl Visitor {
    /// Ends when it is to go.
    pub(super) async fn sent_away(&self) {
        self.away.cancelled().await;
    }

    /// Whether it has a request.
    pub(super) fn is_busy(&self) -> bool {
        lock(&self.state).requests > 0
    }

    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        let mut state = lock(&self.state);
        if state.requests == 0 {
            self.waiting.leave(state.place);
        }
        state.requests += 1;
        Busy { visitor: self.clone() }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Visitor { waiting, neighbourhood, away, state } = &*self.visitor;
        let mut state = lock(state);
        state.requests -= 1;
        if state.requests == 0 {
            state.place = waiting.enter(*neighbourhood, away);
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let place = lock(&self.state).place;
        self.waiting.leave(place);
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
        let waiting = Waiting::default();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let [one, two, three] = [here, there, here].map(|address| waiting.join(address));
        let is_away = |visitor: &Visitor| visitor.away.is_cancelled();
        let (busy, more) = (one.begin(), one.begin());
        assert!(waiting.send_away(Some(here)) && is_away(&three));
        assert!(!waiting.send_away(Some(here)) && one.is_busy());
        drop(busy);
        assert!(!waiting.send_away(Some(here)));
        drop(more);
        assert!(waiting.send_away(None) && is_away(&two));
        assert!(waiting.send_away(None) && is_away(&one) && !one.is_busy());
        assert!(!waiting.send_away(None));
        drop(waiting.join(Ipv4Addr::LOCALHOST.into()));
        assert!(!waiting.send_away(None));
    }
}
