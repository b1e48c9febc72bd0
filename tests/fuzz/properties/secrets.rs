//! A server repeats a secret in some form, somewhere in an answer that comes in any pieces: the guest does not read it, nor
//! is it in the output of a plugin that has it.
//!
//! The input: a line with the secret, a line with numbers (the form, and the sizes of the pieces), and then the text before the
//! secret and the text behind it, with `\u{1e}` between them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use occopus_runtime::fuzz::{Headers, is_searched_for, read, redacted};

/// Length of a secret in bytes.
const LONGEST: usize = 300;

/// Number of blanks and control characters in a row that are still read as part of a value when written as escapes.
const WIDEST_GAP: usize = 4;

/// Hides the secret in each part of an answer, and searches for it.
pub(crate) fn hold(bytes: &[u8]) {
    let Some((secret, numbers, before, after)) = input(bytes) else { return };
    // Asterisks replace a found value, and would hide nothing among their like.
    if secret.len() > LONGEST || secret.contains('*') || has_gap(secret) || !is_searched_for(secret) {
        return;
    }
    let form = written(secret, numbers.first().copied().unwrap_or_default());
    let text = [before, &form, after].concat();
    in_bodies(secret, &text, &form, numbers);
    in_heads(secret, &text, &form);
    if let (Ok(text), Ok(form)) = (std::str::from_utf8(&text), std::str::from_utf8(&form)) {
        let [all, beginning, end] = redacted(secret, text, 1 + before.len() + form.len() / 2);
        assert!(!all.contains(form), "{form:?} is in {all:?}");
        assert!(!beginning.contains(form), "{form:?} is in {beginning:?}");
        assert!(!end.contains(form), "{form:?} is in {end:?}");
    }
}

fn in_bodies(secret: &str, text: &[u8], form: &[u8], numbers: &[u8]) {
    let whole = read(secret, &Headers::new(), vec![text.to_vec()], &Headers::new()).expect("an answer").body;
    assert_eq!(whole.len(), text.len(), "the length stays");
    assert!(!has(&whole, form), "{} is in {}", shown(form), shown(&whole));
    let pieces = pieces(text, numbers);
    let in_pieces = read(secret, &Headers::new(), pieces, &Headers::new()).expect("an answer").body;
    assert_eq!(shown(&in_pieces), shown(&whole), "in pieces it is another");
    // Some of it in the trailers.
    let (body, trailer) = text.split_at(text.len() / 2);
    let trailers = vec![("x-rest".to_owned(), trailer.to_vec())];
    let read = read(secret, &Headers::new(), vec![body.to_vec()], &trailers).expect("an answer");
    let mut joined = read.body;
    read.trailers.iter().for_each(|(_, value)| joined.extend_from_slice(value));
    assert!(!has(&joined, form), "{} is in {}", shown(form), shown(&joined));
}

fn in_heads(secret: &str, text: &[u8], form: &[u8]) {
    let (first, second) = text.split_at(text.len() / 3);
    let headers = vec![("x-one".to_owned(), first.to_vec()), ("x-two".to_owned(), second.to_vec())];
    let read = read(secret, &headers, Vec::new(), &Headers::new()).expect("an answer");
    let joined: Vec<u8> = read.headers.iter().flat_map(|(_, value)| value.clone()).collect();
    assert!(!has(&joined, form), "{} is in {}", shown(form), shown(&joined));
}

/// Returns the secret in the forms of servers.
fn written(secret: &str, form: u8) -> Vec<u8> {
    let json = serde_json::Value::from(secret).to_string();
    let json = json.get(1..json.len() - 1).unwrap_or_default().to_owned();
    let text = match form % 12 {
        0 => secret.to_owned(),
        1 => secret.chars().rev().collect(),
        2 => json,
        3 => secret.bytes().map(|byte| format!("%{byte:02X}")).collect(),
        4 => secret.bytes().map(|byte| format!("%25{byte:02x}")).collect(),
        5 => secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
        6 => secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect(),
        7 => secret.chars().map(|letter| format!("&#{};", u32::from(letter))).collect(),
        8 => inside(secret, 0),
        9 => inside(secret, 1),
        10 => inside(secret, 2),
        _ => secret.to_ascii_uppercase(),
    };
    text.into_bytes()
}

/// Returns base64 of the secret after this number of other bytes: only the characters that hold nothing else.
fn inside(secret: &str, offset: usize) -> String {
    let bytes = [vec![b'x'; offset].as_slice(), secret.as_bytes(), b"xx"].concat();
    let encoded = STANDARD.encode(&bytes);
    let (first, last) = ((8 * offset).div_ceil(6), 8 * (offset + secret.len()) / 6);
    encoded.get(first..last).unwrap_or_default().to_owned()
}

/// Secret, numbers, text before and text after.
type Input<'a> = (&'a str, &'a [u8], &'a [u8], &'a [u8]);

fn input(bytes: &[u8]) -> Option<Input<'_>> {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let (secret, numbers, text) = (lines.next()?, lines.next()?, lines.next()?);
    let at = text.iter().position(|byte| *byte == 0x1e).unwrap_or(text.len());
    Some((std::str::from_utf8(secret).ok()?, numbers, &text[..at], text.get(at + 1..).unwrap_or_default()))
}

/// Splits the text into pieces of sizes that repeat.
fn pieces(text: &[u8], sizes: &[u8]) -> Vec<Vec<u8>> {
    let sizes: Vec<usize> = sizes.iter().map(|size| usize::from(size % 32)).chain([7]).collect();
    let (mut pieces, mut rest) = (Vec::new(), text);
    for size in sizes.iter().cycle() {
        let (piece, more) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = more;
        if rest.is_empty() {
            break;
        }
    }
    pieces
}

fn has_gap(secret: &str) -> bool {
    let blank = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
    secret.as_bytes().windows(WIDEST_GAP + 1).any(|window| window.iter().all(blank))
}

fn has(text: &[u8], form: &[u8]) -> bool {
    text.windows(form.len().max(1)).any(|window| window == form)
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
