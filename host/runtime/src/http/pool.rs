//! Pool of idle connections.
//!
//! A connection is made under the grants of one call and may serve another. Two checks make that safe: every request is
//! checked by its host's name before it comes here, and a connection is handed out only if the call may connect to the
//! address at its remote end. So the pool gives no call a connection that it could not have opened itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::route::Route;
use crate::grants::CallGrants;

/// Time for which an idle connection is kept. Servers close them after about a minute, and a connection that is about
/// to be closed is worse than none.
const MAX_IDLE_TIME: Duration = Duration::from_secs(50);
const MAX_IDLE_PER_ROUTE: usize = 32;

#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    idle: Arc<Mutex<HashMap<Route, Vec<IdleConnection>>>>,
}

#[derive(Debug)]
struct IdleConnection {
    connection: Connection,
    since: Instant,
}

impl IdleConnection {
    fn is_usable(&self) -> bool {
        !self.connection.is_closed() && self.since.elapsed() < MAX_IDLE_TIME
    }
}

impl Pool {
    /// Takes an idle connection that this call may use.
    pub(super) fn take(&self, route: &Route, grants: &CallGrants) -> Option<Connection> {
        let mut idle = self.lock();
        let kept = idle.get_mut(route)?;
        kept.retain(IdleConnection::is_usable);
        // The one used last is the one that lives longest.
        let position = kept.iter().rposition(|one| one.connection.is_granted(route, grants))?;
        match kept[position].connection.share() {
            Some(shared) => {
                kept[position].since = Instant::now();
                Some(shared)
            }
            None => Some(kept.remove(position).connection),
        }
    }

    /// Keeps a connection as soon as its response has been read to the end. If it never is, the connection is closed.
    pub(super) fn put_when_ready(&self, route: Route, mut connection: Connection) {
        let pool = self.clone();
        tokio::spawn(async move {
            if connection.ready().await {
                pool.put(route, connection);
            }
        });
    }

    fn put(&self, route: Route, connection: Connection) {
        let mut idle = self.lock();
        idle.retain(|_, kept| {
            kept.retain(IdleConnection::is_usable);
            !kept.is_empty()
        });
        let kept = idle.entry(route).or_default();
        // Requests over HTTP/2 share one connection: it is here once.
        let known = kept.iter().any(|one| one.connection.is_same_connection(&connection));
        if !known && kept.len() < MAX_IDLE_PER_ROUTE {
            kept.push(IdleConnection { connection, since: Instant::now() });
        }
    }

    /// Returns the number of idle connections that can be used.
    #[cfg(test)]
    pub(super) fn idle_count(&self) -> usize {
        self.lock().values().flatten().filter(|one| one.is_usable()).count()
    }

    /// Locks the map, also after a panic: it is consistent at any time.
    fn lock(&self) -> MutexGuard<'_, HashMap<Route, Vec<IdleConnection>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
