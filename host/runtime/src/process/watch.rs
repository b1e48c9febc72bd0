//! What a host does for its processes while nobody asks: it waits for those that end, and keeps their output short.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::directory::Directory;
use super::{Inner, rotate};

/// Between two looks at the output. What a process writes in this time comes on top of the longest output.
const LOOK: Duration = Duration::from_secs(2);

/// Starts the task, once. It ends with the last handle of these processes, or with the runtime.
pub(super) fn begin(inner: &Arc<Inner>) {
    if !inner.watched.swap(true, Ordering::Relaxed) {
        tokio::spawn(watch(Arc::downgrade(inner)));
    }
}

async fn watch(inner: Weak<Inner>) {
    let Ok(mut ends) = signal(SignalKind::child()) else { return };
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let work = tokio::select! {
            end = ends.recv() => if end.is_some() { Inner::reap_all } else { return },
            _ = looks.tick() => Inner::shorten,
        };
        let Some(inner) = inner.upgrade() else { return };
        if tokio::task::spawn_blocking(move || work(&inner)).await.is_err() {
            return;
        }
    }
}

impl Inner {
    fn reap_all(&self) {
        let ids: Vec<String> = self.children.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        for id in ids {
            self.reap(&id);
        }
    }

    fn shorten(&self) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for id in seen {
            match Directory::new(&self.state_dir, &id) {
                Ok(directory) if directory.exists() => rotate(&directory),
                _ => {
                    self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                }
            }
        }
    }
}
