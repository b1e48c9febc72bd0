//! What happens, for those who watch: one look at the store's changes for all of them.
//!
//! A topic is an infrastructure that somebody is interested in. It counts its changes, so that answers can be kept until
//! something has changed, and it has the latest events, ready to be sent. Watchers hold no queues: each knows the last event
//! that it has sent, and takes the next ones from the topic, or from the store when it has fallen behind.

mod batch;
mod local;
mod stream;
mod topic;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use occopus_engine::ports::{Change, Changes, Store, StoreError};
use occopus_engine::{Engine, EventKind};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use local::{LocalEvents, LocalMessage};

pub(crate) use batch::{Batch, PendingBatch};
pub(crate) use local::RunPublisher;
pub(crate) use stream::subscribe;
pub(crate) use topic::{CachedAnswer, Topic};

/// Topics that nobody watches are forgotten when there are more.
const MAX_IDLE_TOPICS: usize = 1024;
/// Changes that are looked at at once, at most.
const MAX_CHANGES_PER_ROUND: usize = 4096;
/// So long it takes to tell one watcher. What happens while many are told is told them together, or they would take up the
/// machine where much happens.
const WAKE_COST_PER_SUBSCRIBER: Duration = Duration::from_micros(20);
/// Less is no pause.
const COALESCE_MIN: Duration = Duration::from_millis(1);
/// Watchers do not wait longer than this for what has happened.
const COALESCE_MAX: Duration = Duration::from_millis(100);
/// Before the store is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Follows the store. Clones are the same.
#[derive(Clone)]
pub(crate) struct Feed {
    pub(crate) engine: Engine,
    store: Arc<dyn Store>,
    topics: Arc<RwLock<HashMap<String, Arc<Topic>>>>,
    /// Counts changes of anything, for lists.
    all: watch::Sender<u64>,
    pub(crate) closing: CancellationToken,
    observer: Arc<dyn FeedObserver>,
    local: LocalEvents,
}

/// What has happened to infrastructures, and was not told yet.
type UnsentEvents = HashMap<String, PendingBatch>;

/// Somebody who is told of what the store tells, without asking.
pub(crate) trait FeedObserver: Send + Sync + 'static {
    /// An event of this name was stored.
    fn event_stored(&self, event: &str);
    /// Something was requested of whoever maintains this infrastructure.
    fn request_stored(&self, id: &str);
}

impl Feed {
    pub(crate) fn new(engine: Engine, store: Arc<dyn Store>, told: Arc<dyn FeedObserver>) -> Self {
        let topics = Arc::default();
        let (all, _) = watch::channel(0);
        Self {
            engine,
            store,
            topics,
            all,
            closing: CancellationToken::new(),
            observer: told,
            local: LocalEvents::new(),
        }
    }

    /// A run of this service begins to tell.
    pub(crate) fn publisher(&self, id: &str) -> RunPublisher {
        self.local.begin_run(id)
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
        let Some(mut own) = self.local.take_receiver() else { return };
        loop {
            match self.store.watch("", revision).await {
                Ok(changes) => self.process_changes(changes, &mut own, &mut revision).await,
                Err(error) => tracing::warn!("the store can't be followed: {error}"),
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
            // Some may have been missed.
            for topic in self.topics().values() {
                topic.invalidate();
            }
        }
    }

    /// Looks at changes at once, and tells watchers of them when those have been told of what came before.
    async fn process_changes(&self, changes: Changes, own: &mut UnboundedReceiver<LocalMessage>, revision: &mut u64) {
        let mut changes = changes.ready_chunks(MAX_CHANGES_PER_ROUND);
        let mut untold = UnsentEvents::new();
        let mut next = Instant::now();
        'following: loop {
            tokio::select! {
                together = changes.next() => {
                    let mut listed = false;
                    let Some(together) = together else { break };
                    for change in together {
                        let Ok(change) = change else { break 'following };
                        *revision = change.revision;
                        listed |= self.process_change(&change, &mut untold);
                    }
                    if listed {
                        self.all.send_modify(|count| *count += 1);
                    }
                }
                Some(heard) = own.recv() => self.process_local(heard, &mut untold),
                () = tokio::time::sleep_until(next), if !untold.is_empty() => {
                    let woken = untold.drain().fold(0, |woken: u32, (id, events)| woken.saturating_add(self.publish(&id, events)));
                    let telling = COALESCE_MAX.min(WAKE_COST_PER_SUBSCRIBER.saturating_mul(woken));
                    next = Instant::now() + if telling < COALESCE_MIN { Duration::ZERO } else { telling };
                }
            }
        }
        for (id, events) in untold {
            self.publish(&id, events);
        }
    }

    /// Gives whether lists show it.
    fn process_change(&self, change: &Change, untold: &mut UnsentEvents) -> bool {
        if let Some(id) = change.key.strip_prefix("infrastructure/") {
            self.invalidate(id);
            // What a run of ours has still to tell comes first.
            if self.local.note_existence(id, change.entry.is_none()) {
                self.end_topic(id, untold);
            }
            return true;
        }
        if let Some(id) = change.key.strip_prefix("service/attached/").or(change.key.strip_prefix("service/pending/")) {
            self.invalidate(id);
            return true;
        }
        let Some((id, rest)) = change.key.strip_prefix("infra/").and_then(|rest| rest.split_once('/')) else {
            return false;
        };
        self.invalidate(id);
        if let Some(record) = change.entry.as_ref().filter(|_| rest.starts_with("event/"))
            && let Ok(mut event) = serde_json::from_slice::<Value>(&record.value)
        {
            event.as_object_mut().map(|event| event.shift_remove("v"));
            event["event"].as_str().into_iter().for_each(|name| self.observer.event_stored(name));
            self.add_event(id, &event, untold);
        }
        if rest == "suspended" || (rest.starts_with("request/") && change.entry.is_some()) {
            self.observer.request_stored(id);
        }
        matches!(rest, "owner" | "suspended") || rest.starts_with("instance/")
    }

    /// What a run of ours tells.
    fn process_local(&self, heard: LocalMessage, untold: &mut UnsentEvents) {
        match heard {
            LocalMessage::Event(event) => {
                let last = matches!(event.kind, EventKind::InfraDrop);
                self.add_event(&event.infra_id, &serde_json::to_value(&event).unwrap_or_default(), untold);
                if last {
                    self.end_topic(&event.infra_id, untold);
                }
            }
            LocalMessage::RunEnded(id) => {
                if self.local.end_run(&id) {
                    self.end_topic(&id, untold);
                }
            }
        }
    }

    /// Adds an event that was not told yet. It comes twice, if it is of a run of ours.
    fn add_event(&self, id: &str, event: &Value, untold: &mut UnsentEvents) {
        let known = self.topics().get(id).map_or(0, |topic| topic.last_event());
        if event["id"].as_u64().is_some_and(|number| number > known) {
            untold.entry(id.to_owned()).or_default().add(event);
        }
    }

    /// The infrastructure is gone.
    fn end_topic(&self, id: &str, untold: &mut UnsentEvents) {
        if let Some(events) = untold.remove(id) {
            self.publish(id, events);
        }
        if let Some(topic) = self.topics().get(id) {
            topic.end();
        }
    }

    /// Gives how many watchers were woken.
    fn publish(&self, id: &str, events: PendingBatch) -> u32 {
        let Some(topic) = self.topics().get(id).cloned() else { return 0 };
        let Some(batch) = events.finish() else { return 0 };
        topic.push(batch);
        topic.subscriber_count()
    }

    /// Answers about it that are kept are not good any more: for what is written by this very request.
    pub(crate) fn invalidate(&self, id: &str) {
        if let Some(topic) = self.topics().get(id) {
            topic.invalidate();
        }
    }

    /// Of an infrastructure that somebody was interested in, and that exists.
    pub(crate) fn existing_topic(&self, id: &str) -> Option<Arc<Topic>> {
        self.topics().get(id).filter(|topic| !topic.has_ended()).cloned()
    }

    /// Of an infrastructure that exists.
    pub(crate) fn topic(&self, id: &str) -> Arc<Topic> {
        if let Some(topic) = self.topics().get(id).filter(|topic| !topic.has_ended()) {
            return topic.clone();
        }
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if topics.len() >= MAX_IDLE_TOPICS {
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
    pub(crate) fn watch_all(&self) -> watch::Receiver<u64> {
        self.all.subscribe()
    }

    fn topics(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<Topic>>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }
}
