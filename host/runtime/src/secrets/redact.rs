//! Values are taken out of everything that a call says, and out of every answer that it gets.

use std::ops::Range;
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
        let found = self.in_texts().find(text.as_bytes());
        without(text.as_bytes(), &found, 0..text.len())
    }

    /// The same of the beginning of a text, of so many bytes at most. What may be a part of a value that goes on behind is left
    /// out.
    pub(crate) fn redact_beginning(&self, text: &str, most: usize) -> String {
        if text.len() <= most {
            return self.redact(text);
        }
        let text = &text.as_bytes()[..text.floor_char_boundary(most)];
        let (found, end) = self.in_texts().find_in_beginning(text);
        without(text, &found, 0..end)
    }

    /// The same of the end of a text, of so many bytes at most. It is searched in twice as many: what is left of a value that begins
    /// before these is not found.
    pub(crate) fn redact_end(&self, text: &str, most: usize) -> String {
        let text = &text.as_bytes()[text.len().saturating_sub(2 * most)..];
        let found = self.in_texts().find(text);
        without(text, &found, text.len().saturating_sub(most)..text.len())
    }

    fn in_texts(&self) -> &Wanted {
        self.in_texts.get_or_init(|| self.wanted(SHORTEST, ""))
    }

    /// Returns whether a server has repeated a value in an answer to this call.
    pub(crate) fn any_repeated(&self) -> bool {
        self.in_answers.get().is_some_and(|wanted| wanted.was_repeated())
    }

    /// Returns whether a text holds a value that answers are searched for: a shorter one may stand there by chance.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.in_answers().is_some_and(|wanted| !wanted.find(text.as_bytes()).is_empty())
    }

    /// Values for which answers are searched, if there are any. Whatever the plugin was told in the section at hand is no
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

/// Returns this part of a text, with the mask in the place of each value.
fn without(text: &[u8], found: &[Range<usize>], part: Range<usize>) -> String {
    let mut redacted = Vec::with_capacity(part.len());
    let mut at = part.start;
    for place in found.iter().filter(|place| place.start < part.end && place.end > part.start) {
        redacted.extend_from_slice(&text[at..place.start.max(at)]);
        redacted.extend_from_slice(MASK.as_bytes());
        at = place.end.min(part.end);
    }
    redacted.extend_from_slice(&text[at..part.end]);
    String::from_utf8_lossy(&redacted).into_owned()
}
