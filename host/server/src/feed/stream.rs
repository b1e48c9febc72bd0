//! One watcher's stream of events, as Server-Sent Events: <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

use super::topic::TopicState;
use super::{Feed, PendingBatch, Topic};

/// A silent stream says so often that it lives.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Events that are read from the store at a time.
const PAGE_SIZE: usize = 500;

struct Subscriber {
    feed: Feed,
    topic: Arc<Topic>,
    topic_state: watch::Receiver<TopicState>,
    id: String,
    /// The last event that was sent.
    after: u64,
    /// The topic has all that comes after.
    is_up_to_date: bool,
    begun: bool,
    ended: bool,
}

/// Events of an infrastructure after this one. Ends when it is gone, or the service ends.
pub(crate) fn subscribe(feed: Feed, id: String, after: u64) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let topic = feed.topic(&id);
    let mut news = topic.subscribe();
    news.mark_unchanged();
    let watcher =
        Subscriber { feed, topic, topic_state: news, id, after, is_up_to_date: false, begun: false, ended: false };
    stream::unfold(watcher, |mut watcher| async {
        let frame = watcher.next().await?;
        Some((Ok(frame), watcher))
    })
}

impl Subscriber {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if !self.begun {
            self.begun = true;
            // So that clients know at once that they are connected, and come back soon.
            return Some(Bytes::from_static(b"retry: 2000\n\n"));
        }
        loop {
            // Seen before the events are: all that there will be are there then.
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

    /// The next events, and the number of the last of them.
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
        // What it has missed, or what came before anybody watched.
        match self.feed.engine.events(&self.id, self.after, PAGE_SIZE).await {
            Ok(events) => {
                self.is_up_to_date = events.len() < PAGE_SIZE;
                let mut together = PendingBatch::default();
                for event in events.iter().filter_map(|event| serde_json::to_value(event).ok()) {
                    together.add(&event);
                }
                match together.finish() {
                    Some(batch) => Some((batch.after(self.after), batch.last())),
                    // The store forgets them with the infrastructure.
                    None => self.topic.events_after(self.after),
                }
            }
            Err(error) => {
                tracing::warn!(infrastructure = self.id, "events could not be read: {error}");
                None
            }
        }
    }
}
