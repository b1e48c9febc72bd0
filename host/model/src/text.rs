//! Classification of texts: templates, and characters that terminals do not show as they are.

use serde_json::Value as Json;

/// Delimiters that open an expression, a statement and a comment of a template (Jinja2).
const MARKS: [&str; 3] = ["{{", "{%", "{#"];

/// Returns true for a text that rendering changes. A comment counts: it is left out.
pub(crate) fn has_template(text: &str) -> bool {
    MARKS.iter().any(|mark| text.contains(mark))
}

/// Returns true if any text in a value is a template.
pub fn contains_template(value: &Json) -> bool {
    match value {
        Json::String(text) => has_template(text),
        Json::Array(items) => items.iter().any(contains_template),
        Json::Object(entries) => entries.values().any(contains_template),
        _ => false,
    }
}

/// Returns true if a terminal acts on this character, orders text by it, or shows nothing of it (Unicode TR 9 and TR
/// 36, and the separators that some take for a line break). The joiners U+200C and U+200D are allowed: scripts and
/// emoji need them.
pub fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_that_is_rendered_is_a_template() {
        for text in ["{{ a }}", "{% if a %}", "a {# comment #}"] {
            assert!(contains_template(&json!({"a": [1, {"b": text}]})), "{text}");
        }
        assert!(!contains_template(&json!({"{{": ["{ a }", "# a", "%}", 1, null]})));
    }

    #[test]
    fn letters_of_people_are_not_deceptive() {
        assert!(!"é 漢 ✓ 👩\u{200d}🚀 می\u{200c}خواهم".chars().any(is_deceptive));
        for character in ['\u{1b}', '\u{9b}', '\r', '\u{ad}', '\u{61c}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}']
        {
            assert!(is_deceptive(character), "{}", character.escape_unicode());
        }
    }
}
