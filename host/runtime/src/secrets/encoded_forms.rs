//! Encoded forms in which a server or a careless plugin repeats a value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::search::{normalize, normalize_decoded};
use super::{json_escape, percent_encode};

/// Bytes of a line of a value with many (a key in PEM) that is also searched for by itself.
const MIN_LINE_BYTES: usize = 16;
/// Characters of a value that is also found by its pieces: two, or more if these have at least [`MIN_PIECE_CHARS`].
const MIN_SPLIT_CHARS: usize = 16;
/// Characters of a piece of a longer value.
const MIN_PIECE_CHARS: usize = 10;
/// Characters of a base64 form; shorter ones say nothing.
const MIN_BASE64_CHARS: usize = 8;

/// Returns the normalised forms of a value: as it is, in JSON, percent-encoded, in hexadecimal, in base64 at any
/// offset, backwards; its lines if it has many, and its pieces if it is long.
pub(super) fn encoded_forms(value: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let mut forms = Vec::new();
    let mut add = |form: &str| forms.extend([normalize(form.as_bytes()), normalize_decoded(form.as_bytes())]);
    add(value);
    add(&Zeroizing::new(value.chars().rev().collect::<String>()));
    if !value.is_ascii() {
        [value.to_lowercase(), value.to_uppercase()].map(Zeroizing::new).iter().for_each(|text| add(text));
    }
    let json = json_escape(value);
    add(&json);
    add(&Zeroizing::new(json.replace('/', "\\/")));
    let html = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#39;")];
    add(&html.iter().fold(Zeroizing::new(value.to_owned()), |text, (from, to)| Zeroizing::new(text.replace(from, to))));
    let escaped = percent_encode(value);
    add(&escaped);
    add(&percent_encode(&escaped));
    add(&Zeroizing::new(escaped.replace("%20", "+")));
    add(&Zeroizing::new(value.bytes().map(|byte| format!("{byte:02x}")).collect::<String>()));
    for text in [value, value.trim()] {
        (0..3).filter_map(|offset| base64_core(text, offset)).for_each(|inside| add(&inside));
    }
    let lines = value.trim().lines().map(str::trim);
    lines.filter(|line| line.len() >= MIN_LINE_BYTES && !line.starts_with("-----")).for_each(&mut add);
    let whole = normalize(value.as_bytes());
    if whole.len() >= MIN_SPLIT_CHARS && !value.trim().contains('\n') {
        let piece = whole.len() / (whole.len() / MIN_PIECE_CHARS).max(2);
        forms.extend(whole.chunks_exact(piece).map(|piece| Zeroizing::new(piece.to_vec())));
    }
    forms
}

/// Returns the part of base64(something + value + something) that depends on the value alone, if `offset` bytes of the
/// first group are something else.
fn base64_core(value: &str, offset: usize) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(vec![0; offset]);
    bytes.extend_from_slice(value.as_bytes());
    let encoded = Zeroizing::new(STANDARD_NO_PAD.encode(bytes.as_slice()));
    // Each character holds six bits: drop those that hold a bit of a neighbour.
    let first = (8 * offset).div_ceil(6);
    let last = 8 * bytes.len() / 6;
    let inside = encoded.get(first..last)?;
    (inside.len() >= MIN_BASE64_CHARS).then(|| Zeroizing::new(inside.to_owned()))
}
