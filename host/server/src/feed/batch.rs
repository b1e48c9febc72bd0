//! Batches of events, encoded as they are sent: all subscribers share their bytes.

use std::io::Write as _;

use bytes::Bytes;
use occopus_engine::Event;

/// Consecutive events of an infrastructure, encoded as Server-Sent Events. Immutable.
#[derive(Debug)]
pub(crate) struct Batch {
    marks: Vec<FrameMark>,
    frames: Bytes,
}

/// Id of an event, and the end of its frame.
#[derive(Debug, Clone, Copy)]
struct FrameMark {
    id: u64,
    /// Offset of the end of the frame, in bytes.
    end: usize,
}

/// A batch under construction.
#[derive(Debug, Default)]
pub(crate) struct PendingBatch {
    marks: Vec<FrameMark>,
    frames: Vec<u8>,
}

impl PendingBatch {
    /// Adds an event; `None` if it has no id, its id is not greater than that of the last one, or it can't be written as
    /// JSON.
    pub(crate) fn add(&mut self, event: &Event) -> Option<()> {
        let (id, name) = (event.id?, event.kind.name());
        if self.marks.last().is_some_and(|last| last.id >= id) {
            return None;
        }
        let data = serde_json::to_vec(event).ok()?;
        // JSON on one line has no line ends, so one `data` is enough.
        write!(self.frames, "id: {id}\nevent: {name}\ndata: ").ok()?;
        self.frames.extend(data);
        self.frames.extend(b"\n\n");
        self.marks.push(FrameMark { id, end: self.frames.len() });
        Some(())
    }

    /// Returns the batch; `None` if it has no events.
    pub(crate) fn finish(self) -> Option<Batch> {
        (!self.marks.is_empty()).then(|| Batch { marks: self.marks, frames: self.frames.into() })
    }
}

impl Batch {
    /// Returns the id of the first event.
    pub(crate) fn first(&self) -> u64 {
        self.marks.first().map_or(0, |mark| mark.id)
    }

    /// Returns the id of the last event.
    pub(crate) fn last(&self) -> u64 {
        self.marks.last().map_or(0, |mark| mark.id)
    }

    /// Returns the size of all frames in bytes.
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Returns the frames of the events after this one.
    pub(crate) fn after(&self, event: u64) -> Bytes {
        let index = self.marks.partition_point(|mark| mark.id <= event);
        let start = index.checked_sub(1).and_then(|last| self.marks.get(last)).map_or(0, |mark| mark.end);
        self.frames.slice(start..)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use occopus_engine::EventKind;

    use super::*;

    fn event(id: Option<u64>) -> Event {
        let kind = EventKind::InfraStart { name: "a\nb".into() };
        Event { id, time: Timestamp::UNIX_EPOCH, infra_id: "i".into(), kind }
    }

    #[test]
    fn the_rest_of_a_batch_is_what_comes_after_an_event() {
        let mut pending = PendingBatch::default();
        for id in [7, 8, 9] {
            assert_eq!(pending.add(&event(Some(id))), Some(()));
            assert_eq!(pending.add(&event(Some(id))), None, "it is there already");
        }
        assert!(pending.add(&event(None)).is_none());
        let batch = pending.finish().unwrap();
        assert_eq!((batch.first(), batch.last()), (7, 9));
        assert_eq!(batch.after(0).len(), batch.len());
        assert_eq!(batch.after(6).len(), batch.len());
        let frame = "id: 9\nevent: infrastart\ndata: {\"id\":9,\"time\":\"1970-01-01T00:00:00Z\",\"infra_id\":\"i\",\
                     \"event\":\"infrastart\",\"name\":\"a\\nb\"}\n\n";
        assert_eq!(batch.after(8), frame.as_bytes());
        assert!(batch.after(9).is_empty());
        assert!(PendingBatch::default().finish().is_none());
    }
}
