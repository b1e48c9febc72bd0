//! What happens, for those who watch: one look at the store's changes for all of them.
//!
//! A topic is an infrastructure that somebody is interested in. It counts its changes, so that answers can be kept until
//! something has changed, and it has the latest events, ready to be sent. Watchers hold no queues: each knows the last event
//! that it has sent, and takes the next ones from the topic, or from the store when it has fallen behind.

mod batch;
mod own;
mod stream;
mod topic;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use occopus_engine::ports::{Change, Changes, Store, StoreError};
use occopus_engine::{Engine, What};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use own::{Heard, Own};

pub(crate) use batch::{Batch, Together};
pub(crate) use own::Telling;
pub(crate) use stream::events;
pub(crate) use topic::{Answer, Topic};

/// Topics that nobody watches are forgotten when there are more.
const KEPT: usize = 1024;
/// Changes that are looked at at once, at most.
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
    own: Own,
}

/// What has happened to infrastructures, and was not told yet.
type Untold = HashMap<String, Together>;

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
        Self { engine, store, topics, all, closing: CancellationToken::new(), told, own: Own::new() }
    }

    /// A run of this service begins to tell.
    pub(crate) fn telling(&self, id: &str) -> Telling {
        self.own.begin(id)
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
        let Some(mut own) = self.own.listen() else { return };
        loop {
            match self.store.watch("", revision).await {
                Ok(changes) => self.take(changes, &mut own, &mut revision).await,
                Err(error) => tracing::warn!("the store can't be followed: {error}"),
            }
            tokio::time::sleep(AGAIN).await;
            // Some may have been missed.
            for topic in self.topics().values() {
                topic.bump();
            }
        }
    }

    /// Looks at changes at once, and tells watchers of them when those have been told of what came before.
    async fn take(&self, changes: Changes, own: &mut UnboundedReceiver<Heard>, revision: &mut u64) {
        let mut changes = changes.ready_chunks(TOGETHER);
        let mut untold = Untold::new();
        let mut next = Instant::now();
        'following: loop {
            tokio::select! {
                together = changes.next() => {
                    let mut listed = false;
                    let Some(together) = together else { break };
                    for change in together {
                        let Ok(change) = change else { break 'following };
                        *revision = change.revision;
                        listed |= self.look(&change, &mut untold);
                    }
                    if listed {
                        self.all.send_modify(|count| *count += 1);
                    }
                }
                Some(heard) = own.recv() => self.hear(heard, &mut untold),
                () = tokio::time::sleep_until(next), if !untold.is_empty() => {
                    let woken = untold.drain().fold(0, |woken: u32, (id, events)| woken.saturating_add(self.tell(&id, events)));
                    let telling = LONGEST.min(EACH.saturating_mul(woken));
                    next = Instant::now() + if telling < SHORTEST { Duration::ZERO } else { telling };
                }
            }
        }
        for (id, events) in untold {
            self.tell(&id, events);
        }
    }

    /// Gives whether lists show it.
    fn look(&self, change: &Change, untold: &mut Untold) -> bool {
        if let Some(id) = change.key.strip_prefix("infrastructure/") {
            self.touch(id);
            // What a run of ours has still to tell comes first.
            if self.own.see(id, change.entry.is_none()) {
                self.end(id, untold);
            }
            return true;
        }
        if let Some(id) = change.key.strip_prefix("service/attached/").or(change.key.strip_prefix("service/pending/")) {
            self.touch(id);
            return true;
        }
        let Some((id, rest)) = change.key.strip_prefix("infra/").and_then(|rest| rest.split_once('/')) else {
            return false;
        };
        self.touch(id);
        if let Some(record) = change.entry.as_ref().filter(|_| rest.starts_with("event/"))
            && let Ok(mut event) = serde_json::from_slice::<Value>(&record.value)
        {
            event.as_object_mut().map(|event| event.shift_remove("v"));
            event["event"].as_str().into_iter().for_each(|name| self.told.happened(name));
            self.add(id, &event, untold);
        }
        if rest == "suspended" || (rest.starts_with("request/") && change.entry.is_some()) {
            self.told.requested(id);
        }
        matches!(rest, "owner" | "suspended") || rest.starts_with("instance/")
    }

    /// What a run of ours tells.
    fn hear(&self, heard: Heard, untold: &mut Untold) {
        match heard {
            Heard::Event(event) => {
                let last = matches!(event.what, What::InfraDrop);
                self.add(&event.infra_id, &serde_json::to_value(&event).unwrap_or_default(), untold);
                if last {
                    self.end(&event.infra_id, untold);
                }
            }
            Heard::Over(id) => {
                if self.own.end(&id) {
                    self.end(&id, untold);
                }
            }
        }
    }

    /// Adds an event that was not told yet. It comes twice, if it is of a run of ours.
    fn add(&self, id: &str, event: &Value, untold: &mut Untold) {
        let known = self.topics().get(id).map_or(0, |topic| topic.told());
        if event["id"].as_u64().is_some_and(|number| number > known) {
            untold.entry(id.to_owned()).or_default().add(event);
        }
    }

    /// The infrastructure is gone.
    fn end(&self, id: &str, untold: &mut Untold) {
        if let Some(events) = untold.remove(id) {
            self.tell(id, events);
        }
        if let Some(topic) = self.topics().get(id) {
            topic.end();
        }
    }

    /// Gives how many watchers were woken.
    fn tell(&self, id: &str, events: Together) -> u32 {
        let Some(topic) = self.topics().get(id).cloned() else { return 0 };
        let Some(batch) = events.batch() else { return 0 };
        topic.push(batch);
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
