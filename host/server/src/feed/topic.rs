//! Topics: the state that subscribers of one infrastructure share, and cached answers about it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::Batch;

/// Bytes of events that are kept ready while there are subscribers.
const MAX_READY_BYTES: usize = 1 << 20;

/// The changes and latest events of one infrastructure, and answers that are valid until the next change.
#[derive(Default)]
pub(crate) struct Topic {
    /// Number of changes so far of anything that answers show.
    count: AtomicU64,
    state: watch::Sender<TopicState>,
    recent: Mutex<RecentEvents>,
    answers: Mutex<AnswerCache>,
    /// Number of changes, and the numbers of ready instances and of target instances after it.
    counts: Mutex<Option<(u64, (usize, usize))>>,
}

/// State that subscribers follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TopicState {
    /// Id of the last published event.
    pub(crate) event: u64,
    /// End of the topic: the infrastructure is gone.
    pub(crate) ended: bool,
}

/// Events that are kept ready.
#[derive(Default)]
struct RecentEvents {
    batches: VecDeque<Batch>,
    /// Size of all batches.
    bytes: usize,
}

/// A response body with its entity tag.
#[derive(Debug, Clone)]
pub(crate) struct CachedAnswer {
    pub(crate) body: Bytes,
    pub(crate) tag: Arc<str>,
}

#[derive(Default)]
struct AnswerCache {
    /// Number of changes after which the answers were made.
    count: u64,
    entries: Vec<(&'static str, CachedAnswer)>,
}

impl Topic {
    /// Counts a change, which invalidates cached answers.
    pub(crate) fn invalidate(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Publishes a batch, and wakes subscribers once for all of it.
    pub(crate) fn push(&self, batch: Batch) {
        let last = batch.last();
        {
            let mut recent = self.recent();
            if self.state.receiver_count() == 0 {
                // A new subscriber reads the store first.
                *recent = RecentEvents::default();
            } else {
                recent.add(batch);
            }
        }
        self.state.send_modify(|state| state.event = last.max(state.event));
    }

    /// Ends the topic of an infrastructure that is gone, and wakes its subscribers.
    pub(crate) fn end(&self) {
        self.state.send_modify(|state| state.ended = true);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state.borrow().ended
    }

    /// Returns the id of the last published event.
    pub(crate) fn last_event(&self) -> u64 {
        self.state.borrow().event
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<TopicState> {
        self.state.subscribe()
    }

    /// Returns the number of subscribers.
    pub(crate) fn subscriber_count(&self) -> u32 {
        u32::try_from(self.state.receiver_count()).unwrap_or(u32::MAX)
    }

    /// Returns some of the events after this one and the id of the last of them; `None` if there are none, or they are
    /// not kept ready.
    pub(crate) fn events_after(&self, event: u64) -> Option<(Bytes, u64)> {
        let recent = self.recent();
        if event.saturating_add(1) < recent.batches.front()?.first() {
            return None;
        }
        let next = recent.batches.partition_point(|batch| batch.last() <= event);
        recent.batches.get(next).map(|batch| (batch.after(event), batch.last()))
    }

    /// Returns a cached answer that is still valid.
    ///
    /// # Errors
    /// Returns the number of changes under which a new answer may be cached if there is none.
    pub(crate) fn cached_answer(&self, name: &str) -> Result<CachedAnswer, u64> {
        let count = self.count.load(Ordering::Acquire);
        let answers = self.answers();
        let found = answers.entries.iter().find(|(cached, _)| *cached == name && answers.count == count);
        found.map(|(_, answer)| answer.clone()).ok_or(count)
    }

    /// Caches an answer that was made after this number of changes.
    pub(crate) fn cache_answer(&self, name: &'static str, count: u64, answer: CachedAnswer) {
        let mut answers = self.answers();
        if answers.count != count {
            *answers = AnswerCache { count, entries: Vec::new() };
        }
        answers.entries.retain(|(cached, _)| *cached != name);
        answers.entries.push((name, answer));
    }

    /// Returns the cached numbers of ready instances and of target instances.
    ///
    /// # Errors
    /// Returns the number of changes under which new ones may be cached if there are none.
    pub(crate) fn cached_counts(&self) -> Result<(usize, usize), u64> {
        let count = self.count.load(Ordering::Acquire);
        let counted = *self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counted.filter(|(at, _)| *at == count).map(|(_, counted)| counted).ok_or(count)
    }

    /// Caches numbers that were counted after this number of changes.
    pub(crate) fn cache_counts(&self, count: u64, counted: (usize, usize)) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = Some((count, counted));
    }

    fn recent(&self) -> MutexGuard<'_, RecentEvents> {
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
    use jiff::Timestamp;
    use occopus_engine::{Event, EventKind};

    use super::super::PendingBatch;
    use super::*;

    fn batch(ids: std::ops::RangeInclusive<u64>, filling: usize) -> Batch {
        let mut pending = PendingBatch::default();
        for id in ids {
            let kind = EventKind::InfraStart { name: "x".repeat(filling) };
            let event = Event { id: Some(id), time: Timestamp::UNIX_EPOCH, infra_id: "i".into(), kind };
            pending.add(&event).unwrap();
        }
        pending.finish().unwrap()
    }

    #[test]
    fn a_watcher_gets_what_it_does_not_have_batch_by_batch() {
        let topic = Topic::default();
        let _subscriber = topic.subscribe();
        topic.push(batch(3..=5, 0));
        topic.push(batch(6..=7, 0));
        // A batch that arrives again is not added again.
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
        let subscriber = topic.subscribe();
        for id in 2..=9 {
            topic.push(batch(id..=id, MAX_READY_BYTES / 3));
        }
        assert!(topic.events_after(6).is_none() && topic.events_after(7).is_some());
        drop(subscriber);
        topic.push(batch(10..=10, 0));
        assert!(topic.events_after(9).is_none());
    }
}
