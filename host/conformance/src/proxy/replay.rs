//! What a server said before, to be said again: lists that are late.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Request, replace_addresses};

/// How old the answer to a stale question may be.
const STALE_AGE: Duration = Duration::from_secs(5);
/// More questions are not remembered.
const MAX_REMEMBERED_ANSWERS: usize = 10_000;

/// The memory of a proxy.
#[derive(Debug, Default)]
pub(crate) struct ReplayCache(Mutex<ReplayState>);

#[derive(Debug, Default)]
struct ReplayState {
    /// The last answer to each question that only reads, which is replaced when it is old.
    last_answers: HashMap<String, (Instant, Vec<u8>)>,
    /// Every answer, while it is recorded.
    recorded: Option<HashMap<String, Vec<u8>>>,
    hiding: Option<HidingRule>,
}

/// What the server said of something that is not there is said of something that is.
#[derive(Debug)]
struct HidingRule {
    until: Instant,
    /// Words of what is hidden, with those of what is not there.
    words: Vec<(String, String)>,
    answers: HashMap<String, Vec<u8>>,
}

impl ReplayCache {
    /// Records all that is said from now on.
    pub(crate) fn record(&self) {
        self.lock().recorded = Some(HashMap::new());
    }

    /// Hides something for a while: questions about it get the answers that were recorded, when the questions were about
    /// something that is not there. Each pair has a word of the one, and the same of the other.
    pub(crate) fn hide(&self, words: Vec<(String, String)>, time: Duration) {
        let mut memory = self.lock();
        let answers = memory.recorded.take().unwrap_or_default();
        memory.hiding = Some(HidingRule { until: Instant::now() + time, words, answers });
    }

    /// Ends the hiding.
    pub(crate) fn show(&self) {
        self.lock().hiding = None;
    }

    pub(super) fn record_answer(&self, request: &Request, answer: &[u8]) {
        let mut memory = self.lock();
        let question = request.cache_key();
        if let Some(recorded) = &mut memory.recorded {
            recorded.insert(question.clone(), answer.to_owned());
        }
        let is_old = memory.last_answers.get(&question).is_none_or(|(since, _)| since.elapsed() > STALE_AGE);
        if request.only_reads() && is_old && memory.last_answers.len() < MAX_REMEMBERED_ANSWERS {
            memory.last_answers.insert(question, (Instant::now(), answer.to_owned()));
        }
    }

    /// What was said to the same question not long ago.
    pub(super) fn stale_answer(&self, request: &Request) -> Option<Vec<u8>> {
        let memory = self.lock();
        let (since, answer) = memory.last_answers.get(&request.cache_key()).filter(|_| request.only_reads())?;
        (since.elapsed() <= STALE_AGE).then(|| answer.clone())
    }

    pub(super) fn hidden_answer(&self, request: &Request) -> Option<Vec<u8>> {
        let memory = self.lock();
        let hiding = memory.hiding.as_ref().filter(|hiding| Instant::now() < hiding.until)?;
        let question =
            hiding.words.iter().fold(request.cache_key(), |question, (it, nobody)| question.replace(it, nobody));
        let answer = hiding.answers.get(&question)?.clone();
        let back: Vec<_> = hiding.words.iter().map(|(it, nobody)| (nobody.clone(), it.clone())).collect();
        Some(replace_addresses(answer, &back))
    }

    /// The memory is whole at any time, also after a panic.
    fn lock(&self) -> MutexGuard<'_, ReplayState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
