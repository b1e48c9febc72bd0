//! Escaping of text for terminals: names, messages and addresses come from files, clouds, plugins and services, and none
//! of them may move the cursor, hide a line or reverse text.

use std::borrow::Cow;
use std::fmt::Write as _;

use occopus_model::is_deceptive;

/// SGR parameters of the colours and emphasis that this program and its error reports use. Others could hide text.
const ALLOWED_SGR_PARAMETERS: &[&str] =
    &["", "0", "1", "2", "3", "4", "22", "24", "31", "32", "33", "34", "35", "36", "39", "90"];

/// Bytes of the parameters of a change of style, with their end.
const MAX_SGR_BYTES: usize = 32;

/// Escapes control characters, and those that change the direction of text, by their numbers (`\u{1b}`). Line breaks and
/// tabs are kept, and so are colours and emphasis that this program uses.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escape_controls(text, |escaped, character| {
        let _ = write!(escaped, "{}", character.escape_unicode());
    })
}

/// Escapes a JSON document as [`printable`] does, in JSON's own notation: its value stays the same.
pub(crate) fn printable_json(text: &str) -> Cow<'_, str> {
    escape_controls(text, |escaped, character| {
        let _ = write!(escaped, "\\u{:04x}", u32::from(character));
    })
}

fn escape_controls(text: &str, escape: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.chars().any(is_terminal_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if let Some(style) = leading_sgr(rest) {
            escaped.push_str(style);
            rest = &rest[style.len()..];
            continue;
        }
        rest = &rest[character.len_utf8()..];
        match character {
            // The other half of a line break.
            '\r' if rest.starts_with('\n') => {}
            _ if is_terminal_control(character) => escape(&mut escaped, character),
            _ => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

/// Returns whether a character is shown by its number.
pub(crate) fn is_terminal_control(character: char) -> bool {
    !matches!(character, '\n' | '\t') && is_deceptive(character)
}

/// Returns an allowed change of style at the start of a text (ECMA-48, SGR).
fn leading_sgr(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\x1b[")?;
    // Bounded: otherwise each of many beginnings would be searched for an end in all that follows.
    let length = parameters.bytes().take(MAX_SGR_BYTES).position(|byte| byte == b'm')?;
    let is_style = parameters.get(..length)?.split(';').all(|parameter| ALLOWED_SGR_PARAMETERS.contains(&parameter));
    is_style.then(|| text.get(..length + 3))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        for (text, shown) in [
            ("a\tb\nc", "a\tb\nc"),
            ("a\r\nb\rc", "a\nb\\u{d}c"),
            ("\x1b[31mred\x1b[0m \x1b[1;4mtitle\x1b[0m", "\x1b[31mred\x1b[0m \x1b[1;4mtitle\x1b[0m"),
            ("\x1b[8mhidden", "\\u{1b}[8mhidden"),
            ("\x1b[38;5;0mblack", "\\u{1b}[38;5;0mblack"),
            ("\x1b[2J\x1b[1A\x1b]0;title\x07", "\\u{1b}[2J\\u{1b}[1A\\u{1b}]0;title\\u{7}"),
            ("\u{9b}2J\u{7f}\0", "\\u{9b}2J\\u{7f}\\u{0}"),
            ("pay\u{200b}pal \u{feff}\u{2060}", "pay\\u{200b}pal \\u{feff}\\u{2060}"),
            ("exe.\u{202e}txt\u{2066}\u{2028}", "exe.\\u{202e}txt\\u{2066}\\u{2028}"),
            ("é 漢 ✓ 👩\u{200d}🚀", "é 漢 ✓ 👩\u{200d}🚀"),
            ("\x1b", "\\u{1b}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn the_end_of_a_style_is_searched_nearby() {
        let styles = |count| format!("\x1b[{}1m", "1;".repeat(count));
        assert_eq!(printable(&styles(10)), styles(10));
        // Beyond what this program uses. Many beginnings would take time with the square of their number otherwise.
        assert_eq!(printable(&styles(20)), styles(20).replace('\x1b', "\\u{1b}"));
        assert_eq!(leading_sgr(&format!("\x1b[{}m", " ".repeat(1 << 20))), None);
    }

    #[test]
    fn a_json_document_keeps_its_value() {
        let value = serde_json::json!({"\u{202e}name": "\x1b[2J\u{9b}A\u{7f}\u{2028}", "n": [1, "é"]});
        let document = serde_json::to_string_pretty(&value).expect("a document");
        let shown = printable_json(&document);
        assert!(!shown.chars().any(is_terminal_control), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("a document"), value);
    }
}
