//! The search for values in texts and in streams.
//!
//! A text is compared *reduced*: in lower case, without white space, and with the two alphabets of base64 as one. It is read
//! as it is, and around escapes once more, decoded: there `%63`, `\u0063`, `\"` and `&amp;` count as the characters that they stand
//! for. (Once would not do: a `%` before a value that begins with hexadecimal digits would hide it from the second reading.) A value
//! is masked where it stands, and the text keeps its length.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use zeroize::Zeroizing;

use super::escape::{DecodedEscape, decode_escape};

/// Stands for each byte of a value that was found in a stream.
const MASK_BYTE: u8 = b'*';
/// White space and backslashes within a value, at most.
const MAX_GAP_BYTES: usize = 32;
/// Characters by which the end of a form is recognised, before the whole of it is compared.
const ANCHOR_CHARS: usize = 4;
const FILTER_BUCKETS: usize = 1 << 16;
/// Characters of its end that are compared before the whole of a long form is.
const QUICK_COMPARE_CHARS: usize = 16;

/// A byte as it is compared; 0 for those that are of no account.
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

/// A text as it is compared.
pub(super) fn normalize(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let characters = text.iter().map(|byte| NORMALIZED_BYTE[usize::from(*byte)]);
    Zeroizing::new(characters.filter(|character| *character != 0).collect())
}

/// A text as it is compared when its escapes are decoded.
pub(super) fn normalize_decoded(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let wanted = SecretPatterns { max_form_len: usize::MAX, ..SecretPatterns::default() };
    let mut reading = DecodingMatcher::default();
    reading.read(&wanted, text, true, &mut Vec::new());
    reading.text
}

/// Values that are looked for. They are wiped from memory with their owner.
#[derive(Default)]
pub(crate) struct SecretPatterns {
    /// Reduced, the longest first.
    forms: Vec<Zeroizing<Vec<u8>>>,
    /// One bit for each bucket in which a form ends.
    end_filter: Vec<u64>,
    max_form_len: usize,
    /// Whether an answer held any of it.
    repeated: AtomicBool,
}

impl SecretPatterns {
    /// Looks for these forms. Those of fewer than four characters are left out.
    pub(super) fn new(mut forms: Vec<Zeroizing<Vec<u8>>>) -> Self {
        forms.retain(|form| form.len() >= ANCHOR_CHARS);
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        let mut ends = vec![0; FILTER_BUCKETS / 64];
        for form in &forms {
            let bucket = bucket(form.iter().fold(0, |end, byte| end << 8 | u32::from(*byte)));
            ends[bucket / 64] |= 1 << (bucket % 64);
        }
        let longest = forms.first().map_or(0, |form| form.len());
        Self { forms, end_filter: ends, max_form_len: longest, repeated: AtomicBool::new(false) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// The length of the longest form with which this text ends.
    fn longest_match_at_end(&self, text: &[u8]) -> Option<usize> {
        self.forms.iter().find(|form| text.ends_with(form)).map(|form| form.len())
    }

    /// Whether a form may end with these four characters.
    #[inline]
    fn may_end(&self, end: u32) -> bool {
        let bucket = bucket(end);
        self.end_filter.get(bucket / 64).is_some_and(|bits| bits & 1 << (bucket % 64) != 0)
    }

    /// Whether a form may end with these characters, which are not more than a glance takes in.
    fn may_match_end(&self, end: &[u8]) -> bool {
        self.forms.iter().any(|form| {
            let common = end.len().min(form.len());
            end[end.len() - common..] == form[form.len() - common..]
        })
    }

    /// The length of the longest end of this text with which a form begins.
    fn partial_match_len(&self, text: &[u8]) -> usize {
        let begun = |form: &Zeroizing<Vec<u8>>| {
            let text = &text[text.len().saturating_sub(form.len() - 1)..];
            let mut starts = memchr::memchr_iter(form[0], text);
            starts.find(|start| form.starts_with(&text[*start..])).map(|start| text.len() - start)
        };
        self.forms.iter().filter_map(begun).max().unwrap_or(0)
    }

    /// The places of values in a text, in order; those that touch are one.
    pub(super) fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if !self.is_empty() {
            Matchers::default().read(self, text, true, &mut found);
        }
        merge_ranges(found)
    }

    /// The same in the beginning of a longer text, and from where on a value may go on in the rest of it.
    pub(super) fn find_in_prefix(&self, text: &[u8]) -> (Vec<Range<usize>>, usize) {
        if self.is_empty() {
            return (Vec::new(), text.len());
        }
        let (mut readings, mut found) = (Matchers::default(), Vec::new());
        readings.read(self, text, false, &mut found);
        (merge_ranges(found), readings.forget(self, text))
    }

    /// The text with its values masked, in its length; none when there is none in it.
    pub(crate) fn masked(&self, text: &[u8]) -> Option<Vec<u8>> {
        let found = self.find(text);
        (!found.is_empty()).then(|| {
            let mut masked = text.to_vec();
            found.into_iter().for_each(|place| masked[place].fill(MASK_BYTE));
            masked
        })
    }

    /// Remembers that an answer held some of it.
    pub(crate) fn note_repeated(&self) {
        self.repeated.store(true, Ordering::Relaxed);
    }

    /// Returns whether an answer held any of it so far.
    pub(super) fn was_repeated(&self) -> bool {
        self.repeated.load(Ordering::Relaxed)
    }
}

/// Places in order, where those that touch are one.
fn merge_ranges(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_by_key(|place| place.start);
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

/// The search through one stream, which comes in pieces.
#[derive(Default)]
pub(crate) struct StreamMasker {
    readings: Matchers,
    /// Bytes that may be a part of a value, and were not given away.
    pending: Vec<u8>,
    /// Places in it that are masked when they are given away: until then they may be parts of longer values.
    found: Vec<Range<usize>>,
    has_matches: bool,
}

impl StreamMasker {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes a piece, and returns what can be given away by then: masked, and not always all of it.
    pub(crate) fn feed(&mut self, wanted: &SecretPatterns, piece: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(piece);
        self.search(wanted, false);
        let given = self.readings.forget(wanted, &self.pending);
        let held = self.pending.split_off(given);
        let given = std::mem::replace(&mut self.pending, held);
        self.masked(given)
    }

    /// Takes the last piece, and returns the rest. The scan is over.
    pub(crate) fn finish(&mut self, wanted: &SecretPatterns, piece: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(piece);
        self.search(wanted, true);
        self.readings = Matchers::default();
        let given = std::mem::take(&mut self.pending);
        self.masked(given)
    }

    /// Masks what is given away, and keeps the places in what is still held.
    fn masked(&mut self, mut given: Vec<u8>) -> Vec<u8> {
        let end = given.len();
        for place in &self.found {
            given[place.start.min(end)..place.end.min(end)].fill(MASK_BYTE);
        }
        self.found.retain_mut(|place| {
            let is_held = place.end > end;
            *place = place.start.saturating_sub(end)..place.end.saturating_sub(end);
            is_held
        });
        given
    }

    /// Bytes that were not given away.
    pub(crate) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Whether anything was masked so far.
    pub(crate) fn has_matches(&self) -> bool {
        self.has_matches
    }

    fn search(&mut self, wanted: &SecretPatterns, is_end: bool) {
        self.readings.read(wanted, &self.pending, is_end, &mut self.found);
        self.has_matches |= !self.found.is_empty();
    }
}

/// Both ways of reading.
#[derive(Default)]
struct Matchers {
    plain: PlainMatcher,
    /// Reading where escapes are near; elsewhere it reads what `plain` reads.
    decoded: Option<DecodingMatcher>,
    /// From where on escapes are looked for, as long as none is near.
    at: usize,
}

impl Matchers {
    /// Reads what is new, and adds the places of values.
    fn read(&mut self, wanted: &SecretPatterns, held: &[u8], is_end: bool, found: &mut Vec<Range<usize>>) {
        self.plain.read(wanted, held, found);
        loop {
            if self.decoded.is_none() {
                let Some(escape) = memchr::memchr3(b'%', b'\\', b'&', &held[self.at..]) else {
                    self.at = held.len();
                    return;
                };
                self.decoded = Some(DecodingMatcher::starting_at_escape(wanted, held, self.at + escape));
            }
            let Some(decoded) = &mut self.decoded else { return };
            if !decoded.read(wanted, held, is_end, found) {
                return;
            }
            self.at = decoded.at;
            self.decoded = None;
        }
    }

    /// Forgets what is no part of a value that may still come, and returns how many bytes that are.
    fn forget(&mut self, wanted: &SecretPatterns, held: &[u8]) -> usize {
        let mut needed = self.plain.retain_from(wanted, held);
        if let Some(decoded) = &mut self.decoded {
            needed = needed.min(decoded.retain_from(wanted, held.len()));
        }
        self.plain.forget(needed);
        if let Some(decoded) = &mut self.decoded {
            decoded.forget(needed);
        }
        self.at = self.at.saturating_sub(needed);
        needed
    }
}

/// The reading of what is held as it is.
#[derive(Default)]
struct PlainMatcher {
    /// Bytes that were read.
    at: usize,
    /// No value begins before.
    match_floor: usize,
    /// Bytes since the last character.
    gap: usize,
    /// The last four characters.
    end: u32,
}

impl PlainMatcher {
    fn read(&mut self, wanted: &SecretPatterns, held: &[u8], found: &mut Vec<Range<usize>>) {
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
            if wanted.may_end(self.end)
                && wanted.may_match_end(&preceding_chars(&held[..=at], self.match_floor, QUICK_COMPARE_CHARS).0)
            {
                let (text, places) = preceding_chars(&held[..=at], self.match_floor, wanted.max_form_len);
                if let Some(characters) = wanted.longest_match_at_end(&text) {
                    found.push(places[places.len() - characters]..at + 1);
                }
            }
        }
        self.at = held.len();
    }

    /// From where on what is held may be a part of a value.
    fn retain_from(&self, wanted: &SecretPatterns, held: &[u8]) -> usize {
        let (text, places) = preceding_chars(held, self.match_floor, wanted.max_form_len);
        let begun = wanted.partial_match_len(&text);
        places.get(places.len() - begun).copied().unwrap_or(held.len())
    }

    /// So many bytes are held no longer.
    fn forget(&mut self, bytes: usize) {
        self.at -= bytes;
        self.match_floor = self.match_floor.saturating_sub(bytes);
    }
}

/// The last characters of what is held, reduced, and where each stands: at most so many, and none before a gap that no value has.
fn preceding_chars(held: &[u8], floor: usize, most: usize) -> (Zeroizing<Vec<u8>>, Vec<usize>) {
    let (mut text, mut places) = (Zeroizing::<Vec<u8>>::default(), Vec::new());
    let mut last = held.len();
    for (at, byte) in held.iter().enumerate().skip(floor).rev() {
        let character = NORMALIZED_BYTE[usize::from(*byte)];
        if character == 0 {
            if last - at > MAX_GAP_BYTES {
                break;
            }
            continue;
        }
        if text.len() == most {
            break;
        }
        text.push(character);
        places.push(at);
        last = at;
    }
    text.reverse();
    places.reverse();
    (text, places)
}

/// The reading of what is held with its escapes decoded.
#[derive(Default)]
struct DecodingMatcher {
    /// Bytes that were read.
    at: usize,
    /// Text that was read, reduced, and the place at which each character begins.
    text: Zeroizing<Vec<u8>>,
    places: Vec<usize>,
    /// Bytes since the last character.
    gap: usize,
    /// The last four characters.
    end: u32,
    /// Characters since the last escape.
    chars_since_escape: usize,
}

impl DecodingMatcher {
    /// Begins at an escape, with what was read before it. (The other reading may be far ahead, and its floor behind the escape.)
    fn starting_at_escape(wanted: &SecretPatterns, held: &[u8], at: usize) -> Self {
        let (text, places) = preceding_chars(&held[..at], 0, wanted.max_form_len);
        let end = text.iter().fold(0, |end, character| end << 8 | u32::from(*character));
        let gap = places.last().map_or(0, |place| at - place - 1);
        Self { at, text, places, gap, end, chars_since_escape: 0 }
    }

    /// Reads what is new, and adds the places of values. An escape that is not complete yet is left for later. True when it has
    /// read for so long without an escape that there is no difference to the other reading.
    fn read(&mut self, wanted: &SecretPatterns, held: &[u8], is_end: bool, found: &mut Vec<Range<usize>>) -> bool {
        while let Some(byte) = held.get(self.at) {
            if matches!(byte, b'%' | b'\\' | b'&') {
                let Some(DecodedEscape { length, bytes, count }) = decode_escape(&held[self.at..], is_end) else {
                    return false;
                };
                for byte in &bytes[..count] {
                    self.push_byte(wanted, *byte, length, found);
                }
                if count == 0 {
                    self.extend_gap(length);
                }
                self.at += length;
                self.chars_since_escape = 0;
            } else {
                if self.chars_since_escape > wanted.max_form_len {
                    return true;
                }
                self.push_byte(wanted, *byte, 1, found);
                self.at += 1;
            }
        }
        false
    }

    fn push_byte(&mut self, wanted: &SecretPatterns, byte: u8, length: usize, found: &mut Vec<Range<usize>>) {
        let character = NORMALIZED_BYTE[usize::from(byte)];
        if character == 0 {
            return self.extend_gap(length);
        }
        self.gap = 0;
        self.chars_since_escape += 1;
        self.text.push(character);
        self.places.push(self.at);
        self.end = self.end << 8 | u32::from(character);
        if wanted.may_end(self.end)
            && let Some(characters) = wanted.longest_match_at_end(&self.text)
        {
            found.push(self.places[self.places.len() - characters]..self.at + length);
        }
    }

    fn extend_gap(&mut self, length: usize) {
        self.gap += length;
        if self.gap > MAX_GAP_BYTES {
            self.text.clear();
            self.places.clear();
        }
    }

    /// From where on what is held may be a part of a value.
    fn retain_from(&mut self, wanted: &SecretPatterns, held: usize) -> usize {
        let over = self.text.len() - wanted.partial_match_len(&self.text);
        self.text.drain(..over);
        self.places.drain(..over);
        self.places.first().copied().unwrap_or(held).min(self.at)
    }

    /// So many bytes are held no longer.
    fn forget(&mut self, bytes: usize) {
        self.at -= bytes;
        self.places.iter_mut().for_each(|place| *place -= bytes);
    }
}

#[cfg(test)]
mod tests;
