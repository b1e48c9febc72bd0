//! The search for values in texts and in streams.
//!
//! A text is compared *reduced*: in lower case, without white space, and with the two alphabets of base64 as one. It is read
//! twice: as it is, and decoded, where `%63`, `\u0063`, `\"` and `&amp;` count as the characters that they stand for. (Once would not
//! do: a `%` before a value that begins with hexadecimal digits would hide it from the second reading.) The places of characters
//! are kept beside them, so that a value is masked where it stands, and the text keeps its length.

use std::ops::Range;

use zeroize::Zeroizing;

use super::escape::{Unit, unit};

/// Stands for each byte of a value that was found in a stream.
const MASK: u8 = b'*';
/// White space and backslashes within a value, at most.
const WIDEST_GAP: usize = 32;
/// Characters by which the end of a form is recognised, before the whole of it is compared.
const ANCHOR: usize = 4;
const BUCKETS: usize = 1 << 16;

/// A byte as it is compared; 0 for those that are of no account.
const REDUCED: [u8; 256] = {
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
pub(super) fn reduced(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let characters = text.iter().map(|byte| REDUCED[usize::from(*byte)]);
    Zeroizing::new(characters.filter(|character| *character != 0).collect())
}

/// A text as it is compared when its escapes are decoded.
pub(super) fn decoded(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut reading = Reading::new(true);
    reading.read(&Wanted::default(), text, true, &mut Vec::new());
    reading.text
}

/// What is looked for. It is wiped from memory with its owner.
#[derive(Default)]
pub(crate) struct Wanted {
    /// Reduced, the longest first.
    forms: Vec<Zeroizing<Vec<u8>>>,
    /// One bit for each bucket in which a form ends.
    ends: Vec<u64>,
}

impl Wanted {
    /// Looks for these forms. Those of fewer than four characters are left out.
    pub(super) fn new(mut forms: Vec<Zeroizing<Vec<u8>>>) -> Self {
        forms.retain(|form| form.len() >= ANCHOR);
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        let mut ends = vec![0; BUCKETS / 64];
        for form in &forms {
            let bucket = bucket(form.iter().fold(0, |end, byte| end << 8 | u32::from(*byte)));
            ends[bucket / 64] |= 1 << (bucket % 64);
        }
        Self { forms, ends }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// The length of the longest form with which this text ends.
    fn ending(&self, text: &[u8]) -> Option<usize> {
        self.forms.iter().find(|form| text.ends_with(form)).map(|form| form.len())
    }

    /// Whether a form may end with these characters.
    fn may_end(&self, end: u32) -> bool {
        let bucket = bucket(end);
        self.ends.get(bucket / 64).is_some_and(|bits| bits & 1 << (bucket % 64) != 0)
    }

    /// The length of the longest end of this text with which a form begins.
    fn begun(&self, text: &[u8]) -> usize {
        let begun = |form: &Zeroizing<Vec<u8>>| {
            let most = text.len().min(form.len() - 1);
            (1..=most).rev().find(|length| text[text.len() - length] == form[0] && text.ends_with(&form[..*length]))
        };
        self.forms.iter().filter_map(begun).max().unwrap_or(0)
    }

    /// The places of values in a text, in order; those that touch are one.
    pub(super) fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if self.is_empty() {
            return found;
        }
        for decodes in [false, true] {
            Reading::new(decodes).read(self, text, true, &mut found);
        }
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

    /// The text with its values masked, in its length; none when there is none in it.
    pub(crate) fn masked(&self, text: &[u8]) -> Option<Vec<u8>> {
        let found = self.find(text);
        (!found.is_empty()).then(|| {
            let mut masked = text.to_vec();
            found.into_iter().for_each(|place| masked[place].fill(MASK));
            masked
        })
    }
}

fn bucket(end: u32) -> usize {
    (end.wrapping_mul(0x9e37_79b1) >> 16) as usize
}

/// The search through one stream, which comes in pieces.
pub(crate) struct Scan {
    readings: [Reading; 2],
    /// What may be a part of a value, and was not given away.
    held: Vec<u8>,
    found: bool,
}

impl Scan {
    pub(crate) fn new() -> Self {
        Self { readings: [false, true].map(Reading::new), held: Vec::new(), found: false }
    }

    /// Takes a piece, and returns what can be given away by then: masked, and not always all of it.
    pub(crate) fn next(&mut self, wanted: &Wanted, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        self.search(wanted, false);
        let needed = self.readings.iter_mut().map(|reading| reading.needed(wanted, self.held.len()));
        let given = needed.min().unwrap_or(self.held.len());
        self.readings.iter_mut().for_each(|reading| reading.forget(given));
        let held = self.held.split_off(given);
        std::mem::replace(&mut self.held, held)
    }

    /// Takes the last piece, and returns the rest. The scan is over.
    pub(crate) fn end(&mut self, wanted: &Wanted, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        self.search(wanted, true);
        self.readings = [false, true].map(Reading::new);
        std::mem::take(&mut self.held)
    }

    /// Bytes that were not given away.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether anything was masked so far.
    pub(crate) fn found(&self) -> bool {
        self.found
    }

    fn search(&mut self, wanted: &Wanted, is_end: bool) {
        let mut found = Vec::new();
        for reading in &mut self.readings {
            reading.read(wanted, &self.held, is_end, &mut found);
        }
        self.found |= !found.is_empty();
        found.into_iter().for_each(|place| self.held[place].fill(MASK));
    }
}

/// One way of reading what is held.
struct Reading {
    decodes: bool,
    /// Bytes of it that were read.
    at: usize,
    /// What was read, reduced, and the place at which each character begins.
    text: Zeroizing<Vec<u8>>,
    places: Vec<usize>,
    /// Bytes since the last character.
    gap: usize,
    /// The last four characters.
    end: u32,
}

impl Reading {
    fn new(decodes: bool) -> Self {
        Self { decodes, at: 0, text: Zeroizing::default(), places: Vec::new(), gap: 0, end: 0 }
    }

    /// Reads what is new, and adds the places of values. An escape that is not complete yet is left for later.
    fn read(&mut self, wanted: &Wanted, held: &[u8], is_end: bool, found: &mut Vec<Range<usize>>) {
        while let Some(byte) = held.get(self.at) {
            if self.decodes && matches!(byte, b'%' | b'\\' | b'&') {
                let Some(Unit { length, bytes, count }) = unit(&held[self.at..], is_end) else { return };
                for byte in &bytes[..count] {
                    self.take(wanted, *byte, length, found);
                }
                if count == 0 {
                    self.skip(length);
                }
                self.at += length;
            } else {
                self.take(wanted, *byte, 1, found);
                self.at += 1;
            }
        }
    }

    #[inline]
    fn take(&mut self, wanted: &Wanted, byte: u8, length: usize, found: &mut Vec<Range<usize>>) {
        let character = REDUCED[usize::from(byte)];
        if character == 0 {
            return self.skip(length);
        }
        self.gap = 0;
        self.text.push(character);
        self.places.push(self.at);
        self.end = self.end << 8 | u32::from(character);
        if wanted.may_end(self.end)
            && let Some(characters) = wanted.ending(&self.text)
        {
            found.push(self.places[self.places.len() - characters]..self.at + length);
        }
    }

    fn skip(&mut self, length: usize) {
        self.gap += length;
        if self.gap > WIDEST_GAP {
            self.text.clear();
            self.places.clear();
        }
    }

    /// From where on what is held may be a part of a value.
    fn needed(&mut self, wanted: &Wanted, held: usize) -> usize {
        let over = self.text.len() - wanted.begun(&self.text);
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
