//! What happens, for those who watch: one look at the store's changes for all of them.
//!
//! A topic is an infrastructure that somebody is interested in. It counts its changes, so that answers can be kept until
//! something has changed, and it has the latest events, ready to be sent. Watchers hold no queues: each knows the last event
//! that it has sent, and takes the next ones from the topic, or from the store when it has fallen behind.

mod stream;
mod topic;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use occopus_engine::Engine;
use occopus_engine::ports::{Change, Store, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use stream::events;
pub(crate) use topic::{Answer, Topic};

/// Topics that nobody watches are forgotten when there are more.
const KEPT: usize = 1024;
/// Before the store is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows the store. Clones are the same.
#[derive(Clone)]
pub(crate) struct Feed {
    pub(crate) engine: Engine,
    store: Arc<dyn Store>,
    topics: Arc<RwLock<HashMap<String, Arc<Topic>>>>,
    /// Counts changes of anything, for lists.
    all: watch::Sender<u64>,
    pub(crate) closing: CancellationToken,
    told: Arc<dyn Told>,
}

/// Somebody who is told of what the store tells, without asking.
pub(crate) trait Told: Send + Sync + 'static {
    /// An event of this name was stored.
    fn happened(&self, event: &str);
    /// Something was requested of whoever maintains this infrastructure.
    fn requested(&self, id: &str);
}

impl Feed {
    pub(crate) fn new(engine: Engine, store: Arc<dyn Store>, told: Arc<dyn Told>) -> Self {
        let topics = Arc::default();
        let (all, _) = watch::channel(0);
        Self { engine, store, topics, all, closing: CancellationToken::new(), told }
    }

    /// Follows from now on.
    pub(crate) async fn start(&self) -> Result<(), StoreError> {
        let revision = self.store.revision().await?;
        let this = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = this.closing.cancelled() => {}
                () = this.follow(revision) => {}
            }
        });
        Ok(())
    }

    async fn follow(&self, mut revision: u64) {
        loop {
            match self.store.watch("", revision).await {
                Ok(mut changes) => {
                    while let Some(Ok(change)) = changes.next().await {
                        revision = change.revision;
                        self.take(&change);
                    }
                }
                Err(error) => tracing::warn!("the store can't be followed: {error}"),
            }
            tokio::time::sleep(AGAIN).await;
            // Some may have been missed.
            for topic in self.topics().values() {
                topic.bump();
            }
        }
    }

    fn take(&self, change: &Change) {
        if let Some(id) = change.key.strip_prefix("infrastructure/") {
            self.all.send_modify(|count| *count += 1);
            if let Some(topic) = self.topics().get(id) {
                if change.entry.is_none() {
                    topic.end();
                } else {
                    topic.bump();
                }
            }
            return;
        }
        if let Some(id) = change.key.strip_prefix("service/attached/").or(change.key.strip_prefix("service/pending/")) {
            self.all.send_modify(|count| *count += 1);
            self.touch(id);
            return;
        }
        let Some((id, rest)) = change.key.strip_prefix("infra/").and_then(|rest| rest.split_once('/')) else { return };
        let event = change.entry.as_ref().filter(|_| rest.starts_with("event/"));
        let event = event.and_then(|entry| topic::Ready::of(&entry.value));
        if let Some(event) = &event {
            self.told.happened(&event.name);
        }
        if rest == "suspended" || (rest.starts_with("request/") && change.entry.is_some()) {
            self.told.requested(id);
        }
        if matches!(rest, "owner" | "suspended") || rest.starts_with("instance/") {
            self.all.send_modify(|count| *count += 1);
        }
        let topic = self.topics().get(id).cloned();
        match (topic, event) {
            (Some(topic), Some(event)) => topic.push(event),
            (Some(topic), None) => topic.bump(),
            (None, _) => {}
        }
    }

    /// Answers about it that are kept are not good any more: for what is written by this very request.
    pub(crate) fn touch(&self, id: &str) {
        if let Some(topic) = self.topics().get(id) {
            topic.bump();
        }
    }

    /// Of an infrastructure that somebody was interested in, and that exists.
    pub(crate) fn known(&self, id: &str) -> Option<Arc<Topic>> {
        self.topics().get(id).filter(|topic| !topic.has_ended()).cloned()
    }

    /// Of an infrastructure that exists.
    pub(crate) fn topic(&self, id: &str) -> Arc<Topic> {
        if let Some(topic) = self.topics().get(id).filter(|topic| !topic.has_ended()) {
            return topic.clone();
        }
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if topics.len() >= KEPT {
            topics.retain(|_, topic| Arc::strong_count(topic) > 1);
        }
        let topic = topics.entry(id.to_owned()).or_default();
        if topic.has_ended() {
            // Another one with the same id.
            *topic = Arc::default();
        }
        topic.clone()
    }

    /// Counts the changes of anything that lists show.
    pub(crate) fn all(&self) -> watch::Receiver<u64> {
        self.all.subscribe()
    }

    fn topics(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<Topic>>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }
}
