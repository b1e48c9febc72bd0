//! What the runs of this service tell themselves, beside what is seen in the store: the last events of an infrastructure go
//! from there with it, before they may have been seen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use occopus_engine::Event;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The runs of this service. Clones are the same.
#[derive(Clone)]
pub(super) struct Own {
    sender: UnboundedSender<Heard>,
    /// Until somebody listens.
    receiver: Arc<Mutex<Option<UnboundedReceiver<Heard>>>>,
    runs: Arc<Mutex<HashMap<String, Runs>>>,
}

/// Runs of one infrastructure that have still to tell.
#[derive(Default)]
struct Runs {
    number: usize,
    /// It was seen in the store that the infrastructure is gone.
    gone: bool,
}

/// What a run tells.
pub(super) enum Heard {
    /// Something has happened.
    Event(Box<Event>),
    /// A run of this infrastructure has told all.
    Over(String),
}

/// A run of this service tells what happens. With its value it is over.
pub(crate) struct Telling {
    own: Own,
    id: String,
}

impl Own {
    pub(super) fn new() -> Self {
        let (sender, receiver) = unbounded_channel();
        Self { sender, receiver: Arc::new(Mutex::new(Some(receiver))), runs: Arc::default() }
    }

    /// A run begins to tell.
    pub(super) fn begin(&self, id: &str) -> Telling {
        self.runs().entry(id.to_owned()).or_default().number += 1;
        Telling { own: self.clone(), id: id.to_owned() }
    }

    /// Everything that all runs tell, for the first who asks.
    pub(super) fn listen(&self) -> Option<UnboundedReceiver<Heard>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// It is seen in the store whether there is such an infrastructure. True when it is gone, and no run has still to tell.
    pub(super) fn see(&self, id: &str, gone: bool) -> bool {
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
    pub(super) fn end(&self, id: &str) -> bool {
        let mut all = self.runs();
        let Some(runs) = all.get_mut(id) else { return false };
        runs.number = runs.number.saturating_sub(1);
        let (last, gone) = (runs.number == 0, runs.gone);
        if last {
            all.remove(id);
        }
        last && gone
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<String, Runs>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Telling {
    /// Something has happened.
    pub(crate) fn tell(&self, event: Event) {
        // Nobody listens any more when the service ends.
        let _ = self.own.sender.send(Heard::Event(Box::new(event)));
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let _ = self.own.sender.send(Heard::Over(std::mem::take(&mut self.id)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_have_to_tell_comes_before_the_end() {
        let own = Own::new();
        assert!(own.see("a", true) && !own.see("a", false), "nobody has to tell");
        let (first, second) = (own.begin("a"), own.begin("a"));
        assert!(!own.see("a", true));
        drop((first, second));
        assert_eq!((own.end("a"), own.end("a"), own.end("a")), (false, true, false));
        // It was made again.
        let _run = own.begin("a");
        assert!(!own.see("a", true) && !own.see("a", false));
        assert!(!own.end("a"));
    }
}
