//! Writes YAML that readers of 1.1 (cloud-init's) and of 1.2 understand alike, `yes` and its kin aside: what could be taken
//! for another type is quoted, long texts are left in one piece, and keys are sorted.

use serde_json::{Map, Value};

/// A document in block style, with a newline at the end.
pub(crate) fn write(value: &Value) -> String {
    let mut text = lines(value).join("\n");
    text.push('\n');
    text
}

/// The lines of a value, as they stand below its key without indentation.
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

/// Bytes in base64: what a user's `!!binary` is in JSON.
fn binary(value: &Value) -> Option<&str> {
    let bytes = value.as_object().filter(|fields| fields.len() == 1)?.get("!!binary")?.as_str()?;
    // What a template made of it may be anything.
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

/// Can it stand without quotes, and be nothing but a text?
fn is_plain(text: &str) -> bool {
    // `yes` and `no` are texts in YAML 1.2, in which users write, and booleans in 1.1, in which cloud-init reads: without
    // quotes they arrive as what who writes `package_upgrade: yes` means, and as the existing tool passes them on.
    const OTHER_TYPES: [&str; 3] = ["null", "true", "false"];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_')
        && text.chars().all(|c| c == ' ' || c.is_ascii_graphic())
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !OTHER_TYPES.contains(&text.to_ascii_lowercase().as_str())
}

/// Several lines that a literal block gives back as they are, without help from indentation and chomping indicators.
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with(['\n', ' ', '\t'])
        && !text.ends_with("\n\n")
        && text.split('\n').all(|line| line.is_empty() || !line.trim().is_empty())
        && text.chars().all(|c| matches!(c, '\n' | '\t') || !needs_escape(c))
}

/// Not printable in YAML, or a line break to some readers.
fn needs_escape(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Double quotes, with JSON's escapes, which YAML has too.
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
