//! Values are taken out of everything that a call says, and out of every answer that it gets.

use std::sync::Arc;

use super::CallSecrets;
use super::forms::forms;
use super::scan::{Wanted, reduced};

/// Stands where a secret was in a text.
const MASK: &str = "***";
/// Shorter values are no secrets, and their removal would make texts unreadable.
const SHORTEST: usize = 4;
/// Shorter values stand in answers by chance, and a driver could not read these any more.
const SHORTEST_IN_ANSWERS: usize = 8;

impl CallSecrets {
    /// Takes the values out of a text that leaves the call (faults, handles, logs, progress), in the forms in which a server or a
    /// careless plugin repeats them. A plugin that wants to hide a value from it has no value to hide.
    pub fn redact(&self, text: &str) -> String {
        let wanted = self.in_texts.get_or_init(|| self.wanted(SHORTEST, ""));
        let found = wanted.find(text.as_bytes());
        let mut redacted = Vec::with_capacity(text.len());
        let mut at = 0;
        for place in &found {
            redacted.extend_from_slice(&text.as_bytes()[at..place.start]);
            redacted.extend_from_slice(MASK.as_bytes());
            at = place.end;
        }
        redacted.extend_from_slice(&text.as_bytes()[at..]);
        String::from_utf8_lossy(&redacted).into_owned()
    }

    /// Returns whether a text holds a value that answers are searched for.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.in_answers().is_some_and(|wanted| !wanted.find(text.as_bytes()).is_empty())
    }

    /// What answers are searched for; none when there is nothing. Whatever the plugin was told in the section at hand is no
    /// secret to it.
    pub(crate) fn in_answers(&self) -> Option<&Arc<Wanted>> {
        let wanted = self.in_answers.get_or_init(|| Arc::new(self.wanted(SHORTEST_IN_ANSWERS, &self.section)));
        (!wanted.is_empty()).then_some(wanted)
    }

    fn wanted(&self, shortest: usize, known: &str) -> Wanted {
        let secret = self.values.iter().filter(|(field, _)| !self.public.contains(*field)).map(|(_, value)| value);
        let long = secret.filter(|value| reduced(value.as_bytes()).len() >= shortest);
        let unknown = long.filter(|value| known.is_empty() || !known.contains(value.as_str()));
        Wanted::new(unknown.flat_map(|value| forms(value)).collect())
    }
}
