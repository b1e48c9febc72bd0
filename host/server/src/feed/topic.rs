//! An infrastructure that somebody is interested in.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::Batch;

/// Bytes of events that are kept ready, for as long as somebody watches.
const MAX_READY_BYTES: usize = 1 << 20;

/// Its changes, its latest events, and answers that are good until the next change.
#[derive(Default)]
pub(crate) struct Topic {
    /// Changes so far of whatever answers show.
    count: AtomicU64,
    state: watch::Sender<TopicState>,
    recent: Mutex<RecentEvents>,
    answers: Mutex<AnswerCache>,
    /// After a count of changes: how many instances were ready, and how many there should be.
    counts: Mutex<Option<(u64, (usize, usize))>>,
}

/// What watchers have been told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TopicState {
    /// The number of the last event.
    pub(crate) event: u64,
    /// The infrastructure is gone.
    pub(crate) ended: bool,
}

/// Events that are kept ready.
#[derive(Default)]
struct RecentEvents {
    batches: VecDeque<Batch>,
    /// Of all of them.
    bytes: usize,
}

/// An answer with its tag.
#[derive(Debug, Clone)]
pub(crate) struct CachedAnswer {
    pub(crate) body: Bytes,
    pub(crate) tag: Arc<str>,
}

#[derive(Default)]
struct AnswerCache {
    /// After this change.
    count: u64,
    kept: Vec<(&'static str, CachedAnswer)>,
}

impl Topic {
    /// Something has changed: answers that are kept are not good any more.
    pub(crate) fn invalidate(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Something has happened. Watchers are woken once for all of it.
    pub(crate) fn push(&self, batch: Batch) {
        let last = batch.last();
        {
            let mut latest = self.latest();
            if self.state.receiver_count() == 0 {
                // Whoever begins to watch reads the store first.
                *latest = RecentEvents::default();
            } else {
                latest.add(batch);
            }
        }
        self.state.send_modify(|news| news.event = last.max(news.event));
    }

    /// The infrastructure is gone.
    pub(crate) fn end(&self) {
        self.state.send_modify(|news| news.ended = true);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state.borrow().ended
    }

    /// The number of the last event that was told.
    pub(crate) fn last_event(&self) -> u64 {
        self.state.borrow().event
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<TopicState> {
        self.state.subscribe()
    }

    /// How many watch it.
    pub(crate) fn subscriber_count(&self) -> u32 {
        u32::try_from(self.state.receiver_count()).unwrap_or(u32::MAX)
    }

    /// Some of the events after this one, and the number of the last of them; none when they are not kept ready.
    pub(crate) fn events_after(&self, event: u64) -> Option<(Bytes, u64)> {
        let latest = self.latest();
        if event.saturating_add(1) < latest.batches.front()?.first() {
            return None;
        }
        let next = latest.batches.partition_point(|batch| batch.last() <= event);
        latest.batches.get(next).map(|batch| (batch.after(event), batch.last()))
    }

    /// An answer that is still good, or the count under which a new one may be kept.
    pub(crate) fn cached_answer(&self, name: &str) -> Result<CachedAnswer, u64> {
        let count = self.count.load(Ordering::Acquire);
        let answers = self.answers();
        let kept = answers.kept.iter().find(|(kept, _)| *kept == name && answers.count == count);
        kept.map(|(_, answer)| answer.clone()).ok_or(count)
    }

    /// Keeps an answer that was made after this count of changes.
    pub(crate) fn cache_answer(&self, name: &'static str, count: u64, answer: CachedAnswer) {
        let mut answers = self.answers();
        if answers.count != count {
            *answers = AnswerCache { count, kept: Vec::new() };
        }
        answers.kept.retain(|(kept, _)| *kept != name);
        answers.kept.push((name, answer));
    }

    /// How many instances are ready and how many there should be, or the count under which that may be kept.
    pub(crate) fn cached_counts(&self) -> Result<(usize, usize), u64> {
        let count = self.count.load(Ordering::Acquire);
        let counted = *self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counted.filter(|(at, _)| *at == count).map(|(_, counted)| counted).ok_or(count)
    }

    /// Keeps what was counted after this count of changes.
    pub(crate) fn cache_counts(&self, count: u64, counted: (usize, usize)) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = Some((count, counted));
    }

    fn latest(&self) -> MutexGuard<'_, RecentEvents> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answers(&self) -> MutexGuard<'_, AnswerCache> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecentEvents {
    fn add(&mut self, batch: Batch) {
        if self.batches.back().is_some_and(|before| before.last() >= batch.first()) {
            return;
        }
        self.bytes += batch.len();
        self.batches.push_back(batch);
        while self.bytes > MAX_READY_BYTES && self.batches.len() > 1 {
            self.bytes -= self.batches.pop_front().map_or(0, |batch| batch.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::PendingBatch;
    use super::*;

    fn batch(ids: std::ops::RangeInclusive<u64>, filling: usize) -> Batch {
        let mut together = PendingBatch::default();
        for id in ids {
            together.add(&json!({"id": id, "event": "nodecreated", "filling": "x".repeat(filling)})).unwrap();
        }
        together.finish().unwrap()
    }

    #[test]
    fn a_watcher_gets_what_it_does_not_have_batch_by_batch() {
        let topic = Topic::default();
        let _watcher = topic.subscribe();
        topic.push(batch(3..=5, 0));
        topic.push(batch(6..=7, 0));
        // What comes again is not told again.
        topic.push(batch(6..=7, 0));
        assert!(topic.events_after(1).is_none(), "2 is in the store only");
        assert_eq!(topic.events_after(2).map(|(_, last)| last), Some(5));
        let (rest, last) = topic.events_after(4).unwrap();
        assert!(rest.starts_with(b"id: 5\n") && last == 5);
        let (next, last) = topic.events_after(5).unwrap();
        assert!(next.starts_with(b"id: 6\n") && last == 7);
        assert!(topic.events_after(7).is_none());
        assert_eq!(topic.subscribe().borrow().event, 7);
    }

    #[test]
    fn little_is_kept_and_nothing_for_nobody() {
        let topic = Topic::default();
        topic.push(batch(1..=1, 0));
        assert!(topic.events_after(0).is_none());
        let watcher = topic.subscribe();
        for id in 2..=9 {
            topic.push(batch(id..=id, MAX_READY_BYTES / 3));
        }
        assert!(topic.events_after(6).is_none() && topic.events_after(7).is_some());
        drop(watcher);
        topic.push(batch(10..=10, 0));
        assert!(topic.events_after(9).is_none());
    }
}
