//! Writes YAML that readers of 1.1 (cloud-init's) and of 1.2 understand alike, `yes` and its kin aside: what could be taken
//! for another type is quoted, long texts are left in one piece, and keys are sorted.

use serde_json::{Map, Value};

/// Writes a document in block style, with a newline at the end.
pub(crate) fn write(value: &Value) -> String {
    let mut text = lines(value).join("\n");
    text.push('\n');
    text
}

/// Returns the lines of a value below its key, without indentation.
fn lines(value: &Value) -> Vec<String> {
    if let Some(bytes) = binary(value) {
        return vec![format!("!!binary {bytes}")];
    }
    match value {
        Value::Object(fields) if !fields.is_empty() => mapping(fields),
        Value::Array(items) if !items.is_empty() => items.iter().flat_map(item).collect(),
        Value::Object(_) => vec!["{}".to_owned()],
        Value::Array(_) => vec!["[]".to_owned()],
        Value::String(text) => scalar(text),
        other => vec![other.to_string()],
    }
}

/// Returns bytes in base64, which stand for a user's `!!binary` in JSON.
fn binary(value: &Value) -> Option<&str> {
    let bytes = value.as_object().filter(|fields| fields.len() == 1)?.get("!!binary")?.as_str()?;
    // A template may have changed it.
    let is_digit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    (!bytes.is_empty() && bytes.chars().all(is_digit)).then_some(bytes)
}

fn mapping(fields: &Map<String, Value>) -> Vec<String> {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by_key(|(key, _)| *key);
    let mut all = Vec::new();
    for (key, value) in sorted {
        let key = if is_plain(key) { key.clone() } else { quoted(key) };
        let mut value_lines = lines(value).into_iter();
        match value {
            Value::Object(fields) if !fields.is_empty() && binary(value).is_none() => {
                all.push(format!("{key}:"));
                all.extend(value_lines.map(indented));
            }
            Value::Array(items) if !items.is_empty() => {
                all.push(format!("{key}:"));
                all.extend(value_lines);
            }
            _ => {
                all.push(format!("{key}: {}", value_lines.next().unwrap_or_default()));
                all.extend(value_lines);
            }
        }
    }
    all
}

fn item(value: &Value) -> Vec<String> {
    let mut rest = lines(value).into_iter();
    let mut all = vec![format!("- {}", rest.next().unwrap_or_default())];
    all.extend(rest.map(indented));
    all
}

fn indented(line: String) -> String {
    if line.is_empty() { line } else { format!("  {line}") }
}

fn scalar(text: &str) -> Vec<String> {
    if is_plain(text) {
        vec![text.to_owned()]
    } else if is_block(text) {
        let (header, body) = text.strip_suffix('\n').map_or(("|-", text), |body| ("|", body));
        std::iter::once(header.to_owned()).chain(body.split('\n').map(|line| indented(line.to_owned()))).collect()
    } else {
        vec![quoted(text)]
    }
}

/// Returns true if the text needs no quotes to be read as a text.
fn is_plain(text: &str) -> bool {
    // `yes` and `no` are texts in YAML 1.2, in which users write, and booleans in 1.1, in which cloud-init reads:
    // without quotes they arrive as meant in `package_upgrade: yes`, and as the existing tool passes them on.
    const OTHER_TYPES: [&str; 3] = ["null", "true", "false"];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_')
        && text.chars().all(|c| c == ' ' || c.is_ascii_graphic())
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !OTHER_TYPES.contains(&text.to_ascii_lowercase().as_str())
}

/// Returns true for several lines that a literal block gives back as they are, without help from indentation and
/// chomping indicators.
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with(['\n', ' ', '\t'])
        && !text.ends_with("\n\n")
        && text.split('\n').all(|line| line.is_empty() || !line.trim().is_empty())
        && text.chars().all(|c| matches!(c, '\n' | '\t') || !needs_escape(c))
}

/// Returns true for a character that is not printable in YAML, or is a line break to some readers.
fn needs_escape(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Quotes a text with double quotes and JSON's escapes, which YAML has too.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if needs_escape(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
