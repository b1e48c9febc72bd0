//! One watcher's stream of events, as Server-Sent Events: <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

use super::topic::News;
use super::{Feed, Together, Topic};

/// A silent stream says so often that it lives.
const ALIVE: Duration = Duration::from_secs(15);
/// Events that are read from the store at a time.
const PAGE: usize = 500;

struct Watcher {
    feed: Feed,
    topic: Arc<Topic>,
    news: watch::Receiver<News>,
    id: String,
    /// The last event that was sent.
    after: u64,
    /// The topic has all that comes after.
    is_up_to_date: bool,
    begun: bool,
    ended: bool,
}

/// Events of an infrastructure after this one. Ends when it is gone, or the service ends.
pub(crate) fn events(feed: Feed, id: String, after: u64) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let topic = feed.topic(&id);
    let mut news = topic.watch();
    news.mark_unchanged();
    let watcher = Watcher { feed, topic, news, id, after, is_up_to_date: false, begun: false, ended: false };
    stream::unfold(watcher, |mut watcher| async {
        let frame = watcher.next().await?;
        Some((Ok(frame), watcher))
    })
}

impl Watcher {
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
            if let Some((frames, last)) = self.events().await {
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
                changed = self.news.changed() => changed.ok()?,
                () = tokio::time::sleep(ALIVE) => return Some(Bytes::from_static(b": alive\n\n")),
                () = self.feed.closing.cancelled() => return None,
            }
        }
    }

    /// The next events, and the number of the last of them.
    async fn events(&mut self) -> Option<(Bytes, u64)> {
        if self.is_up_to_date {
            if self.news.borrow_and_update().event <= self.after {
                return None;
            }
            if let Some(events) = self.topic.after(self.after) {
                return Some(events);
            }
        }
        self.news.borrow_and_update();
        // What it has missed, or what came before anybody watched.
        match self.feed.engine.events(&self.id, self.after, PAGE).await {
            Ok(events) => {
                self.is_up_to_date = events.len() < PAGE;
                let mut together = Together::default();
                for event in events.iter().filter_map(|event| serde_json::to_value(event).ok()) {
                    together.add(&event);
                }
                match together.batch() {
                    Some(batch) => Some((batch.after(self.after), batch.last())),
                    // The store forgets them with the infrastructure.
                    None => self.topic.after(self.after),
                }
            }
            Err(error) => {
                tracing::warn!(infrastructure = self.id, "events could not be read: {error}");
                None
            }
        }
    }
}
