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
    /// How many runs each infrastructure has.
    runs: Arc<Mutex<HashMap<String, usize>>>,
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
        *self.runs().entry(id.to_owned()).or_default() += 1;
        Telling { own: self.clone(), id: id.to_owned() }
    }

    /// Everything that all runs tell, for the first who asks.
    pub(super) fn listen(&self) -> Option<UnboundedReceiver<Heard>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether runs of this infrastructure have still to tell.
    pub(super) fn has(&self, id: &str) -> bool {
        self.runs().contains_key(id)
    }

    /// All that a run has told was heard.
    pub(super) fn end(&self, id: &str) {
        let mut runs = self.runs();
        let Some(number) = runs.get_mut(id) else { return };
        *number = number.saturating_sub(1);
        if *number == 0 {
            runs.remove(id);
        }
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<String, usize>> {
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
