//! Events that the runs of this service publish directly, in addition to those that the feed sees in the store. The last
//! events of an infrastructure are removed from the store together with it, perhaps before the feed has seen them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use occopus_engine::Event;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The channel of events from the runs of this service. Clones share it. Its queue has no limit; the feed drains it while
/// it follows the store.
#[derive(Clone)]
pub(super) struct LocalEvents {
    sender: UnboundedSender<LocalMessage>,
    /// Receiver, until the feed takes it.
    receiver: Arc<Mutex<Option<UnboundedReceiver<LocalMessage>>>>,
    runs: Arc<Mutex<HashMap<String, ActiveRuns>>>,
}

/// Runs of one infrastructure that have not ended, as far as the feed has processed.
#[derive(Default)]
struct ActiveRuns {
    count: usize,
    /// Removal of the infrastructure, as the feed has seen it in the store.
    gone: bool,
}

/// A message from a run.
pub(super) enum LocalMessage {
    /// Event of the run.
    Event(Box<Event>),
    /// End of a run of this infrastructure: no more events follow from it.
    RunEnded(String),
}

/// The publisher of one run's events. Dropping it ends the run.
pub(crate) struct RunPublisher {
    local: LocalEvents,
    id: String,
}

impl LocalEvents {
    pub(super) fn new() -> Self {
        let (sender, receiver) = unbounded_channel();
        Self { sender, receiver: Arc::new(Mutex::new(Some(receiver))), runs: Arc::default() }
    }

    /// Begins a run of this infrastructure.
    pub(super) fn begin_run(&self, id: &str) -> RunPublisher {
        self.runs().entry(id.to_owned()).or_default().count += 1;
        RunPublisher { local: self.clone(), id: id.to_owned() }
    }

    /// Returns the receiver for the messages of all runs, the first time only.
    pub(super) fn take_receiver(&self) -> Option<UnboundedReceiver<LocalMessage>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Notes whether the infrastructure is gone from the store. Returns true if it is, and no run of it is left.
    pub(super) fn note_existence(&self, id: &str, gone: bool) -> bool {
        match self.runs().get_mut(id) {
            Some(runs) => {
                runs.gone = gone;
                false
            }
            None => gone,
        }
    }

    /// Notes that all messages of a run were processed. Returns true if it was the last run and the infrastructure is
    /// gone: another process may have removed it, without an event from a run of this service.
    pub(super) fn end_run(&self, id: &str) -> bool {
        let mut by_id = self.runs();
        let Some(runs) = by_id.get_mut(id) else { return false };
        runs.count = runs.count.saturating_sub(1);
        let (last, gone) = (runs.count == 0, runs.gone);
        if last {
            by_id.remove(id);
        }
        last && gone
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<String, ActiveRuns>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunPublisher {
    /// Publishes an event.
    pub(crate) fn publish(&self, event: Event) {
        // The receiver is gone when the service shuts down.
        let _ = self.local.sender.send(LocalMessage::Event(Box::new(event)));
    }
}

impl Drop for RunPublisher {
    fn drop(&mut self) {
        let _ = self.local.sender.send(LocalMessage::RunEnded(std::mem::take(&mut self.id)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_have_to_tell_comes_before_the_end() {
        let local = LocalEvents::new();
        assert!(local.note_existence("a", true) && !local.note_existence("a", false), "there is no run");
        let (first, second) = (local.begin_run("a"), local.begin_run("a"));
        assert!(!local.note_existence("a", true));
        drop((first, second));
        assert_eq!((local.end_run("a"), local.end_run("a"), local.end_run("a")), (false, true, false));
        // The infrastructure was created again.
        let _run = local.begin_run("a");
        assert!(!local.note_existence("a", true) && !local.note_existence("a", false));
        assert!(!local.end_run("a"));
    }
}
