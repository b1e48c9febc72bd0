//! Forms in which a server or a careless plugin repeats a value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::scan::{decoded, reduced};
use super::{json_inside, percent};

/// Shorter lines of a value with many (a key in PEM) are not looked for by themselves.
const SHORTEST_LINE: usize = 16;
/// A value of so many characters is also found by its pieces: two, or more where these have this many characters.
const CUT: usize = 16;
const PIECE: usize = 10;
/// Shorter pieces of a value's encoded forms say nothing.
const SHORTEST_PIECE: usize = 8;

/// Returns the forms of a value as they are compared: as it is, in JSON, percent-encoded, in hexadecimal, in base64 at any offset,
/// backwards; its lines where it has many, and its pieces where it is long.
pub(super) fn forms(value: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let mut forms = Vec::new();
    let mut add = |form: &str| forms.extend([reduced(form.as_bytes()), decoded(form.as_bytes())]);
    add(value);
    add(&Zeroizing::new(value.chars().rev().collect::<String>()));
    if !value.is_ascii() {
        [value.to_lowercase(), value.to_uppercase()].map(Zeroizing::new).iter().for_each(|text| add(text));
    }
    let json = json_inside(value);
    add(&json);
    add(&Zeroizing::new(json.replace('/', "\\/")));
    let html = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#39;")];
    add(&html.iter().fold(Zeroizing::new(value.to_owned()), |text, (from, to)| Zeroizing::new(text.replace(from, to))));
    let escaped = percent(value);
    add(&escaped);
    add(&percent(&escaped));
    add(&Zeroizing::new(escaped.replace("%20", "+")));
    add(&Zeroizing::new(value.bytes().map(|byte| format!("{byte:02x}")).collect::<String>()));
    for text in [value, value.trim()] {
        (0..3).filter_map(|offset| base64_inside(text, offset)).for_each(|inside| add(&inside));
    }
    let lines = value.trim().lines().map(str::trim);
    lines.filter(|line| line.len() >= SHORTEST_LINE && !line.starts_with("-----")).for_each(&mut add);
    let whole = reduced(value.as_bytes());
    if whole.len() >= CUT && !value.trim().contains('\n') {
        let piece = whole.len() / (whole.len() / PIECE).max(2);
        forms.extend(whole.chunks_exact(piece).map(|piece| Zeroizing::new(piece.to_vec())));
    }
    forms
}

/// The part of base64(something + value + something) that depends on the value alone, when `offset` bytes of the first
/// group are something else.
fn base64_inside(value: &str, offset: usize) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(vec![0; offset]);
    bytes.extend_from_slice(value.as_bytes());
    let encoded = Zeroizing::new(STANDARD_NO_PAD.encode(bytes.as_slice()));
    // Each character holds six bits: drop those that hold a bit of a neighbour.
    let first = (8 * offset).div_ceil(6);
    let last = 8 * bytes.len() / 6;
    let inside = encoded.get(first..last)?;
    (inside.len() >= SHORTEST_PIECE).then(|| Zeroizing::new(inside.to_owned()))
}
