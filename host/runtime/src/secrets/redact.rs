//! Redaction of values in everything that a call returns or logs, and the patterns for the answers that it gets.

use std::ops::Range;
use std::sync::Arc;

use super::CallSecrets;
use super::encoded_forms::encoded_forms;
use super::search::{SecretPatterns, normalize};

/// Replacement of a secret in a text.
const REDACTION: &str = "***";
/// Characters of a value that is taken out of texts. Shorter ones are no secrets, and their removal would make texts
/// unreadable.
const MIN_REDACTED_CHARS: usize = 4;
/// Characters of a value that is masked in answers. Shorter ones occur by chance, and a driver could not read such an
/// answer any more.
const MIN_MASKED_CHARS: usize = 8;

impl CallSecrets {
    /// Takes the values out of a text that leaves the call (faults, handles, logs, progress), in the forms in which a
    /// server or a careless plugin repeats them. A plugin that would hide a value from it has no value to hide.
    pub(crate) fn redact(&self, text: &str) -> String {
        let found = self.text_patterns().find(text.as_bytes());
        replace_ranges(text.as_bytes(), &found, 0..text.len())
    }

    /// Returns the beginning of a text without the values, of at most `max_bytes`. The part that may belong to a value
    /// which goes on behind them is left out.
    pub(crate) fn redact_prefix(&self, text: &str, max_bytes: usize) -> String {
        if text.len() <= max_bytes {
            return self.redact(text);
        }
        self.redact_truncated(&text[..text.floor_char_boundary(max_bytes)])
    }

    /// Replaces the values in a text that was cut off. What may be a part of a value at its end is left out.
    pub(crate) fn redact_truncated(&self, text: &str) -> String {
        let (found, end) = self.text_patterns().find_in_prefix(text.as_bytes());
        replace_ranges(text.as_bytes(), &found, 0..end)
    }

    /// Returns the end of a text without the values, of at most `max_bytes`. Twice as many are searched: what is left
    /// of a value that begins before these is not found.
    pub(crate) fn redact_suffix(&self, text: &str, max_bytes: usize) -> String {
        let text = &text.as_bytes()[text.len().saturating_sub(2 * max_bytes)..];
        let found = self.text_patterns().find(text);
        replace_ranges(text, &found, text.len().saturating_sub(max_bytes)..text.len())
    }

    fn text_patterns(&self) -> &SecretPatterns {
        self.text_patterns.get_or_init(|| self.patterns(MIN_REDACTED_CHARS, ""))
    }

    /// Returns whether a server has repeated a value in an answer to this call.
    pub(crate) fn any_repeated(&self) -> bool {
        self.answer_patterns.get().is_some_and(|patterns| patterns.was_repeated())
    }

    /// Returns whether a text holds a value that answers are searched for: a shorter one may stand there by chance.
    pub(crate) fn occurs_in(&self, text: &str) -> bool {
        self.answer_patterns().is_some_and(|patterns| !patterns.find(text.as_bytes()).is_empty())
    }

    /// Returns the patterns for which answers are searched, if there are any. Text of the section at hand is no secret
    /// to the plugin.
    pub(crate) fn answer_patterns(&self) -> Option<&Arc<SecretPatterns>> {
        let patterns = self.answer_patterns.get_or_init(|| Arc::new(self.patterns(MIN_MASKED_CHARS, &self.section)));
        (!patterns.is_empty()).then_some(patterns)
    }

    fn patterns(&self, min_chars: usize, known: &str) -> SecretPatterns {
        let secret = self.values.iter().filter(|(field, _)| !self.public.contains(*field)).map(|(_, value)| value);
        let long = secret.filter(|value| normalize(value.as_bytes()).len() >= min_chars);
        let unknown = long.filter(|value| known.is_empty() || !known.contains(value.as_str()));
        SecretPatterns::new(unknown.flat_map(|value| encoded_forms(value)).collect())
    }
}

/// Returns this part of a text, with [`REDACTION`] in place of each value.
fn replace_ranges(text: &[u8], found: &[Range<usize>], part: Range<usize>) -> String {
    let mut redacted = Vec::with_capacity(part.len());
    let mut at = part.start;
    for range in found.iter().filter(|range| range.start < part.end && range.end > part.start) {
        redacted.extend_from_slice(&text[at..range.start.max(at)]);
        redacted.extend_from_slice(REDACTION.as_bytes());
        at = range.end.min(part.end);
    }
    redacted.extend_from_slice(&text[at..part.end]);
    String::from_utf8_lossy(&redacted).into_owned()
}
