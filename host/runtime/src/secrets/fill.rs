//! Replacement of placeholders by values, in outgoing requests.

use zeroize::Zeroizing;

use super::{CallSecrets, PLACEHOLDER_HEX_DIGITS, PLACEHOLDER_PREFIX};

/// Error of a text that is too long once its placeholders are filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilledTextTooLong;

impl CallSecrets {
    /// Returns the text with its placeholders filled in; none if there is no placeholder of this call in it.
    pub(crate) fn fill(&self, text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.fill_within(text, usize::MAX).ok().flatten()
    }

    /// Returns the same as [`fill`](Self::fill), of at most `max_bytes`.
    ///
    /// # Errors
    /// Fails if the result has more: a few bytes may stand for a long value, many times.
    pub(crate) fn fill_within(
        &self,
        text: &[u8],
        max_bytes: usize,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, FilledTextTooLong> {
        let issued = self.issued();
        if issued.is_empty() {
            return Ok(None);
        }
        let mut filled: Option<Zeroizing<Vec<u8>>> = None;
        let mut copied = 0;
        let mut at = 0;
        let finder = memchr::memmem::Finder::new(PLACEHOLDER_PREFIX);
        while let Some(found) = finder.find(&text[at..]) {
            let start = at + found;
            let end = start + PLACEHOLDER_PREFIX.len() + PLACEHOLDER_HEX_DIGITS;
            let form = text.get(start..end).and_then(|bytes| std::str::from_utf8(bytes).ok());
            let value = form.and_then(|name| issued.get(name)).and_then(|form| self.expand(form));
            if let Some(value) = value {
                let out = filled.get_or_insert_with(Zeroizing::default);
                out.extend_from_slice(&text[copied..start]);
                out.extend_from_slice(value.as_bytes());
                if out.len() > max_bytes {
                    return Err(FilledTextTooLong);
                }
                copied = end;
                at = end;
            } else {
                at = start + PLACEHOLDER_PREFIX.len();
            }
        }
        if let Some(out) = &mut filled {
            out.extend_from_slice(&text[copied..]);
            if out.len() > max_bytes {
                return Err(FilledTextTooLong);
            }
        }
        Ok(filled)
    }
}
