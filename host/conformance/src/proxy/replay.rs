//! Replay of a server's earlier answers, to simulate lists that lag behind.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Request, replace_addresses};

/// Maximum age of a stale answer.
const STALE_AGE: Duration = Duration::from_secs(5);
/// Maximum number of requests whose answers are kept.
const MAX_REMEMBERED_ANSWERS: usize = 10_000;

/// Recorded answers of a proxy.
#[derive(Debug, Default)]
pub(crate) struct ReplayCache(Mutex<ReplayState>);

#[derive(Debug, Default)]
struct ReplayState {
    /// Answer to each request that only reads; replaced when it is older than [`STALE_AGE`].
    last_answers: HashMap<String, (Instant, Vec<u8>)>,
    /// All answers since the recording began.
    recorded: Option<HashMap<String, Vec<u8>>>,
    hiding: Option<HidingRule>,
}

/// A rule that replays the server's answers about a nonexistent object for an existing one.
#[derive(Debug)]
struct HidingRule {
    until: Instant,
    /// Words of the hidden object, with those of the nonexistent one.
    words: Vec<(String, String)>,
    answers: HashMap<String, Vec<u8>>,
}

impl ReplayCache {
    /// Records all answers from now on.
    pub(crate) fn record(&self) {
        self.lock().recorded = Some(HashMap::new());
    }

    /// Hides an object for a while: requests about it get the answers that were recorded for a nonexistent one. Each
    /// pair has a word of the hidden object, and its counterpart of the nonexistent one.
    pub(crate) fn hide(&self, words: Vec<(String, String)>, time: Duration) {
        let mut state = self.lock();
        let answers = state.recorded.take().unwrap_or_default();
        state.hiding = Some(HidingRule { until: Instant::now() + time, words, answers });
    }

    /// Ends the hiding.
    pub(crate) fn show(&self) {
        self.lock().hiding = None;
    }

    pub(super) fn record_answer(&self, request: &Request, answer: &[u8]) {
        let mut state = self.lock();
        let key = request.cache_key();
        if let Some(recorded) = &mut state.recorded {
            recorded.insert(key.clone(), answer.to_owned());
        }
        let is_old = state.last_answers.get(&key).is_none_or(|(since, _)| since.elapsed() > STALE_AGE);
        if request.only_reads() && is_old && state.last_answers.len() < MAX_REMEMBERED_ANSWERS {
            state.last_answers.insert(key, (Instant::now(), answer.to_owned()));
        }
    }

    /// Returns the answer to the same request, if it is not older than [`STALE_AGE`].
    pub(super) fn stale_answer(&self, request: &Request) -> Option<Vec<u8>> {
        let state = self.lock();
        let (since, answer) = state.last_answers.get(&request.cache_key()).filter(|_| request.only_reads())?;
        (since.elapsed() <= STALE_AGE).then(|| answer.clone())
    }

    pub(super) fn hidden_answer(&self, request: &Request) -> Option<Vec<u8>> {
        let state = self.lock();
        let hiding = state.hiding.as_ref().filter(|hiding| Instant::now() < hiding.until)?;
        let key = hiding
            .words
            .iter()
            .fold(request.cache_key(), |key, (hidden, nonexistent)| key.replace(hidden, nonexistent));
        let answer = hiding.answers.get(&key)?.clone();
        let replacements: Vec<_> =
            hiding.words.iter().map(|(hidden, nonexistent)| (nonexistent.clone(), hidden.clone())).collect();
        Some(replace_addresses(answer, &replacements))
    }

    /// Locks the state, also after a panic: it is consistent at any time.
    fn lock(&self) -> MutexGuard<'_, ReplayState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
