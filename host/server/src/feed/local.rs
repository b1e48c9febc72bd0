//! What the runs of this service tell themselves, beside what is seen in the store: the last events of an infrastructure go
//! from there with it, before they may have been seen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use occopus_engine::Event;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The runs of this service. Clones are the same.
#[derive(Clone)]
pub(super) struct LocalEvents {
    sender: UnboundedSender<LocalMessage>,
    /// Until somebody listens.
    receiver: Arc<Mutex<Option<UnboundedReceiver<LocalMessage>>>>,
    runs: Arc<Mutex<HashMap<String, ActiveRuns>>>,
}

/// Runs of one infrastructure that have still to tell.
#[derive(Default)]
struct ActiveRuns {
    number: usize,
    /// It was seen in the store that the infrastructure is gone.
    gone: bool,
}

/// What a run tells.
pub(super) enum LocalMessage {
    /// Something has happened.
    Event(Box<Event>),
    /// A run of this infrastructure has told all.
    RunEnded(String),
}

/// A run of this service tells what happens. With its value it is over.
pub(crate) struct RunPublisher {
    local: LocalEvents,
    id: String,
}

impl LocalEvents {
    pub(super) fn new() -> Self {
        let (sender, receiver) = unbounded_channel();
        Self { sender, receiver: Arc::new(Mutex::new(Some(receiver))), runs: Arc::default() }
    }

    /// A run begins to tell.
    pub(super) fn begin_run(&self, id: &str) -> RunPublisher {
        self.runs().entry(id.to_owned()).or_default().number += 1;
        RunPublisher { local: self.clone(), id: id.to_owned() }
    }

    /// Everything that all runs tell, for the first who asks.
    pub(super) fn take_receiver(&self) -> Option<UnboundedReceiver<LocalMessage>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// It is seen in the store whether there is such an infrastructure. True when it is gone, and no run has still to tell.
    pub(super) fn note_existence(&self, id: &str, gone: bool) -> bool {
        match self.runs().get_mut(id) {
            Some(runs) => {
                runs.gone = gone;
                false
            }
            None => gone,
        }
    }

    /// All that a run has told was heard. True when that was the last one, and the infrastructure is gone: another process may
    /// have removed it, and our run does not know.
    pub(super) fn end_run(&self, id: &str) -> bool {
        let mut all = self.runs();
        let Some(runs) = all.get_mut(id) else { return false };
        runs.number = runs.number.saturating_sub(1);
        let (last, gone) = (runs.number == 0, runs.gone);
        if last {
            all.remove(id);
        }
        last && gone
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<String, ActiveRuns>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunPublisher {
    /// Something has happened.
    pub(crate) fn publish(&self, event: Event) {
        // Nobody listens any more when the service ends.
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
        let own = LocalEvents::new();
        assert!(own.note_existence("a", true) && !own.note_existence("a", false), "nobody has to tell");
        let (first, second) = (own.begin_run("a"), own.begin_run("a"));
        assert!(!own.note_existence("a", true));
        drop((first, second));
        assert_eq!((own.end_run("a"), own.end_run("a"), own.end_run("a")), (false, true, false));
        // It was made again.
        let _run = own.begin_run("a");
        assert!(!own.note_existence("a", true) && !own.note_existence("a", false));
        assert!(!own.end_run("a"));
    }
}
