//! Placeholders become values, on the way out.

use zeroize::Zeroizing;

use super::{CallSecrets, DIGITS, PREFIX};

impl CallSecrets {
    /// The text with its placeholders filled in; none when there is no placeholder of this call in it.
    pub fn fill(&self, text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let issued = self.issued();
        if issued.is_empty() {
            return None;
        }
        let mut filled: Option<Zeroizing<Vec<u8>>> = None;
        let mut copied = 0;
        let mut at = 0;
        while let Some(found) = find(&text[at..], PREFIX.as_bytes()) {
            let start = at + found;
            let end = start + PREFIX.len() + DIGITS;
            let form = text.get(start..end).and_then(|bytes| std::str::from_utf8(bytes).ok());
            let value = form.and_then(|name| issued.get(name)).and_then(|form| self.written(form));
            if let Some(value) = value {
                let out = filled.get_or_insert_with(Zeroizing::default);
                out.extend_from_slice(&text[copied..start]);
                out.extend_from_slice(value.as_bytes());
                copied = end;
                at = end;
            } else {
                at = start + PREFIX.len();
            }
        }
        if let Some(out) = &mut filled {
            out.extend_from_slice(&text[copied..]);
        }
        filled
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
