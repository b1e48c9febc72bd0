//! Decoding of characters that are written as escapes: of URLs, JSON strings, HTML and XML.

/// An escape, and the bytes that it stands for: none, or those of one character.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DecodedEscape {
    pub(super) length: usize,
    pub(super) bytes: [u8; 4],
    pub(super) count: usize,
}

impl DecodedEscape {
    fn byte(length: usize, byte: u8) -> Self {
        Self { length, bytes: [byte, 0, 0, 0], count: 1 }
    }

    fn character(length: usize, character: Option<char>) -> Self {
        let mut bytes = [0; 4];
        let count = character.map_or(0, |character| character.encode_utf8(&mut bytes).len());
        Self { length, bytes, count }
    }

    fn nothing(length: usize) -> Self {
        Self { length, bytes: [0; 4], count: 0 }
    }
}

/// Backslashes of one escape. JSON within JSON within JSON has seven.
const MAX_BACKSLASHES: usize = 15;
/// Characters between the `&` and the `;` of `&quot;`.
const MAX_ENTITY_NAME_CHARS: usize = 4;
/// Characters between those of a number, which may have zeros in front.
const MAX_ENTITY_NUMBER_CHARS: usize = 30;

/// Decodes the escape with which a text begins: `%`, `\` or `&`, which stand for themselves if they begin none. Returns
/// none if more of the text is needed.
pub(super) fn decode_escape(text: &[u8], is_end: bool) -> Option<DecodedEscape> {
    match text.first() {
        Some(b'%') => decode_percent(text, is_end),
        Some(b'\\') => decode_backslash(text, is_end),
        _ => decode_entity(text, is_end),
    }
}

/// Decodes `%63`, also if the `%` is escaped itself (`%2563`).
fn decode_percent(text: &[u8], is_end: bool) -> Option<DecodedEscape> {
    let mut at = 1;
    loop {
        let Some(digits) = text.get(at..at + 2) else { return is_end.then(|| DecodedEscape::byte(at, b'%')) };
        match parse_hex(digits).and_then(|number| u8::try_from(number).ok()) {
            None => return Some(DecodedEscape::byte(at, b'%')),
            Some(b'%') if at < 9 => at += 2,
            Some(byte) => return Some(DecodedEscape::byte(at + 2, byte)),
        }
    }
}

/// Decodes `\u0063`, `\x63`, and backslashes before anything else, which are left out.
fn decode_backslash(text: &[u8], is_end: bool) -> Option<DecodedEscape> {
    let run = text.iter().take(MAX_BACKSLASHES).take_while(|byte| **byte == b'\\').count();
    let digits = match text.get(run) {
        Some(b'u') => 4,
        Some(b'x') => 2,
        // White space, which is ignored.
        Some(b'n' | b'r' | b't') => return Some(DecodedEscape::nothing(run + 1)),
        None if !is_end => return None,
        _ => return Some(DecodedEscape::nothing(run)),
    };
    let end = run + 1 + digits;
    let Some(written) = text.get(run + 1..end) else { return is_end.then(|| DecodedEscape::nothing(run)) };
    let Some(first) = parse_hex(written) else { return Some(DecodedEscape::nothing(run)) };
    if !(0xd800..0xdc00).contains(&first) {
        return Some(DecodedEscape::character(end, char::from_u32(first)));
    }
    // The first half of a pair (RFC 8259, section 7).
    let rest = &text[end..];
    let again = rest.iter().take(MAX_BACKSLASHES).take_while(|byte| **byte == b'\\').count();
    let Some(second) = rest.get(again..again + 5) else { return is_end.then(|| DecodedEscape::nothing(end)) };
    let low = second.strip_prefix(b"u").and_then(parse_hex).filter(|low| (0xdc00..0xe000).contains(low));
    Some(match low {
        None => DecodedEscape::nothing(end),
        Some(low) => {
            let character = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00));
            DecodedEscape::character(end + again + 5, character)
        }
    })
}

/// Decodes `&amp;`, `&#99;`, `&#x63;`, `&#x0063;`.
fn decode_entity(text: &[u8], is_end: bool) -> Option<DecodedEscape> {
    let max_len = if text.get(1) == Some(&b'#') { MAX_ENTITY_NUMBER_CHARS } else { MAX_ENTITY_NAME_CHARS };
    let inside = text.iter().skip(1).take(max_len);
    let end = 1 + inside.take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'#').count();
    match text.get(end) {
        Some(b';') => {}
        None if !is_end => return None,
        _ => return Some(DecodedEscape::byte(1, b'&')),
    }
    let name = std::str::from_utf8(&text[1..end]).unwrap_or_default();
    let character = match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let code = match name.strip_prefix('#') {
                Some(digits) => match digits.strip_prefix(['x', 'X']) {
                    Some(digits) => u32::from_str_radix(digits, 16).ok(),
                    None => digits.parse().ok(),
                },
                None => None,
            };
            code.and_then(char::from_u32)
        }
    };
    Some(if character.is_some() { DecodedEscape::character(end + 1, character) } else { DecodedEscape::byte(1, b'&') })
}

/// Returns the value of hexadecimal digits.
fn parse_hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}
