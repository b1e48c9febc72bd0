//! The feed of events and changes: follows the engine's changes once for all subscribers. Keys and records of the store
//! must not be known here.
//!
//! A topic is an infrastructure that has subscribers or cached answers. It counts changes, so that answers can be cached
//! until the next one, and it holds the latest events, ready to be sent. Subscribers have no queues: each remembers the
//! last event that it has sent, and takes the next ones from the topic, or from the store if it has fallen behind.

mod batch;
mod local;
mod stream;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use occopus_engine::ports::StoreError;
use occopus_engine::{
    ChangeKind, Engine, Event, EventKind, InfrastructureChange, InfrastructureChanges, InfrastructureId, Position,
    Presence,
};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use local::{LocalEvents, LocalMessage};

pub(crate) use batch::{Batch, PendingBatch};
pub(crate) use local::RunPublisher;
pub(crate) use stream::subscribe;
pub(crate) use topic::{CachedAnswer, Topic};

/// Number of topics from which on unused ones are dropped when another one is created.
const MAX_IDLE_TOPICS: usize = 1024;
/// Changes that are processed in one round, at most.
const MAX_CHANGES_PER_ROUND: usize = 4096;
/// Estimated time to wake and serve one subscriber. The pause between two publications is this times the subscribers
/// woken by the first: events in between are sent together, since many subscribers with many events would else take up
/// the machine.
const WAKE_COST_PER_SUBSCRIBER: Duration = Duration::from_micros(20);
/// Shortest pause between two publications; shorter ones are left out.
const COALESCE_MIN: Duration = Duration::from_millis(1);
/// Longest pause between two publications, and so the longest delay of an event by it.
const COALESCE_MAX: Duration = Duration::from_millis(100);
/// Pause before the store is watched again after an error.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The feed. Clones share its state.
#[derive(Clone)]
pub(crate) struct Feed {
    pub(crate) engine: Engine,
    topics: Arc<RwLock<HashMap<String, Arc<Topic>>>>,
    /// Number of changes of anything that lists show.
    all: watch::Sender<u64>,
    pub(crate) closing: CancellationToken,
    observer: Arc<dyn FeedObserver>,
    local: LocalEvents,
}

/// Events that were not published yet, by infrastructure.
type UnsentEvents = HashMap<String, PendingBatch>;

/// An observer of the changes that the feed sees in the store.
pub(crate) trait FeedObserver: Send + Sync + 'static {
    /// Notifies of a stored event with this name.
    fn event_stored(&self, event: &str);
    /// Notifies of a stored request to the maintainer of this infrastructure.
    fn request_stored(&self, id: &InfrastructureId);
}

impl Feed {
    pub(crate) fn new(engine: Engine, observer: Arc<dyn FeedObserver>) -> Self {
        let topics = Arc::default();
        let (all, _) = watch::channel(0);
        Self { engine, topics, all, closing: CancellationToken::new(), observer, local: LocalEvents::new() }
    }

    /// Begins a run of this service, and returns the publisher of its events.
    pub(crate) fn publisher(&self, id: &str) -> RunPublisher {
        self.local.begin_run(id)
    }

    /// Starts to follow the engine's changes from now on, in a task that ends when `closing` is cancelled.
    ///
    /// # Errors
    /// Fails if the store does not report its revision.
    pub(crate) async fn start(&self) -> Result<(), StoreError> {
        let position = self.engine.newest_position().await?;
        let this = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = this.closing.cancelled() => {}
                () = this.follow(position) => {}
            }
        });
        Ok(())
    }

    async fn follow(&self, mut position: Position) {
        let Some(mut local) = self.local.take_receiver() else { return };
        loop {
            let ended = match self.engine.watch(position.clone()).await {
                Ok(changes) => self.process_changes(changes, &mut local, &mut position).await,
                Err(error) => Some(error),
            };
            if let Some(error) = ended {
                tracing::warn!("the store cannot be watched: {error}");
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
            // Changes may have been missed.
            for topic in self.topics().values() {
                topic.invalidate();
            }
            self.note_listed_change();
        }
    }

    /// Processes changes at once, and publishes their events after the pause of the publication before. Returns when the
    /// watch ends, with its error; `position` is then that of the last processed change.
    async fn process_changes(
        &self,
        changes: InfrastructureChanges,
        local: &mut UnboundedReceiver<LocalMessage>,
        position: &mut Position,
    ) -> Option<StoreError> {
        let mut changes = changes.ready_chunks(MAX_CHANGES_PER_ROUND);
        let mut unsent = UnsentEvents::new();
        let mut next = Instant::now();
        let ended = loop {
            tokio::select! {
                round = changes.next() => {
                    let Some(round) = round else { break None };
                    if let Err(error) = self.process_round(round, &mut unsent, position) {
                        break Some(error);
                    }
                }
                Some(message) = local.recv() => self.process_local(message, &mut unsent),
                () = tokio::time::sleep_until(next), if !unsent.is_empty() => {
                    let woken = unsent.drain().fold(0, |woken: u32, (id, events)| woken.saturating_add(self.publish(&id, events)));
                    let pause = COALESCE_MAX.min(WAKE_COST_PER_SUBSCRIBER.saturating_mul(woken));
                    next = Instant::now() + if pause < COALESCE_MIN { Duration::ZERO } else { pause };
                }
            }
        };
        for (id, events) in unsent {
            self.publish(&id, events);
        }
        ended
    }

    /// Processes changes that were read together, up to the first error. Those before it wake the readers of lists, too.
    fn process_round(
        &self,
        round: Vec<Result<InfrastructureChange, StoreError>>,
        unsent: &mut UnsentEvents,
        position: &mut Position,
    ) -> Result<(), StoreError> {
        let mut listed = false;
        let processed = round.into_iter().try_for_each(|change| {
            let change = change?;
            listed |= self.process_change(&change, unsent);
            *position = change.position;
            Ok(())
        });
        if listed {
            self.note_listed_change();
        }
        processed
    }

    /// Processes a change. Returns true if lists show it.
    fn process_change(&self, change: &InfrastructureChange, unsent: &mut UnsentEvents) -> bool {
        let id = &change.id;
        self.invalidate(id);
        match &change.kind {
            ChangeKind::Infrastructure(presence) => {
                // Events of a run of this service that is not over come first.
                if self.local.note_existence(id, *presence == Presence::Removed) {
                    self.end_topic(id, unsent);
                }
                true
            }
            ChangeKind::Instance { .. } | ChangeKind::Owner(_) => true,
            ChangeKind::Suspension(_) => {
                self.observer.request_stored(id);
                true
            }
            ChangeKind::Request(Presence::Written) => {
                self.observer.request_stored(id);
                false
            }
            ChangeKind::Event(event) => {
                self.observer.event_stored(event.kind.name());
                self.add_event(event, unsent);
                false
            }
            ChangeKind::UnreadableEvent(error) => {
                // Subscribers who wait for it read the next one from the store, which leaves this one out.
                tracing::warn!(infrastructure = id.as_str(), "an event cannot be sent: {error}");
                false
            }
            ChangeKind::Request(Presence::Removed) | ChangeKind::Other => false,
        }
    }

    /// Processes a message from a run of this service.
    fn process_local(&self, message: LocalMessage, unsent: &mut UnsentEvents) {
        match message {
            LocalMessage::Event(event) => {
                let last = matches!(event.kind, EventKind::InfraDrop);
                self.add_event(&event, unsent);
                if last {
                    self.end_topic(&event.infra_id, unsent);
                }
            }
            LocalMessage::RunEnded(id) => {
                if self.local.end_run(&id) {
                    self.end_topic(&id, unsent);
                }
            }
        }
    }

    /// Adds an event, unless it was published before: events of runs of this service arrive twice.
    fn add_event(&self, event: &Event, unsent: &mut UnsentEvents) {
        let published = self.topics().get(&event.infra_id).map_or(0, |topic| topic.last_event());
        if event.id.is_some_and(|id| id > published) {
            unsent.entry(event.infra_id.clone()).or_default().add(event);
        }
    }

    /// Publishes the last events of an infrastructure that is gone, and ends its topic.
    fn end_topic(&self, id: &str, unsent: &mut UnsentEvents) {
        if let Some(events) = unsent.remove(id) {
            self.publish(id, events);
        }
        if let Some(topic) = self.topics().get(id) {
            topic.end();
        }
    }

    /// Publishes events. Returns the number of subscribers that were woken.
    fn publish(&self, id: &str, events: PendingBatch) -> u32 {
        let Some(topic) = self.topics().get(id).cloned() else { return 0 };
        let Some(batch) = events.finish() else { return 0 };
        topic.push(batch);
        topic.subscriber_count()
    }

    /// Invalidates cached answers about an infrastructure. Called by a request that has changed it, before the change is
    /// seen in the store.
    pub(crate) fn invalidate(&self, id: &str) {
        if let Some(topic) = self.topics().get(id) {
            topic.invalidate();
        }
    }

    /// Wakes those who wait for a change of anything that lists show. Called by whoever follows such changes elsewhere.
    pub(crate) fn note_listed_change(&self) {
        self.all.send_modify(|count| *count += 1);
    }

    /// Returns the topic of an infrastructure, if there is one and the infrastructure is not gone.
    pub(crate) fn existing_topic(&self, id: &str) -> Option<Arc<Topic>> {
        self.topics().get(id).filter(|topic| !topic.has_ended()).cloned()
    }

    /// Returns the topic of an infrastructure that exists, and creates it if there is none.
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
            // A new infrastructure with the same id.
            *topic = Arc::default();
        }
        topic.clone()
    }

    /// Returns a receiver for the number of changes of anything that lists show.
    pub(crate) fn watch_all(&self) -> watch::Receiver<u64> {
        self.all.subscribe()
    }

    fn topics(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<Topic>>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }
}
