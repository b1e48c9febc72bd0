//! Streams of events to single subscribers, as Server-Sent Events:
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use jiff::Timestamp;
use occopus_engine::InfrastructureId;
use serde_json::json;
use tokio::sync::watch;

use super::topic::TopicState;
use super::{Feed, PendingBatch, Topic};

/// Interval of comments on a silent stream, which keep its connection alive.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Events read from the store at a time.
const PAGE_SIZE: usize = 500;

struct Subscriber {
    feed: Feed,
    topic: Arc<Topic>,
    topic_state: watch::Receiver<TopicState>,
    id: InfrastructureId,
    /// Id of the last event that was sent.
    after: u64,
    /// State in which the topic has all events after `after`.
    is_up_to_date: bool,
    started: bool,
    ended: bool,
}

/// Returns the stream of an infrastructure's events after this one. It ends when the infrastructure is gone or the
/// service shuts down.
pub(crate) fn subscribe(feed: Feed, id: InfrastructureId, after: u64) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let topic = feed.topic(&id);
    let mut topic_state = topic.subscribe();
    topic_state.mark_unchanged();
    let subscriber =
        Subscriber { feed, topic, topic_state, id, after, is_up_to_date: false, started: false, ended: false };
    stream::unfold(subscriber, |mut subscriber| async {
        let frame = subscriber.next().await?;
        Some((Ok(frame), subscriber))
    })
}

impl Subscriber {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if !self.started {
            self.started = true;
            // Shows clients at once that they are connected, and makes them reconnect soon.
            return Some(Bytes::from_static(b"retry: 2000\n\n"));
        }
        loop {
            // Read before the events: if the topic has ended by now, they are complete.
            let has_ended = self.topic.has_ended();
            if let Some((frames, last)) = self.next_events().await {
                self.after = last;
                return Some(frames);
            }
            if has_ended {
                self.ended = true;
                let event = json!({"time": Timestamp::now(), "infra_id": self.id, "event": "infradrop"});
                return Some(format!("event: infradrop\ndata: {event}\n\n").into());
            }
            if self.topic.has_ended() {
                continue;
            }
            tokio::select! {
                changed = self.topic_state.changed() => changed.ok()?,
                () = tokio::time::sleep(KEEP_ALIVE_INTERVAL) => return Some(Bytes::from_static(b": alive\n\n")),
                () = self.feed.closing.cancelled() => return None,
            }
        }
    }

    /// Returns the next events and the id of the last of them; `None` if there are none, or they can't be read.
    async fn next_events(&mut self) -> Option<(Bytes, u64)> {
        if self.is_up_to_date {
            if self.topic_state.borrow_and_update().event <= self.after {
                return None;
            }
            if let Some(events) = self.topic.events_after(self.after) {
                return Some(events);
            }
        }
        self.topic_state.borrow_and_update();
        // Events that this subscriber has missed, or that came before the topic had subscribers.
        match self.feed.engine.events(&self.id, self.after, PAGE_SIZE).await {
            Ok(events) => {
                self.is_up_to_date = events.len() < PAGE_SIZE;
                let mut pending = PendingBatch::default();
                for event in &events {
                    pending.add(event);
                }
                match pending.finish() {
                    Some(batch) => Some((batch.after(self.after), batch.last())),
                    // The events are removed from the store together with the infrastructure.
                    None => self.topic.events_after(self.after),
                }
            }
            Err(error) => {
                tracing::warn!(infrastructure = self.id.as_str(), "events could not be read: {error}");
                None
            }
        }
    }
}
