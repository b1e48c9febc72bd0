//! Taking connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::connection::{self, ConnectionContext};
use super::idle::IdleConnections;
use super::peer::{Peer, PeerCounter, network_of};
use super::{BoundListener, ConnectionLimits};

/// After an error that concerns the listener (no more file descriptors), and while there is no room, before the next try.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Answers requests until `shutdown`, and then those that have begun, for so long at most.
pub async fn serve(
    bound: BoundListener,
    router: Router,
    shutdown: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    let BoundListener { listener, certificates, limits, .. } = bound;
    let ConnectionLimits { connections, connections_per_address, certificate_check, .. } = limits;
    let tls = certificates.as_ref().map(|certificates| certificates.config());
    let _fresh = certificates
        .map(|certificates| AbortOnDropHandle::new(tokio::spawn(certificates.reload_on_change(certificate_check))));
    let shared = Arc::new(ConnectionContext { router, tls, limits, shutdown: shutdown.clone() });
    let (peers, waiting) = (PeerCounter::default(), IdleConnections::default());
    let mut running = JoinSet::new();
    let mut next = None;
    loop {
        tokio::select! {
            accepted = listener.accept(), if next.is_none() => match accepted {
                Ok(accepted) => next = Some(accepted),
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
            Some(_) = running.join_next() => {}
            () = tokio::time::sleep(ACCEPT_RETRY_DELAY), if next.is_some() => {}
            () = shutdown.cancelled() => break,
        }
        if next.is_some() && running.len() >= connections {
            // It ends soon, and is taken out above; if none waits, one may a moment later.
            waiting.evict_longest_idle(None);
            continue;
        }
        let Some((stream, socket)) = next.take() else { continue };
        let peer = Peer::new(socket);
        let key = network_of(peer.address());
        let make_room = || waiting.evict_longest_idle(Some(key));
        let Some(counted) = peers.try_add(key, connections_per_address, make_room) else {
            tracing::debug!(address = %peer.address(), "too many connections from one address");
            continue;
        };
        let (shared, visitor) = (shared.clone(), waiting.register(key));
        running.spawn(async move {
            connection::serve_connection(stream, peer, visitor, shared).await;
            drop(counted);
        });
    }
    drop(listener);
    let finished = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, finished).await.is_err() {
        tracing::warn!("requests that did not end in time were given up");
    }
    Ok(())
}
