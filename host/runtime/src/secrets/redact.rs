//! Values are taken out of everything that a call says, and out of every answer that it gets.

use std::ops::Range;
use std::sync::Arc;

use super::CallSecrets;
use super::encoded_forms::encoded_forms;
use super::search::{SecretPatterns, normalize};

/// Stands where a secret was in a text.
const REDACTION: &str = "***";
/// Shorter values are no secrets, and their removal would make texts unreadable.
const MIN_REDACTED_CHARS: usize = 4;
/// Shorter values stand in answers by chance, and a driver could not read these any more.
const MIN_MASKED_CHARS: usize = 8;

impl CallSecrets {
    /// Takes the values out of a text that leaves the call (faults, handles, logs, progress), in the forms in which a server or a
    /// careless plugin repeats them. A plugin that wants to hide a value from it has no value to hide.
    pub fn redact(&self, text: &str) -> String {
        let found = self.text_patterns().find(text.as_bytes());
        replace_ranges(text.as_bytes(), &found, 0..text.len())
    }

    /// The same of the beginning of a text, of so many bytes at most. What may be a part of a value that goes on behind is left
    /// out.
    pub(crate) fn redact_prefix(&self, text: &str, most: usize) -> String {
        if text.len() <= most {
            return self.redact(text);
        }
        self.redact_truncated(&text[..text.floor_char_boundary(most)])
    }

    /// The same of a text that may have gone on. What may be a part of a value at its end is left out.
    pub(crate) fn redact_truncated(&self, text: &str) -> String {
        let (found, end) = self.text_patterns().find_in_prefix(text.as_bytes());
        replace_ranges(text.as_bytes(), &found, 0..end)
    }

    /// The same of the end of a text, of so many bytes at most. It is searched in twice as many: what is left of a value that begins
    /// before these is not found.
    pub(crate) fn redact_suffix(&self, text: &str, most: usize) -> String {
        let text = &text.as_bytes()[text.len().saturating_sub(2 * most)..];
        let found = self.text_patterns().find(text);
        replace_ranges(text, &found, text.len().saturating_sub(most)..text.len())
    }

    fn text_patterns(&self) -> &SecretPatterns {
        self.text_patterns.get_or_init(|| self.patterns(MIN_REDACTED_CHARS, ""))
    }

    /// Returns whether a server has repeated a value in an answer to this call.
    pub(crate) fn any_repeated(&self) -> bool {
        self.answer_patterns.get().is_some_and(|wanted| wanted.was_repeated())
    }

    /// Returns whether a text holds a value that answers are searched for: a shorter one may stand there by chance.
    pub(crate) fn occurs_in(&self, text: &str) -> bool {
        self.answer_patterns().is_some_and(|wanted| !wanted.find(text.as_bytes()).is_empty())
    }

    /// Values for which answers are searched, if there are any. Whatever the plugin was told in the section at hand is no
    /// secret to it.
    pub(crate) fn answer_patterns(&self) -> Option<&Arc<SecretPatterns>> {
        let wanted = self.answer_patterns.get_or_init(|| Arc::new(self.patterns(MIN_MASKED_CHARS, &self.section)));
        (!wanted.is_empty()).then_some(wanted)
    }

    fn patterns(&self, shortest: usize, known: &str) -> SecretPatterns {
        let secret = self.values.iter().filter(|(field, _)| !self.public.contains(*field)).map(|(_, value)| value);
        let long = secret.filter(|value| normalize(value.as_bytes()).len() >= shortest);
        let unknown = long.filter(|value| known.is_empty() || !known.contains(value.as_str()));
        SecretPatterns::new(unknown.flat_map(|value| encoded_forms(value)).collect())
    }
}

/// Returns this part of a text, with the mask in the place of each value.
fn replace_ranges(text: &[u8], found: &[Range<usize>], part: Range<usize>) -> String {
    let mut redacted = Vec::with_capacity(part.len());
    let mut at = part.start;
    for place in found.iter().filter(|place| place.start < part.end && place.end > part.start) {
        redacted.extend_from_slice(&text[at..place.start.max(at)]);
        redacted.extend_from_slice(REDACTION.as_bytes());
        at = place.end.min(part.end);
    }
    redacted.extend_from_slice(&text[at..part.end]);
    String::from_utf8_lossy(&redacted).into_owned()
}
