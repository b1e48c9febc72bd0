//! Taking connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::connection::{self, Shared};
use super::peer::{Peer, Peers, neighbourhood};
use super::waiting::Waiting;
use super::{Bound, ConnectionLimits};

/// After an error that concerns the listener (no more file descriptors), before the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers requests until `shutdown`, and then those that have begun, for so long at most.
pub async fn serve(bound: Bound, router: Router, shutdown: CancellationToken, grace: Duration) -> io::Result<()> {
    let Bound { listener, certificates, limits, .. } = bound;
    let ConnectionLimits { connections, connections_per_address, certificate_check, .. } = limits;
    let tls = certificates.as_ref().map(|certificates| certificates.config());
    let _fresh = certificates
        .map(|certificates| AbortOnDropHandle::new(tokio::spawn(certificates.keep_fresh(certificate_check))));
    let shared = Arc::new(Shared { router, tls, limits, ending: shutdown.clone() });
    let slots = Arc::new(Semaphore::new(connections));
    let (peers, waiting) = (Peers::default(), Waiting::default());
    let mut running = JoinSet::new();
    loop {
        let next = async {
            if slots.available_permits() == 0 {
                waiting.send_away(None);
            }
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        tokio::select! {
            (slot, accepted) = next => match accepted {
                Ok((stream, socket)) => {
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
                        drop((slot, counted));
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            // Ended ones are taken out, so that the set does not grow.
            Some(_) = running.join_next() => {}
            () = shutdown.cancelled() => break,
        }
    }
    drop(listener);
    let finished = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, finished).await.is_err() {
        tracing::warn!("requests that did not end in time were given up");
    }
    Ok(())
}
