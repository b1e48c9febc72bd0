//! Search for values in texts and in streams.
//!
//! A text is compared in normalised form: in lower case, without white space, and with the two alphabets of base64 as
//! one. It is read as it is, and around escapes once more, decoded: there `%63`, `\u0063`, `\"` and `&amp;` count as
//! the characters that they stand for. (Once would not do: a `%` before a value that begins with hexadecimal digits
//! would hide it from the second reading.) A value is masked where it stands, and the text keeps its length.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use zeroize::Zeroizing;

use super::escape::{DecodedEscape, decode_escape};

/// Replacement of each byte of a value that was found in a stream.
const MASK_BYTE: u8 = b'*';
/// Bytes of white space and backslashes in a row within a value, at most.
const MAX_GAP_BYTES: usize = 32;
/// Number of characters by which the end of a form is recognised, before the whole of it is compared.
const ANCHOR_CHARS: usize = 4;
const FILTER_BUCKETS: usize = 1 << 16;
/// Number of characters of its end that are compared before the whole of a long form is.
const QUICK_COMPARE_CHARS: usize = 16;

/// Normalised form of each byte; 0 for those that are ignored.
const NORMALIZED_BYTE: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        let byte = at as u8;
        table[at] = match byte {
            0..=b' ' | 0x7f => 0,
            b'A'..=b'Z' => byte.to_ascii_lowercase(),
            b'-' => b'+',
            b'_' => b'/',
            _ => byte,
        };
        at += 1;
    }
    table
};

/// Returns the normalised form of a text.
pub(super) fn normalize(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let characters = text.iter().map(|byte| NORMALIZED_BYTE[usize::from(*byte)]);
    Zeroizing::new(characters.filter(|character| *character != 0).collect())
}

/// Returns the normalised form of a text whose escapes are decoded.
pub(super) fn normalize_decoded(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let patterns = SecretPatterns { max_form_len: usize::MAX, ..SecretPatterns::default() };
    let mut matcher = DecodingMatcher::default();
    matcher.read(&patterns, text, true, &mut Vec::new());
    matcher.text
}

/// Patterns of the values that are searched for. They are wiped from memory when dropped.
#[derive(Default)]
pub(crate) struct SecretPatterns {
    /// Normalised forms of the values, the longest first.
    forms: Vec<Zeroizing<Vec<u8>>>,
    /// Bit for each bucket in which a form ends.
    end_filter: Vec<u64>,
    max_form_len: usize,
    /// Set once an answer held any of it.
    repeated: AtomicBool,
}

impl SecretPatterns {
    /// Creates the patterns of these forms. Those of fewer than four characters are left out.
    pub(super) fn new(mut forms: Vec<Zeroizing<Vec<u8>>>) -> Self {
        forms.retain(|form| form.len() >= ANCHOR_CHARS);
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        let mut end_filter = vec![0; FILTER_BUCKETS / 64];
        for form in &forms {
            let bucket = bucket(form.iter().fold(0, |end, byte| end << 8 | u32::from(*byte)));
            end_filter[bucket / 64] |= 1 << (bucket % 64);
        }
        let max_form_len = forms.first().map_or(0, |form| form.len());
        Self { forms, end_filter, max_form_len, repeated: AtomicBool::new(false) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// Returns the length of the longest form with which this text ends.
    fn longest_match_at_end(&self, text: &[u8]) -> Option<usize> {
        self.forms.iter().find(|form| text.ends_with(form)).map(|form| form.len())
    }

    /// Returns whether a form may end with these four characters.
    #[inline]
    fn may_end(&self, end: u32) -> bool {
        let bucket = bucket(end);
        self.end_filter.get(bucket / 64).is_some_and(|bits| bits & 1 << (bucket % 64) != 0)
    }

    /// Returns whether a form may end with these characters, which are at most [`QUICK_COMPARE_CHARS`].
    fn may_match_end(&self, end: &[u8]) -> bool {
        self.forms.iter().any(|form| {
            let common = end.len().min(form.len());
            end[end.len() - common..] == form[form.len() - common..]
        })
    }

    /// Returns the length of the longest end of this text with which a form begins.
    fn partial_match_len(&self, text: &[u8]) -> usize {
        let partial_len = |form: &Zeroizing<Vec<u8>>| {
            let text = &text[text.len().saturating_sub(form.len() - 1)..];
            let mut starts = memchr::memchr_iter(form[0], text);
            starts.find(|start| form.starts_with(&text[*start..])).map(|start| text.len() - start)
        };
        self.forms.iter().filter_map(partial_len).max().unwrap_or(0)
    }

    /// Returns the ranges of values in a text, in order; those that touch are one.
    pub(super) fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if !self.is_empty() {
            Matchers::default().read(self, text, true, &mut found);
        }
        merge_ranges(found)
    }

    /// Returns the same for the beginning of a longer text, and the offset from which a value may go on in the rest of
    /// it.
    pub(super) fn find_in_prefix(&self, text: &[u8]) -> (Vec<Range<usize>>, usize) {
        if self.is_empty() {
            return (Vec::new(), text.len());
        }
        let (mut matchers, mut found) = (Matchers::default(), Vec::new());
        matchers.read(self, text, false, &mut found);
        (merge_ranges(found), matchers.forget(self, text))
    }

    /// Returns the text with its values masked, in its length; none if it has none.
    pub(crate) fn masked(&self, text: &[u8]) -> Option<Vec<u8>> {
        let found = self.find(text);
        (!found.is_empty()).then(|| {
            let mut masked = text.to_vec();
            found.into_iter().for_each(|range| masked[range].fill(MASK_BYTE));
            masked
        })
    }

    /// Records that an answer held some of it.
    pub(crate) fn note_repeated(&self) {
        self.repeated.store(true, Ordering::Relaxed);
    }

    /// Returns whether an answer held any of it so far.
    pub(super) fn was_repeated(&self) -> bool {
        self.repeated.load(Ordering::Relaxed)
    }
}

/// Merges ranges that touch, and returns them in order.
fn merge_ranges(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_by_key(|range| range.start);
    found.dedup_by(|next, before| {
        let touches = next.start <= before.end;
        if touches {
            before.end = before.end.max(next.end);
        }
        touches
    });
    found
}

fn bucket(end: u32) -> usize {
    (end.wrapping_mul(0x9e37_79b1) >> 16) as usize
}

/// Search through one stream, which comes in pieces.
#[derive(Default)]
pub(crate) struct StreamMasker {
    matchers: Matchers,
    /// Bytes that may be a part of a value, and were not returned yet.
    pending: Vec<u8>,
    /// Ranges in it that are masked when they are returned: until then they may be parts of longer values.
    found: Vec<Range<usize>>,
    has_matches: bool,
}

impl StreamMasker {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes a piece, and returns the bytes that are decided by then: masked, and not always all of them.
    pub(crate) fn feed(&mut self, patterns: &SecretPatterns, piece: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(piece);
        self.search(patterns, false);
        let given = self.matchers.forget(patterns, &self.pending);
        let held = self.pending.split_off(given);
        let given = std::mem::replace(&mut self.pending, held);
        self.masked(given)
    }

    /// Takes the last piece, and returns the rest. The search is over.
    pub(crate) fn finish(&mut self, patterns: &SecretPatterns, piece: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(piece);
        self.search(patterns, true);
        self.matchers = Matchers::default();
        let given = std::mem::take(&mut self.pending);
        self.masked(given)
    }

    /// Masks the bytes that are returned, and keeps the ranges in those that are still held.
    fn masked(&mut self, mut given: Vec<u8>) -> Vec<u8> {
        let end = given.len();
        for range in &self.found {
            given[range.start.min(end)..range.end.min(end)].fill(MASK_BYTE);
        }
        self.found.retain_mut(|range| {
            let is_held = range.end > end;
            *range = range.start.saturating_sub(end)..range.end.saturating_sub(end);
            is_held
        });
        given
    }

    /// Returns the number of bytes that were not returned yet.
    pub(crate) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Returns whether anything was masked so far.
    pub(crate) fn has_matches(&self) -> bool {
        self.has_matches
    }

    fn search(&mut self, patterns: &SecretPatterns, is_end: bool) {
        self.matchers.read(patterns, &self.pending, is_end, &mut self.found);
        self.has_matches |= !self.found.is_empty();
    }
}

/// Both matchers of a text: as it is, and decoded.
#[derive(Default)]
struct Matchers {
    plain: PlainMatcher,
    /// Matcher that is active near escapes; elsewhere it would read what `plain` reads.
    decoded: Option<DecodingMatcher>,
    /// Offset from which escapes are searched for, as long as none is near.
    at: usize,
}

impl Matchers {
    /// Reads what is new, and adds the ranges of values.
    fn read(&mut self, patterns: &SecretPatterns, held: &[u8], is_end: bool, found: &mut Vec<Range<usize>>) {
        self.plain.read(patterns, held, found);
        loop {
            if self.decoded.is_none() {
                let Some(escape) = memchr::memchr3(b'%', b'\\', b'&', &held[self.at..]) else {
                    self.at = held.len();
                    return;
                };
                self.decoded = Some(DecodingMatcher::starting_at_escape(patterns, held, self.at + escape));
            }
            let Some(decoded) = &mut self.decoded else { return };
            if !decoded.read(patterns, held, is_end, found) {
                return;
            }
            self.at = decoded.at;
            self.decoded = None;
        }
    }

    /// Forgets what can't be a part of a value that may still come, and returns how many bytes that are.
    fn forget(&mut self, patterns: &SecretPatterns, held: &[u8]) -> usize {
        let mut needed = self.plain.retain_from(patterns, held);
        if let Some(decoded) = &mut self.decoded {
            needed = needed.min(decoded.retain_from(patterns, held.len()));
        }
        self.plain.forget(needed);
        if let Some(decoded) = &mut self.decoded {
            decoded.forget(needed);
        }
        self.at = self.at.saturating_sub(needed);
        needed
    }
}

/// Matcher of the held bytes as they are.
#[derive(Default)]
struct PlainMatcher {
    /// Number of bytes that were read.
    at: usize,
    /// Offset before which no value begins.
    match_floor: usize,
    /// Number of bytes since the last character.
    gap: usize,
    /// Last four characters.
    end: u32,
}

impl PlainMatcher {
    fn read(&mut self, patterns: &SecretPatterns, held: &[u8], found: &mut Vec<Range<usize>>) {
        for (at, byte) in held.iter().enumerate().skip(self.at) {
            let character = NORMALIZED_BYTE[usize::from(*byte)];
            if character == 0 {
                self.gap += 1;
                if self.gap > MAX_GAP_BYTES {
                    self.match_floor = at + 1;
                }
                continue;
            }
            self.gap = 0;
            self.end = self.end << 8 | u32::from(character);
            if patterns.may_end(self.end)
                && patterns.may_match_end(&preceding_chars(&held[..=at], self.match_floor, QUICK_COMPARE_CHARS).0)
            {
                let (text, offsets) = preceding_chars(&held[..=at], self.match_floor, patterns.max_form_len);
                if let Some(characters) = patterns.longest_match_at_end(&text) {
                    found.push(offsets[offsets.len() - characters]..at + 1);
                }
            }
        }
        self.at = held.len();
    }

    /// Returns the offset from which the held bytes may be a part of a value.
    fn retain_from(&self, patterns: &SecretPatterns, held: &[u8]) -> usize {
        let (text, offsets) = preceding_chars(held, self.match_floor, patterns.max_form_len);
        let partial_len = patterns.partial_match_len(&text);
        offsets.get(offsets.len() - partial_len).copied().unwrap_or(held.len())
    }

    /// Forgets the first `bytes` of what is held.
    fn forget(&mut self, bytes: usize) {
        self.at -= bytes;
        self.match_floor = self.match_floor.saturating_sub(bytes);
    }
}

/// Returns the last characters of what is held, normalised, and the offset of each: at most `max_chars`, and none
/// before a gap that no value has.
fn preceding_chars(held: &[u8], floor: usize, max_chars: usize) -> (Zeroizing<Vec<u8>>, Vec<usize>) {
    let (mut text, mut offsets) = (Zeroizing::<Vec<u8>>::default(), Vec::new());
    let mut last = held.len();
    for (at, byte) in held.iter().enumerate().skip(floor).rev() {
        let character = NORMALIZED_BYTE[usize::from(*byte)];
        if character == 0 {
            if last - at > MAX_GAP_BYTES {
                break;
            }
            continue;
        }
        if text.len() == max_chars {
            break;
        }
        text.push(character);
        offsets.push(at);
        last = at;
    }
    text.reverse();
    offsets.reverse();
    (text, offsets)
}

/// Matcher of the held bytes with their escapes decoded.
#[derive(Default)]
struct DecodingMatcher {
    /// Number of bytes that were read.
    at: usize,
    /// Text that was read, normalised, and the offset at which each character begins.
    text: Zeroizing<Vec<u8>>,
    offsets: Vec<usize>,
    /// Number of bytes since the last character.
    gap: usize,
    /// Last four characters.
    end: u32,
    /// Number of characters since the last escape.
    chars_since_escape: usize,
}

impl DecodingMatcher {
    /// Creates a matcher that begins at an escape, with what was read before it. (The other matcher may be far ahead,
    /// and its floor behind the escape.)
    fn starting_at_escape(patterns: &SecretPatterns, held: &[u8], at: usize) -> Self {
        let (text, offsets) = preceding_chars(&held[..at], 0, patterns.max_form_len);
        let end = text.iter().fold(0, |end, character| end << 8 | u32::from(*character));
        let gap = offsets.last().map_or(0, |offset| at - offset - 1);
        Self { at, text, offsets, gap, end, chars_since_escape: 0 }
    }

    /// Reads what is new, and adds the ranges of values. An escape that is not complete yet is left for later. Returns
    /// true once it has read for so long without an escape that there is no difference to the other matcher.
    fn read(&mut self, patterns: &SecretPatterns, held: &[u8], is_end: bool, found: &mut Vec<Range<usize>>) -> bool {
        while let Some(byte) = held.get(self.at) {
            if matches!(byte, b'%' | b'\\' | b'&') {
                let Some(DecodedEscape { length, bytes, count }) = decode_escape(&held[self.at..], is_end) else {
                    return false;
                };
                for byte in &bytes[..count] {
                    self.push_byte(patterns, *byte, length, found);
                }
                if count == 0 {
                    self.extend_gap(length);
                }
                self.at += length;
                self.chars_since_escape = 0;
            } else {
                if self.chars_since_escape > patterns.max_form_len {
                    return true;
                }
                self.push_byte(patterns, *byte, 1, found);
                self.at += 1;
            }
        }
        false
    }

    fn push_byte(&mut self, patterns: &SecretPatterns, byte: u8, length: usize, found: &mut Vec<Range<usize>>) {
        let character = NORMALIZED_BYTE[usize::from(byte)];
        if character == 0 {
            return self.extend_gap(length);
        }
        self.gap = 0;
        self.chars_since_escape += 1;
        self.text.push(character);
        self.offsets.push(self.at);
        self.end = self.end << 8 | u32::from(character);
        if patterns.may_end(self.end)
            && let Some(characters) = patterns.longest_match_at_end(&self.text)
        {
            found.push(self.offsets[self.offsets.len() - characters]..self.at + length);
        }
    }

    fn extend_gap(&mut self, length: usize) {
        self.gap += length;
        if self.gap > MAX_GAP_BYTES {
            self.text.clear();
            self.offsets.clear();
        }
    }

    /// Returns the offset from which the held bytes may be a part of a value.
    fn retain_from(&mut self, patterns: &SecretPatterns, held: usize) -> usize {
        let over = self.text.len() - patterns.partial_match_len(&self.text);
        self.text.drain(..over);
        self.offsets.drain(..over);
        self.offsets.first().copied().unwrap_or(held).min(self.at)
    }

    /// Forgets the first `bytes` of what is held.
    fn forget(&mut self, bytes: usize) {
        self.at -= bytes;
        self.offsets.iter_mut().for_each(|offset| *offset -= bytes);
    }
}

#[cfg(test)]
mod tests;
