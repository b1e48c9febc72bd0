//! Taking connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::connection::{self, Shared};
use super::peer::{Peer, Peers, neighbourhood};
use super::waiting::Waiting;
use super::{Bound, ConnectionLimits};

/// After an error that concerns the listener (no more file descriptors), and while there is no room, before the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers requests until `shutdown`, and then those that have begun, for so long at most.
pub async fn serve(bound: Bound, router: Router, shutdown: CancellationToken, grace: Duration) -> io::Result<()> {
    let Bound { listener, certificates, limits, .. } = bound;
    let ConnectionLimits { connections, connections_per_address, certificate_check, .. } = limits;
    let tls = certificates.as_ref().map(|certificates| certificates.config());
    let _fresh = certificates
        .map(|certificates| AbortOnDropHandle::new(tokio::spawn(certificates.keep_fresh(certificate_check))));
    let shared = Arc::new(Shared { router, tls, limits, ending: shutdown.clone() });
    let (peers, waiting) = (Peers::default(), Waiting::default());
    let mut running = JoinSet::new();
    let mut next = None;
    loop {
        tokio::select! {
            accepted = listener.accept(), if next.is_none() => match accepted {
                Ok(accepted) => next = Some(accepted),
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = running.join_next() => {}
            () = tokio::time::sleep(PAUSE), if next.is_some() => {}
            () = shutdown.cancelled() => break,
        }
        if next.is_some() && running.len() >= connections {
            // It ends soon, and is taken out above; if none waits, one may a moment later.
            waiting.send_away(None);
            continue;
        }
        let Some((stream, socket)) = next.take() else { continue };
        let peer = Peer::new(socket);
        let key = neighbourhood(peer.address());
        let make_room = || waiting.send_away(Some(key));
        let Some(counted) = peers.count(key, connections_per_address, make_room) else {
            tracing::debug!(address = %peer.address(), "too many connections from one address");
            continue;
        };
        let (shared, visitor) = (shared.clone(), waiting.join(key));
        running.spawn(async move {
            connection::run(stream, peer, visitor, shared).await;
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
