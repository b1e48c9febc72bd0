//! What happens, for those who watch: one look at the store's changes for all of them.
//!
//! A topic is an infrastructure that somebody is interested in. It counts its changes, so that answers can be kept until
//! something has changed, and it has the latest events, ready to be sent. Watchers hold no queues: each knows the last event
//! that it has sent, and takes the next ones from the topic, or from the store when it has fallen behind.

mod batch;
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

pub(crate) use batch::{Batch, Together};
pub(crate) use stream::events;
pub(crate) use topic::{Answer, Topic};

/// Topics that nobody watches are forgotten when there are more.
const KEPT: usize = 1024;
/// Changes that are looked at together, at most.
const TOGETHER: usize = 4096;
/// So long it takes to tell one watcher. What happens while many are told is told them together, or they would take up the
/// machine where much happens.
const EACH: Duration = Duration::from_micros(20);
/// Less is no pause.
const SHORTEST: Duration = Duration::from_millis(1);
/// Watchers do not wait longer than this for what has happened.
const LONGEST: Duration = Duration::from_millis(100);
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

/// What changes say that are looked at together.
#[derive(Default)]
struct Seen<'a> {
    /// Infrastructures that have changed, with what has happened.
    topics: HashMap<&'a str, Together>,
    /// Something has changed that lists show.
    listed: bool,
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
                Ok(changes) => {
                    // What is there at once is told at once: a thousand watchers are not woken for each change.
                    let mut changes = changes.ready_chunks(TOGETHER);
                    while let Some(together) = changes.next().await {
                        let count = together.len();
                        let good: Vec<_> = together.into_iter().map_while(Result::ok).collect();
                        revision = good.last().map_or(revision, |change| change.revision);
                        let woken = self.take(&good);
                        if good.len() < count {
                            break;
                        }
                        let telling = LONGEST.min(EACH.saturating_mul(woken));
                        if telling >= SHORTEST {
                            tokio::time::sleep(telling).await;
                        }
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

    /// Gives how many watchers were woken.
    fn take(&self, changes: &[Change]) -> u32 {
        let mut seen = Seen::default();
        for change in changes {
            self.look(change, &mut seen);
        }
        if seen.listed {
            self.all.send_modify(|count| *count += 1);
        }
        seen.topics.into_iter().fold(0, |woken, (id, together)| woken.saturating_add(self.tell(id, together)))
    }

    fn look<'a>(&self, change: &'a Change, seen: &mut Seen<'a>) {
        if let Some(id) = change.key.strip_prefix("infrastructure/") {
            seen.listed = true;
            if change.entry.is_some() {
                seen.topics.entry(id).or_default();
                return;
            }
            if let Some(together) = seen.topics.remove(id) {
                self.tell(id, together);
            }
            if let Some(topic) = self.topics().get(id) {
                topic.end();
            }
            return;
        }
        if let Some(id) = change.key.strip_prefix("service/attached/").or(change.key.strip_prefix("service/pending/")) {
            seen.listed = true;
            seen.topics.entry(id).or_default();
            return;
        }
        let Some((id, rest)) = change.key.strip_prefix("infra/").and_then(|rest| rest.split_once('/')) else { return };
        let together = seen.topics.entry(id).or_default();
        let event = change.entry.as_ref().filter(|_| rest.starts_with("event/"));
        if let Some(name) = event.and_then(|event| together.add_record(&event.value)) {
            self.told.happened(&name);
        }
        if rest == "suspended" || (rest.starts_with("request/") && change.entry.is_some()) {
            self.told.requested(id);
        }
        seen.listed |= matches!(rest, "owner" | "suspended") || rest.starts_with("instance/");
    }

    /// Gives how many watchers were woken.
    fn tell(&self, id: &str, together: Together) -> u32 {
        let Some(topic) = self.topics().get(id).cloned() else { return 0 };
        match together.batch() {
            Some(batch) => topic.push(batch),
            None => topic.bump(),
        }
        topic.watchers()
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
