//! Values are taken out of everything that a call says.

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::{CallSecrets, json_inside, percent};

/// What stands where a secret was.
const MASK: &str = "***";
/// Shorter values are no secrets, and their removal would make texts unreadable.
const SHORTEST: usize = 4;
/// Shorter pieces of a value's encoded forms say nothing.
const SHORTEST_PIECE: usize = 8;

impl CallSecrets {
    /// Takes the values out of a text that leaves the call (faults, logs, progress), in the forms in which a server or a
    /// careless plugin repeats them: as they are, in JSON, percent-encoded, hexadecimal, and in base64 at any offset. It
    /// guards against accidents: a plugin that wants to hide a value from it has no value to hide.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for needle in self.needles.get_or_init(|| self.find_needles()) {
            if text.contains(needle.as_str()) {
                text = text.replace(needle.as_str(), MASK);
            }
        }
        text
    }

    fn find_needles(&self) -> Vec<Zeroizing<String>> {
        let secret = self.values.iter().filter(|(field, _)| !self.public.contains(*field));
        let mut needles = Vec::new();
        for value in secret.map(|(_, value)| value).filter(|value| value.trim().len() >= SHORTEST) {
            needles.push(value.clone());
            needles.push(Zeroizing::new(value.trim().to_owned()));
            needles.push(json_inside(value));
            needles.push(percent(value));
            needles.push(Zeroizing::new(percent(value).replace("%20", "+")));
            let hex = value.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
            needles.push(Zeroizing::new(hex));
            for alphabet in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                needles.extend((0..3).filter_map(|offset| base64_inside(value, offset, &alphabet)));
            }
            // A key in PEM may be repeated line by line.
            let lines = value.lines().map(str::trim).filter(|line| line.len() >= 16 && !line.starts_with("-----"));
            needles.extend(lines.map(|line| Zeroizing::new(line.to_owned())));
        }
        // The longest first: a shorter one may be a part of it.
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        needles
    }
}

/// The part of base64(something + value + something) that depends on the value alone, when `offset` bytes of the first
/// group are something else.
fn base64_inside(value: &str, offset: usize, alphabet: &impl base64::Engine) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(vec![0; offset]);
    bytes.extend_from_slice(value.as_bytes());
    let encoded = Zeroizing::new(alphabet.encode(bytes.as_slice()));
    // Each character holds six bits: drop those that hold a bit of a neighbour.
    let first = (8 * offset).div_ceil(6);
    let last = 8 * bytes.len() / 6;
    let inside = encoded.get(first..last)?;
    (inside.len() >= SHORTEST_PIECE).then(|| Zeroizing::new(inside.to_owned()))
}
