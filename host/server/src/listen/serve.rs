//! The accept loop.

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

/// Pause before the next attempt after an error of the listener (such as no more file descriptors), and while there is no
/// room.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Accepts connections and answers requests until `shutdown`, and then those under way for `grace` at most. Connections
/// that are left after that are aborted.
///
/// # Errors
/// Never fails at present: an error of the listener is logged, and accepting is retried.
pub async fn serve(
    bound: BoundListener,
    router: Router,
    shutdown: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    let BoundListener { listener, certificates, limits, .. } = bound;
    let ConnectionLimits { connections, connections_per_address, certificate_check, .. } = limits;
    let tls = certificates.as_ref().map(|certificates| certificates.config());
    let _reload = certificates
        .map(|certificates| AbortOnDropHandle::new(tokio::spawn(certificates.reload_on_change(certificate_check))));
    let context = Arc::new(ConnectionContext { router, tls, limits, shutdown: shutdown.clone() });
    let (peers, idle) = (PeerCounter::default(), IdleConnections::default());
    let mut running = JoinSet::new();
    let mut next = None;
    loop {
        tokio::select! {
            accepted = listener.accept(), if next.is_none() => match accepted {
                Ok(accepted) => next = Some(accepted),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
            Some(_) = running.join_next() => {}
            () = tokio::time::sleep(ACCEPT_RETRY_DELAY), if next.is_some() => {}
            () = shutdown.cancelled() => break,
        }
        if next.is_some() && running.len() >= connections {
            // An evicted connection ends soon, and is joined above; if none is idle, one may be a moment later.
            idle.evict_longest_idle(None);
            continue;
        }
        let Some((stream, socket)) = next.take() else { continue };
        let peer = Peer::new(socket);
        let key = network_of(peer.address());
        let make_room = || idle.evict_longest_idle(Some(key));
        let Some(counted) = peers.try_add(key, connections_per_address, make_room) else {
            tracing::debug!(address = %peer.address(), "too many connections from one address");
            continue;
        };
        let (context, tracked) = (context.clone(), idle.register(key));
        running.spawn(async move {
            connection::serve_connection(stream, peer, tracked, context).await;
            drop(counted);
        });
    }
    drop(listener);
    let finished = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, finished).await.is_err() {
        tracing::warn!("requests that did not finish within the grace period were dropped");
    }
    Ok(())
}
