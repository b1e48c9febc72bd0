//! Batches of events, encoded as they are sent: all subscribers share their bytes.

use std::io::Write as _;

use bytes::Bytes;
use serde_json::Value;

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
    /// Adds an event; `None` if it has no id or name, or its id is not greater than that of the last one.
    pub(crate) fn add(&mut self, event: &Value) -> Option<()> {
        let (id, name) = (event["id"].as_u64()?, event["event"].as_str()?);
        if self.marks.last().is_some_and(|last| last.id >= id) {
            return None;
        }
        // JSON on one line has no line ends, so one `data` is enough.
        write!(self.frames, "id: {id}\nevent: {name}\ndata: {event}\n\n").ok()?;
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
    use serde_json::json;

    use super::*;

    #[test]
    fn the_rest_of_a_batch_is_what_comes_after_an_event() {
        let mut pending = PendingBatch::default();
        for id in [7, 8, 9] {
            let event = json!({"id": id, "event": "nodecreated", "node_name": "a\nb"});
            assert_eq!(pending.add(&event), Some(()));
            assert_eq!(pending.add(&event), None, "it is there already");
        }
        assert!(pending.add(&json!({"event": "without a number"})).is_none());
        let batch = pending.finish().unwrap();
        assert_eq!((batch.first(), batch.last()), (7, 9));
        assert_eq!(batch.after(0).len(), batch.len());
        assert_eq!(batch.after(6).len(), batch.len());
        let frame = "id: 9\nevent: nodecreated\ndata: {\"id\":9,\"event\":\"nodecreated\",\"node_name\":\"a\\nb\"}\n\n";
        assert_eq!(batch.after(8), frame.as_bytes());
        assert!(batch.after(9).is_empty());
        assert!(PendingBatch::default().finish().is_none());
    }
}
