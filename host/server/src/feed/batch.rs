//! Events that happened together, as they are sent: all watchers share their bytes.

use std::io::Write as _;

use bytes::Bytes;
use serde_json::Value;

/// Events one after the other, as Server-Sent Events. They are never changed.
#[derive(Debug)]
pub(crate) struct Batch {
    marks: Vec<FrameMark>,
    frames: Bytes,
}

/// Of an event.
#[derive(Debug, Clone, Copy)]
struct FrameMark {
    id: u64,
    /// Where its frame ends.
    end: usize,
}

/// Events that become a batch.
#[derive(Debug, Default)]
pub(crate) struct PendingBatch {
    marks: Vec<FrameMark>,
    frames: Vec<u8>,
}

impl PendingBatch {
    /// Adds an event that has a number and a name. Gives nothing when it has not, or is there already.
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

    /// None when there are none.
    pub(crate) fn finish(self) -> Option<Batch> {
        (!self.marks.is_empty()).then(|| Batch { marks: self.marks, frames: self.frames.into() })
    }
}

impl Batch {
    /// The number of the first event.
    pub(crate) fn first(&self) -> u64 {
        self.marks.first().map_or(0, |mark| mark.id)
    }

    /// The number of the last event.
    pub(crate) fn last(&self) -> u64 {
        self.marks.last().map_or(0, |mark| mark.id)
    }

    /// Bytes of all of them.
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Those after this event.
    pub(crate) fn after(&self, event: u64) -> Bytes {
        let known = self.marks.partition_point(|mark| mark.id <= event);
        let begin = known.checked_sub(1).and_then(|last| self.marks.get(last)).map_or(0, |mark| mark.end);
        self.frames.slice(begin..)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_rest_of_a_batch_is_what_comes_after_an_event() {
        let mut together = PendingBatch::default();
        for id in [7, 8, 9] {
            let event = json!({"id": id, "event": "nodecreated", "node_name": "a\nb"});
            assert_eq!(together.add(&event), Some(()));
            assert_eq!(together.add(&event), None, "it is there already");
        }
        assert!(together.add(&json!({"event": "without a number"})).is_none());
        let batch = together.finish().unwrap();
        assert_eq!((batch.first(), batch.last()), (7, 9));
        assert_eq!(batch.after(0).len(), batch.len());
        assert_eq!(batch.after(6).len(), batch.len());
        let frame = "id: 9\nevent: nodecreated\ndata: {\"id\":9,\"event\":\"nodecreated\",\"node_name\":\"a\\nb\"}\n\n";
        assert_eq!(batch.after(8), frame.as_bytes());
        assert!(batch.after(9).is_empty());
        assert!(PendingBatch::default().finish().is_none());
    }
}
