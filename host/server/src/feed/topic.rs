//! An infrastructure that somebody is interested in.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use occopus_engine::Event;
use serde_json::Value;
use tokio::sync::watch;

/// Events that are kept ready.
const READY: usize = 256;

/// Its changes, its latest events, and answers that are good until the next change.
#[derive(Default)]
pub(crate) struct Topic {
    changes: watch::Sender<Changes>,
    latest: Mutex<VecDeque<Ready>>,
    answers: Mutex<Answers>,
    /// After a count of changes: how many instances were ready, and how many there should be.
    counted: Mutex<Option<(u64, (usize, usize))>>,
}

/// How much has happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) count: u64,
    /// Of the last event that was seen.
    pub(crate) event: u64,
    /// The infrastructure is gone.
    pub(crate) ended: bool,
}

/// An event as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) frame: Bytes,
}

/// An answer with its tag.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    pub(crate) tag: Arc<str>,
}

#[derive(Default)]
struct Answers {
    /// After this change.
    count: u64,
    kept: Vec<(&'static str, Answer)>,
}

impl Ready {
    /// From the record in the store.
    pub(crate) fn of(record: &[u8]) -> Option<Self> {
        let mut value: Value = serde_json::from_slice(record).ok()?;
        value.as_object_mut()?.shift_remove("v");
        Self::new(&value)
    }

    pub(crate) fn from_event(event: &Event) -> Option<Self> {
        Self::new(&serde_json::to_value(event).ok()?)
    }

    fn new(event: &Value) -> Option<Self> {
        let id = event["id"].as_u64()?;
        let name = event["event"].as_str()?.to_owned();
        // JSON on one line has no line ends, so one `data` is enough.
        let frame = format!("id: {id}\nevent: {name}\ndata: {event}\n\n").into();
        Some(Self { id, name, frame })
    }
}

impl Topic {
    /// Something has changed.
    pub(crate) fn bump(&self) {
        self.changes.send_modify(|changes| changes.count += 1);
    }

    /// Something has happened.
    pub(crate) fn push(&self, event: Ready) {
        let id = event.id;
        {
            let mut latest = self.latest();
            if latest.back().is_some_and(|last| last.id >= id) {
                return;
            }
            if latest.len() >= READY {
                latest.pop_front();
            }
            latest.push_back(event);
        }
        self.changes.send_modify(|changes| {
            changes.count += 1;
            changes.event = id;
        });
    }

    /// The infrastructure is gone.
    pub(crate) fn end(&self) {
        self.changes.send_modify(|changes| {
            changes.count += 1;
            changes.ended = true;
        });
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.changes.borrow().ended
    }

    pub(crate) fn changes(&self) -> watch::Receiver<Changes> {
        self.changes.subscribe()
    }

    /// Events after this one, if all of them are kept ready.
    pub(crate) fn after(&self, event: u64) -> Option<Vec<Ready>> {
        let latest = self.latest();
        let first = latest.front()?.id;
        if event + 1 < first {
            return None;
        }
        let start = latest.partition_point(|ready| ready.id <= event);
        Some(latest.range(start..).cloned().collect())
    }

    /// An answer that is still good, or the count under which a new one may be kept.
    pub(crate) fn answer(&self, name: &str) -> Result<Answer, u64> {
        let count = self.changes.borrow().count;
        let answers = self.answers();
        let kept = answers.kept.iter().find(|(kept, _)| *kept == name && answers.count == count);
        kept.map(|(_, answer)| answer.clone()).ok_or(count)
    }

    /// Keeps an answer that was made after this count of changes.
    pub(crate) fn keep(&self, name: &'static str, count: u64, answer: Answer) {
        let mut answers = self.answers();
        if answers.count != count {
            *answers = Answers { count, kept: Vec::new() };
        }
        answers.kept.retain(|(kept, _)| *kept != name);
        answers.kept.push((name, answer));
    }

    /// How many instances are ready and how many there should be, or the count under which that may be kept.
    pub(crate) fn counted(&self) -> Result<(usize, usize), u64> {
        let count = self.changes.borrow().count;
        let counted = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.filter(|(at, _)| *at == count).map(|(_, counted)| counted).ok_or(count)
    }

    /// Keeps what was counted after this count of changes.
    pub(crate) fn keep_counted(&self, count: u64, counted: (usize, usize)) {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some((count, counted));
    }

    fn latest(&self) -> MutexGuard<'_, VecDeque<Ready>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
